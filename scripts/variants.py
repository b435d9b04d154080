"""Ask about each test hour in other ways: another sampling, an earlier checkpoint, other prompts."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import InputError, run
from common.files import write_json, write_jsonl
from common.provenance import record
from infer import decision, summary
from inference.asking import PACKAGES, add_flags, answer_all, checked_sampling, load_model
from inference.questions import Question, ask, read_samples
from inference.termination import terminable
from trading.bars import GAPS, format_times, read_bars
from trading.prompts import LOOK_BACK, STYLES, build_prompts

# What a variant may have of its own, and how it is read.
OWN = {"name": str, "model": Path, "temperature": float, "seed": int, "prompt": str, "mask": bool}


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_flags(parser)
    add = parser.add_argument
    add("--bars", type=Path, required=True, help="the market that the samples were made of")
    add("--samples", type=Path, required=True, help="samples/test.jsonl")
    add("--prompt", choices=STYLES, required=True, help="style of the samples' prompts")
    add("--mask", action=argparse.BooleanOptionalAction, default=True, help="whether they were masked (default)")
    add("--gaps", choices=GAPS, default="refuse", help="allow gaps, for markets that close")
    add(
        "--variants",
        type=listed,
        required=True,
        metavar="JSON",
        help='what each differs in: [{"name": "seed-1", "temperature": 1, "seed": 1}, ...]; also model, prompt, mask. '
        "The other flags are what they share",
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
    """Ask what is not answered yet, variant after variant."""
    args = arguments()
    with terminable():
        variants(args)


def variants(args: argparse.Namespace) -> None:
    """Check all of them first; then one start of the engine for each that has questions left."""
    given = [settings(variant, args) for variant in args.variants]
    samples = read_samples(args.samples)
    asked = [questions(own, reworded(own, samples, args)) for own in given]
    for own, questioned in zip(given, asked, strict=True):
        answer(own, questioned)


def settings(variant: Mapping[str, Any], args: argparse.Namespace) -> argparse.Namespace:
    """What infer would be called with for this variant alone."""
    shared = {name: value for name, value in vars(args).items() if name not in ("variants", "output")}
    own = {name: value for name, value in variant.items() if name != "name"}
    folder = args.output / variant["name"]
    return argparse.Namespace(**shared | own, variant=variant["name"], folder=folder)


def reworded(
    own: argparse.Namespace, samples: Sequence[dict[str, Any]], args: argparse.Namespace
) -> Sequence[dict[str, Any]]:
    """The samples, with the variant's own prompts for the same hours where it has other ones.

    Raises
    ------
    InputError
        If the bars do not have an hour, or too few before it.
    """
    if (own.prompt, own.mask) == (args.prompt, args.mask):
        return samples
    bars = read_bars(args.bars, args.gaps)
    prompts = dict(
        zip(format_times(bars.time)[LOOK_BACK[own.prompt] :], build_prompts(bars, own.prompt, own.mask), strict=True)
    )
    found = []
    for number, row in enumerate(samples, start=1):
        text = prompts.get(row["metadata"]["timestamp"])
        if text is None:
            raise InputError(
                f"{args.samples}, line {number}: {args.bars} has no bar for {row['metadata']['timestamp']}, or fewer "
                f"than {LOOK_BACK[own.prompt]} before, which {own.variant} looks back on. Run samples again."
            )
        found.append(row | {"prompt": [{"role": "user", "content": text}]})
    return found


def questions(own: argparse.Namespace, samples: Sequence[dict[str, Any]]) -> list[Question]:
    """The samples as the variant's model sees them."""
    sampling = checked_sampling(own)
    model, tokenizer = load_model(own)
    return ask(samples, own.samples, tokenizer, model, room=sampling.max_new_tokens)


def answer(own: argparse.Namespace, asked: Sequence[Question]) -> None:
    """Answers of one variant, as infer writes those of the trained model."""
    start = time.monotonic()
    sampling = checked_sampling(own)
    model, tokenizer = load_model(own)
    answers, timing = answer_all(asked, model, sampling, own, f"{model.name} ({own.variant})")
    rows = [decision(question, given, tokenizer, sampling) for question, given in zip(asked, answers, strict=True)]
    inputs = {"model": own.model, "samples": own.samples, "bars": own.bars}
    write_jsonl(own.folder / "decisions.jsonl", rows)
    write_json(own.folder / "summary.json", {**summary(rows, model.name, own), **record(own, inputs, PACKAGES)})
    write_json(own.folder / "timing.json", {"seconds": round(time.monotonic() - start, 1), **timing})


if __name__ == "__main__":
    run(main)
