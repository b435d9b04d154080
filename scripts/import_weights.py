"""Hugging Face weights into a Megatron checkpoint, after a check that both compute the same."""

from __future__ import annotations

import argparse
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.errors import InputError, run
from common.files import remove_leftovers, write_json, written_whole
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
    from grpo.qwen3 import read_shape
    from grpo.weights import check_tensors, checksum, to_megatron

    torch.set_num_threads(args.threads)
    shape = read_shape(args.base)
    tensors, layout = read_tensors(args.base), read_tensors(args.base, meta=True)
    check_tensors(layout, shape, str(args.base))
    remove_leftovers(args.output)
    # Both sums are of all weights, and take about as long as writing them.
    with written_whole(args.output) as folder, ThreadPoolExecutor(2) as pool:
        folder.mkdir()
        sums = pool.submit(checksum, tensors)
        made_from = pool.submit(record, args, {"base": args.base}, PACKAGES)
        megatron = to_megatron(tensors, shape)
        written = checkpoint.write_weights(folder, 0, megatron, to_megatron(layout, shape))
        read = checkpoint.read_weights(written)
        if different := [name for name in megatron if not torch.equal(read[name], megatron[name])]:
            raise InputError(f"{args.output}: {different[0]} was not written as it is. Check the disk and run again.")
        parallel.start("cpu")
        result = parity.check(args.base, read, shape)
        parallel.stop()
        write_json(
            folder / "parity.json",
            {
                "logits": result,
                "shape": shape.as_dict(),
                "weights_sha256": sums.result(),
                **made_from.result(),
            },
        )
    print(f"{args.output}: {len(tensors)} tensors, logits agree to {result['relative_difference']:.1e}")


if __name__ == "__main__":
    run(main)
