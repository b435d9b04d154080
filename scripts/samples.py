"""Make training, validation and test samples from bars: a prompt a bar, and what the price did next."""

from __future__ import annotations

import argparse
from pathlib import Path

from common.errors import InputError, run
from common.files import write_jsonl
from trading.bars import GAPS, read_bars
from trading.prompts import STYLES
from trading.samples import make_samples, summary


def size(text: str) -> int | float:
    """A count of samples, or a share of all below 1."""
    try:
        value = int(text) if text.strip().lstrip("+-").isdigit() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if value < 0 or (isinstance(value, float) and not value < 1):
        raise argparse.ArgumentTypeError(f"{text} is neither a whole count nor a share below 1")
    return value


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=Path, required=True, help="CSV with timestamp and close")
    parser.add_argument("--prompt", choices=STYLES, default="compact", help="style of the prompts (default: compact)")
    parser.add_argument(
        "--mask",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="report style: relative prices and no dates (default), or prices and times as they are",
    )
    parser.add_argument(
        "--test", type=size, default=1706, help="test samples: a count, or a share of all (default: 1706)"
    )
    parser.add_argument(
        "--validation",
        type=size,
        default=850,
        help="validation samples: a count, a share, or 0 (default: 850)",
    )
    parser.add_argument("--gaps", choices=GAPS, default="refuse", help="allow gaps, for markets that close")
    parser.add_argument("--output-train", type=Path, required=True)
    parser.add_argument("--output-validation", type=Path, required=True)
    parser.add_argument("--output-test", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    bars = read_bars(args.bars, args.gaps)
    try:
        samples, split = make_samples(bars, args.prompt, args.mask, args.test, args.validation)
    except InputError as error:
        raise InputError(f"{args.bars}: {error}") from None
    outputs = {"train": args.output_train, "validation": args.output_validation, "test": args.output_test}
    for name, path in outputs.items():
        write_jsonl(path, samples[name])
    print(summary(samples, split))


if __name__ == "__main__":
    run(main)
