"""Hugging Face weights into a Megatron checkpoint, after a check that both compute the same."""

from __future__ import annotations

import argparse
import os
import warnings
from pathlib import Path

from common.errors import run
from common.files import write_json, written_whole
from common.provenance import record

PACKAGES = ("torch", "megatron-core", "transformers", "safetensors")


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face folder")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="folder of the Megatron checkpoint to make")
    return parser.parse_args()


def main() -> None:
    """Make ``iter_0000000`` and ``parity.json`` in the output folder."""
    args = arguments()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    warnings.filterwarnings("ignore")
    import torch

    from grpo import checkpoint, parallel, parity
    from grpo.hugging_face import read_tensors
    from grpo.qwen3 import build_model, read_shape
    from grpo.weights import check_tensors, checksum, to_megatron

    torch.set_num_threads(args.threads)
    shape = read_shape(args.base)
    tensors = read_tensors(args.base)
    check_tensors(tensors, shape, str(args.base))
    parallel.start("cpu")
    model = build_model(shape)
    model.load_state_dict(to_megatron(tensors, shape), strict=False)
    result = parity.compare(args.base, model, shape)
    with written_whole(args.output) as folder:
        folder.mkdir()
        checkpoint.save(folder, 0, model)
        write_json(
            folder / "parity.json",
            {
                "logits": result,
                "shape": shape.as_dict(),
                "weights_sha256": checksum(tensors),
                **record(args, {"base": args.base}, PACKAGES),
            },
        )
    parallel.stop()
    print(f"{args.output}: {len(tensors)} tensors, logits agree to {result['relative_difference']:.1e}")


if __name__ == "__main__":
    run(main)
