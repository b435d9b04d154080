"""The trained checkpoint as a Hugging Face folder, after a check that both compute the same."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from common.beside import beside
from common.cpu_alone import on_cpu_alone
from common.errors import InputError, run
from common.files import on_the_disk, read_json, remove_leftovers, sha256, write_json, written_whole
from common.model_folder import folder_sum, listing_sum
from common.provenance import check_input, record

if TYPE_CHECKING:
    import torch

    from grpo.tensors import LazyTensors

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
    on_cpu_alone()
    made_from = record(args, {"manifest": args.manifest}, PACKAGES)
    made_from["inputs"]["base"] = folder_sum(args.base)
    manifest = read_json(args.manifest)
    if missing := [name for name in ("shape", "checkpoint", "iteration", "weights_sha256") if name not in manifest]:
        raise InputError(f"{args.manifest}: field {missing[0]} is missing; not a manifest of train. Train again.")
    path = checkpoint_path(args, manifest)
    # Importing what it needs takes as long as writing gigabytes.
    with ThreadPoolExecutor(4) as pool, beside("grpo.parity", "after_export", args.base, path, args.threads) as check:
        print(export(args, made_from, manifest, path, pool, check))


def export(
    args: argparse.Namespace,
    made_from: dict[str, Any],
    manifest: dict[str, Any],
    path: Path,
    pool: ThreadPoolExecutor,
    check: Callable[[Path], Callable[[], dict[str, Any]]],
) -> str:
    """Write, check, and only then give the folder its name; what was done, in a line."""
    import torch

    from grpo.hugging_face import read_tensors, stored_dtype, write_tensors
    from grpo.shape import read_shape
    from grpo.stored_weights import folder_name, read_weights
    from grpo.weights import check_checkpoint, expected_shapes, to_hugging_face, weights_sum

    torch.set_num_threads(args.threads)
    shape = read_shape(args.base)
    differing = [name for name, value in shape.as_dict().items() if manifest["shape"].get(name) != value]
    if differing:
        name = differing[0]
        raise InputError(
            f"{args.base}: config.json says {name} {shape.as_dict()[name]}, the checkpoint was trained with "
            f"{manifest['shape'].get(name)}. Use the base model of that training."
        )
    check_input(manifest, args.manifest, "base", args.base, made_from["inputs"]["base"])
    iteration = args.iteration or manifest["iteration"]
    name = folder_name(iteration)
    layout = read_weights(path, meta=True)
    check_checkpoint(layout, shape, str(path))
    weights, base, dtype = read_weights(path), read_tensors(args.base), stored_dtype(args.base)
    remove_leftovers(args.output)
    with written_whole(args.output) as folder:
        folder.mkdir()
        for source in sorted(args.base.iterdir()):
            if source.name not in ITERATION_FILES and source.suffix != ".safetensors":
                shutil.copyfile(source, folder / source.name)
        files = {name: torch.empty(size, dtype=dtype, device="meta") for name, size in expected_shapes(shape).items()}
        exact, comparing = to_hugging_face(weights, shape), {}

        def written(on_disk: LazyTensors) -> None:
            tasks = {name: pool.submit(compare, name, exact, on_disk, base, files[name]) for name in on_disk}
            comparing.update(tasks)

        sums = write_tensors(folder, files, to_hugging_face(weights.to(dtype), shape), written)
        if iteration == manifest["iteration"]:
            as_trained = all(tensor.dtype == dtype for tensor in layout.values())
            found = listing_sum(sums) if as_trained else weights_sum(path, shape)
            if found != manifest["weights_sha256"]:
                raise InputError(f"{path}: its weights are not those that {args.manifest} records. Train again.")
        logits = check(folder)
        # First what says more: weights that the disk changed have other logits, too.
        compared = {name: task.result() for name, task in comparing.items()}
        if different := [name for name, found in compared.items() if found is None]:
            raise InputError(f"{folder}: {different[0]} is not as it was written. Check the disk and run again.")
        result = logits()
        lost = [found.rounding for found in compared.values() if found and found.rounding is not None]
        changed = sum(found.changed for found in compared.values() if found)
        if not changed:
            raise InputError(f"{path}: the trained weights equal the base model's. Train with a learning rate above 0.")
        base_model = read_json(args.base / "model.json")
        write_json(
            folder / "model.json",
            {
                "name": base_model["name"],
                "source": name,
                "weights": base_model["weights"],
                "files": {file.name: sums.get(file.name) or sha256(file) for file in sorted(folder.iterdir())},
                **made_from,
                "inputs": {"manifest": made_from["inputs"]["manifest"]},
            },
        )
        on_the_disk(folder)
    write_json(
        args.output_parity,
        {
            "logits": result,
            # False where the base model's type is narrower than the training's: the files are rounded to it.
            "round_trip_bit_equal": not lost,
            "largest_rounding": max(lost, default=0.0),
            "tensors": len(files),
            "tensors_changed_by_training": changed,
            **made_from,
        },
    )
    return (
        f"{args.output}: {name}, {changed} of {len(files)} tensors changed by training, "
        f"logits agree to {result['relative_difference']:.1e}"
    )


def checkpoint_path(args: argparse.Namespace, manifest: dict[str, Any]) -> Path:
    """The checkpoint that the manifest names, or the one of another iteration beside it."""
    last = args.manifest.parent / manifest["checkpoint"]
    if args.iteration is None:
        return last
    # By its distance from the last one: slime calls the state after 500 iterations iter_0000499.
    number = int(last.name.removeprefix("iter_")) + args.iteration - manifest["iteration"]
    path = last.with_name(f"iter_{number:07d}")
    if not path.is_dir():
        kept = ", ".join(sorted(found.name for found in last.parent.glob("iter_*")))
        raise InputError(
            f"{path}: no such checkpoint, kept are {kept}. Raise train.keep before a training, or ask for another one."
        )
    return path


class Compared(NamedTuple):
    """What comparing a tensor of the files found."""

    rounding: float | None  # None where the files hold Megatron's bits
    changed: bool  # by training


def compare(
    name: str, weights: LazyTensors, on_disk: LazyTensors, base: LazyTensors, layout: torch.Tensor
) -> Compared | None:
    """A tensor of the files with Megatron's and with the base model's; None where the disk does not hold it.

    Parameters
    ----------
    weights, on_disk, base
        By Hugging Face's names.
    layout
        As it is in the files.
    """
    from grpo.tensors import blocks, equal, same_bits

    far = None
    for rows in blocks(layout):
        exact = weights.rows(name, rows)
        rounded = exact.to(layout.dtype)
        if not same_bits(on_disk.rows(name, rows), rounded):
            return None
        if not same_bits(rounded.to(exact.dtype), exact):
            far = max(far or 0.0, float((rounded.to(exact.dtype) - exact).abs().max()))
    # The first row of a trained tensor mostly differs.
    same = all(equal(on_disk, base, name, part) for part in (layout[:1], layout))
    return Compared(far, changed=not same)


if __name__ == "__main__":
    run(main)
