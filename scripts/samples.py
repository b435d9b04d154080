"""Make training, validation and test samples from bars: a prompt a bar, and what the price did next."""

from __future__ import annotations

import argparse
from pathlib import Path

from common.errors import InputError, run
from common.files import write_jsonl
from common.options import add_setting, add_settings
from trading.bars import read_bars
from trading.samples import make_samples, summary


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=Path, required=True, help="CSV with timestamp and close")
    add_settings(parser, "samples")
    add_setting(parser, "--gaps", "market.gaps")
    parser.add_argument("--output-train", type=Path, required=True, help="train.jsonl")
    parser.add_argument("--output-validation", type=Path, required=True, help="validation.jsonl")
    parser.add_argument("--output-test", type=Path, required=True, help="test.jsonl")
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
