"""Ask about each test hour in other ways: another sampling or limit, an earlier checkpoint, other prompts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import InputError, run
from common.files import write_jsonl
from common.options import add_setting
from infer import infer
from inference.asking import add_flags
from inference.questions import read_samples
from inference.termination import terminable
from trading.bars import format_times, read_bars
from trading.prompts import LOOK_BACK, build_prompts

# What a variant may have of its own, and how it is read.
OWN = {
    "name": str,
    "model": Path,
    "temperature": float,
    "seed": int,
    "max_new_tokens": int,
    "prompt": str,
    "mask": bool,
}
# Flags of this program that are none of infer's.
PROMPTS = ("bars", "prompt", "mask", "gaps", "variants", "output")


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_flags(parser)
    add = parser.add_argument
    add("--bars", type=Path, required=True, help="the market that the samples were made of")
    add("--samples", type=Path, required=True, help="samples/test.jsonl")
    add_setting(parser, "--prompt", "samples.prompt", required=True, meaning="Style of the samples' prompts.")
    add_setting(parser, "--mask", "samples.mask", meaning="Whether they were masked.")
    add_setting(parser, "--gaps", "market.gaps")
    add(
        "--variants",
        type=listed,
        required=True,
        metavar="JSON",
        help='what each differs in: [{"name": "seed-1", "temperature": 1, "seed": 1}, ...]; also max_new_tokens, '
        "model, prompt, mask. The other flags are what they share",
    )
    add("--output", type=Path, required=True, help="folder; each variant's files go to a folder of its name in it")
    return parser.parse_args()


def listed(text: str) -> list[dict[str, Any]]:
    """The variants of the command line."""
    try:
        found = json.loads(text)
        names = [variant["name"] for variant in found]
    except (ValueError, TypeError, KeyError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of objects with a name in JSON") from None
    for variant in found:
        if unknown := [key for key in variant if key not in OWN]:
            raise argparse.ArgumentTypeError(f"{variant['name']}: unknown key {unknown[0]}, known are {', '.join(OWN)}")
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError("each variant needs a name of its own")
    return [{key: OWN[key](value) for key, value in variant.items()} for variant in found]


def main() -> None:
    """Ask one variant after another, each as infer would; in one process the engine starts again within seconds."""
    args = arguments()
    with terminable():
        for given in [settings(variant, args) for variant in args.variants]:
            infer(given)


def settings(variant: Mapping[str, Any], args: argparse.Namespace) -> argparse.Namespace:
    """What infer is called with for a variant; its own prompts, if it has any, are written to a file.

    Raises
    ------
    InputError
        As `reworded`.
    """
    folder = args.output / variant["name"]
    shared = {name: value for name, value in vars(args).items() if name not in PROMPTS}
    own = {name: value for name, value in variant.items() if name not in ("name", *PROMPTS)}
    style, mask = variant.get("prompt", args.prompt), variant.get("mask", args.mask)
    if (style, mask) != (args.prompt, args.mask):
        own["samples"] = folder / "samples.jsonl"
        write_jsonl(own["samples"], reworded(args, style, mask))
    outputs = {f"output_{kind}": folder / name for kind, name in OUTPUTS.items()}
    return argparse.Namespace(**shared | own | outputs, variant=variant["name"])


OUTPUTS = {"decisions": "decisions.jsonl", "summary": "summary.json", "timing": "timing.json"}


def reworded(args: argparse.Namespace, style: str, mask: bool) -> Sequence[dict[str, Any]]:
    """The samples with other prompts for the same hours.

    Raises
    ------
    InputError
        If the bars do not have an hour, or too few before it.
    """
    bars = read_bars(args.bars, args.gaps)
    times = format_times(bars.time)[LOOK_BACK[style] :]
    prompts = dict(zip(times, build_prompts(bars, style, mask), strict=True))
    found = []
    for number, row in enumerate(read_samples(args.samples), start=1):
        time = row["metadata"]["timestamp"]
        if time not in prompts:
            raise InputError(
                f"{args.samples}, line {number}: {args.bars} has no bar for {time}, or fewer than {LOOK_BACK[style]} "
                f"before, which prompts of style {style} look back on. Run samples again."
            )
        found.append(row | {"prompt": [{"role": "user", "content": prompts[time]}]})
    return found


if __name__ == "__main__":
    run(main)
