"""The trained checkpoint as a Hugging Face folder, after a check that both compute the same."""

from __future__ import annotations

import argparse
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

from common.errors import InputError, run
from common.files import read_json, sha256, write_json, written_whole
from common.provenance import check_input, record

PACKAGES = ("torch", "megatron-core", "transformers", "safetensors")
ITERATION_FILES = ("model.json", "model.safetensors", "model.safetensors.index.json")  # the base model's own


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="train/checkpoint.json")
    parser.add_argument("--iteration", type=int, help="an earlier checkpoint of the same training (default: its last)")
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face folder of the base model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="Hugging Face folder to make")
    parser.add_argument("--output-parity", type=Path, required=True, help="JSON of the checks")
    return parser.parse_args()


def main() -> None:
    """Make the folder and parity.json."""
    args = arguments()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    warnings.filterwarnings("ignore")
    import torch

    from grpo import checkpoint, parallel, parity
    from grpo.hugging_face import read_tensors, stored_dtype, write_tensors
    from grpo.qwen3 import build_model, read_shape
    from grpo.weights import check_tensors, checksum, to_hugging_face, to_megatron

    torch.set_num_threads(args.threads)
    manifest = read_json(args.manifest)
    if missing := [name for name in ("shape", "checkpoint", "name", "weights_sha256") if name not in manifest]:
        raise InputError(f"{args.manifest}: field {missing[0]} is missing; not a manifest of train. Train again.")
    shape = read_shape(args.base)
    differing = [name for name, value in shape.as_dict().items() if manifest["shape"].get(name) != value]
    if differing:
        name = differing[0]
        raise InputError(
            f"{args.base}: config.json says {name} {shape.as_dict()[name]}, the checkpoint was trained with "
            f"{manifest['shape'].get(name)}. Use the base model of that training."
        )
    check_input(manifest, args.manifest, "base", args.base)
    path = checkpoint_path(args, manifest)
    name = path.name
    megatron = checkpoint.read_weights(path)
    tensors = to_hugging_face(megatron, shape)
    check_tensors(tensors, shape, str(path))
    if name == manifest["name"] and checksum(megatron) != manifest["weights_sha256"]:
        raise InputError(f"{path}: its weights are not those that {args.manifest} records. Train again.")
    base = read_tensors(args.base)
    tensors = {name: tensor.to(stored_dtype(args.base)) for name, tensor in tensors.items()}
    sums = {"base": checksum(base), "trained": checksum(tensors)}
    changed = sum(not torch.equal(tensors[name], base[name]) for name in tensors)
    if sums["base"] == sums["trained"]:
        raise InputError(f"{path}: the trained weights equal the base model's. Train with a learning rate above 0.")

    with written_whole(args.output) as folder:
        folder.mkdir()
        for source in sorted(args.base.iterdir()):
            if source.name not in ITERATION_FILES and source.suffix != ".safetensors":
                shutil.copyfile(source, folder / source.name)
        write_tensors(folder, tensors)
        parallel.start("cpu")
        model = build_model(shape)
        # What inference will read, back in Megatron: the comparison covers the files themselves.
        again = to_megatron(read_tensors(folder), shape)
        model.load_state_dict(again, strict=False)
        result = parity.compare(folder, model, shape)
        parallel.stop()
        base_model = read_json(args.base / "model.json")
        write_json(
            folder / "model.json",
            {
                "name": base_model["name"],
                "source": name,
                "weights": base_model["weights"],
                "files": {file.name: sha256(file) for file in sorted(folder.iterdir())},
                **record(args, {"manifest": args.manifest}, PACKAGES),
            },
        )
    write_json(
        args.output_parity,
        {
            "logits": result,
            # False where the base model's type is narrower than the training's: the files are rounded to it.
            "round_trip_bit_equal": all(torch.equal(again[name].to(t.dtype), t) for name, t in megatron.items()),
            "largest_rounding": max(float((again[name].to(t.dtype) - t).abs().max()) for name, t in megatron.items()),
            "weights_sha256": sums,
            "tensors": len(tensors),
            "tensors_changed_by_training": changed,
            **record(args, {"manifest": args.manifest, "base": args.base}, PACKAGES),
        },
    )
    print(
        f"{args.output}: {name}, {changed} of {len(tensors)} tensors changed by training, "
        f"logits agree to {result['relative_difference']:.1e}"
    )


def checkpoint_path(args: argparse.Namespace, manifest: dict[str, Any]) -> Path:
    """The checkpoint that the manifest names, or the one of another iteration beside it."""
    last = args.manifest.parent / manifest["checkpoint"]
    if args.iteration is None:
        return last
    path = last.with_name(f"iter_{args.iteration:07d}")
    if not path.is_dir():
        kept = ", ".join(sorted(found.name for found in last.parent.glob("iter_*")))
        raise InputError(
            f"{path}: no such checkpoint, kept are {kept}. Raise train.keep before a training, or ask for another one."
        )
    return path


if __name__ == "__main__":
    run(main)
