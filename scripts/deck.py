"""Make the slides of a run at one leverage."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from common.errors import InputError, run
from common.files import read_json, sha256
from common.provenance import check_input
from report.content import BASE, MANIFEST, MARKET, PARITY, TRAINED, Content
from report.document import save
from report.slides import build_deck
from report.sources import Record
from report.theme import METRICS_KEY


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.json of the simulation")
    parser.add_argument("--equity-curve", type=Path, required=True, help="PNG that plot drew of it")
    parser.add_argument("--market", type=Path, required=True, help="market/summary.json")
    parser.add_argument("--manifest", type=Path, required=True, help="train/checkpoint.json")
    parser.add_argument("--inference", type=Path, required=True, help="infer/trained/summary.json")
    parser.add_argument("--base-inference", type=Path, required=True, help="infer/base/summary.json")
    parser.add_argument("--parity", type=Path, required=True, help="model/parity.json")
    parser.add_argument("--leverage", type=float, required=True, help="what the metrics must have been made with")
    parser.add_argument("--author", help="who stands on the title slide and in the file's properties")
    parser.add_argument("--output", type=Path, required=True, help="deck.pptx")
    return parser.parse_args()


def main() -> None:
    """Read, check, make the slides."""
    args = arguments()
    results = f"leverage-{args.leverage:g}/metrics.json"
    places = {
        results: args.metrics,
        MARKET: args.market,
        MANIFEST: args.manifest,
        TRAINED: args.inference,
        BASE: args.base_inference,
        PARITY: args.parity,
    }
    files = {name: read_json(path) for name, path in places.items()}
    check_leverage(files[results], args)
    check_input(files[results], args.metrics, "market", args.market)
    check_input(files[results], args.metrics, "trained_summary", args.inference)
    check_input(files[PARITY], args.parity, "manifest", args.manifest)
    check_base(files[results], files[BASE], args)
    check_picture(args)
    content = Content(Record(files), results)
    save(build_deck(content, args.equity_curve, args.author or ""), args.output)


def check_leverage(metrics: dict[str, Any], args: argparse.Namespace) -> None:
    """Refuse metrics of another leverage."""
    if metrics.get("leverage") != args.leverage:
        raise InputError(
            f"{args.metrics}: was computed with leverage {metrics.get('leverage')}, but --leverage is "
            f"{args.leverage:g}. Give the metrics.json of that leverage, or run simulate again."
        )


def check_base(metrics: dict[str, Any], summary: dict[str, Any], args: argparse.Namespace) -> None:
    """Refuse a summary of the base model that does not describe the decisions that were traded."""
    traded = next((row for row in metrics["strategies"] if row["key"] == "base"), {})
    expected = {"variant": "base", "samples": metrics["market"]["hours"]}
    expected |= {name: traded.get(name) for name in ("truncated", "unparsable")}
    for name, value in expected.items():
        if summary.get(name) != value:
            raise InputError(
                f"{args.base_inference}: says {name} {summary.get(name)}, but {args.metrics} has {value}. "
                "Run simulate again."
            )


def check_picture(args: argparse.Namespace) -> None:
    """Refuse a picture that was not drawn of these metrics."""
    try:
        with Image.open(args.equity_curve) as image:
            drawn_of = image.info.get(METRICS_KEY)
            image.verify()
    except FileNotFoundError:
        raise InputError(f"{args.equity_curve}: no such file. Run plot.") from None
    except (UnidentifiedImageError, SyntaxError, OSError):
        raise InputError(f"{args.equity_curve}: not a PNG picture, or cut short. Run plot again.") from None
    if drawn_of != sha256(args.metrics):
        raise InputError(f"{args.equity_curve}: was not drawn of {args.metrics}. Run plot again.")


if __name__ == "__main__":
    run(main)
