"""Hugging Face weights into a Megatron checkpoint, after a check that both compute the same."""

from __future__ import annotations

import argparse
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from common.beside import beside
from common.cpu_alone import on_cpu_alone
from common.errors import InputError, run
from common.files import on_the_disk, remove_leftovers, write_json, written_whole
from common.model_folder import folder_sum
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
    on_cpu_alone()
    # The sum of all weights takes about as long as writing them, and importing Megatron and transformers, too.
    with ThreadPoolExecutor(4) as pool, beside("grpo.parity", "after_import", args.base, args.threads) as check:
        made_from = pool.submit(record, args, {"base": args.base}, PACKAGES)
        import torch

        from grpo.hugging_face import read_tensors
        from grpo.shape import read_shape
        from grpo.stored_weights import write_weights
        from grpo.tensors import LazyTensors, equal
        from grpo.weights import check_tensors, to_megatron

        torch.set_num_threads(args.threads)
        shape = read_shape(args.base)
        tensors, layout = read_tensors(args.base), read_tensors(args.base, meta=True)
        check_tensors(layout, shape, str(args.base))
        megatron, ours = to_megatron(tensors, shape), to_megatron(layout, shape)
        remove_leftovers(args.output)
        with written_whole(args.output) as folder:
            folder.mkdir()
            as_written: dict[str, Future[bool]] = {}

            def compare(on_disk: LazyTensors, names: list[str]) -> None:
                as_written.update({name: pool.submit(equal, on_disk, megatron, name, ours[name]) for name in names})

            written = write_weights(folder, 0, megatron, ours, written=compare)
            logits = check(written)
            # First what says more: weights that the disk changed have other logits, too.
            if different := [name for name, same in as_written.items() if not same.result()]:
                raise InputError(f"{written}: {different[0]} is not as it was written. Check the disk and run again.")
            if made_from.result()["inputs"]["base"] != folder_sum(args.base):
                raise InputError(
                    f"{args.base}: its weights are not those that model.json lists. Make or fetch the base model again."
                )
            result = logits()
            write_json(
                folder / "parity.json",
                {"logits": result, "shape": shape.as_dict(), **made_from.result()},
            )
            on_the_disk(folder)
    print(f"{args.output}: {len(tensors)} tensors, logits agree to {result['relative_difference']:.1e}")


if __name__ == "__main__":
    run(main)
