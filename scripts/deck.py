"""Make the slides of a run at one leverage."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from pptx.presentation import Presentation as Deck

from common.errors import InputError, run
from common.files import read_json, sha256
from common.provenance import check_input
from report.checks import check_evidence, check_market, check_metrics, check_model
from report.content import Content
from report.document import new_deck, save
from report.findings import Findings
from report.slides import Pictures, published_slides
from report.slides_tested import tested_slides
from report.sources import Record
from report.statements import BASE, MANIFEST, MARKET, PARITY, TRAINED
from report.theme import EVIDENCE_KEY, METRICS_KEY

PICTURES = ("equity-curve", "null-distribution", "bootstrap-fan", "cost-latency", "leverage-curves")


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.json of the simulation")
    parser.add_argument("--evidence", type=Path, required=True, help="evidence.json of the same simulation")
    for name in PICTURES:
        parser.add_argument(f"--{name}", type=Path, required=True, help="PNG that plot drew of them")
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
    results, evidence = (f"leverage-{args.leverage:g}/{name}.json" for name in ("metrics", "evidence"))
    places = {
        results: args.metrics,
        evidence: args.evidence,
        MARKET: args.market,
        MANIFEST: args.manifest,
        TRAINED: args.inference,
        BASE: args.base_inference,
        PARITY: args.parity,
    }
    files = {name: read_json(path) for name, path in places.items()}
    check_metrics(files[results], args.metrics)
    check_evidence(files[evidence], args.evidence)
    check_market(files[MARKET], args.market)
    check_leverage(files[results], args)
    check_input(files[results], args.metrics, "market", args.market)
    check_input(files[results], args.metrics, "trained_summary", args.inference)
    check_input(files[evidence], args.evidence, "metrics", args.metrics)
    check_input(files[PARITY], args.parity, "manifest", args.manifest)
    check_base(files[results], files[BASE], args)
    check_model(args.manifest, (args.inference, args.base_inference), args.parity)
    pictures = Pictures(*(getattr(args, name.replace("-", "_")) for name in PICTURES))
    check_pictures(pictures, args)
    given = (Record(files), results, evidence)
    save(build_deck(Content(*given), Findings(*given), pictures, args.author or ""), args.output)


def build_deck(content: Content, findings: Findings, pictures: Pictures, author: str) -> Deck:
    """The deck of one run at one leverage."""
    deck = new_deck(content.title().text, author)
    published_slides(deck, content, pictures.equity_curve, author)
    tested_slides(deck, findings, pictures)
    return deck


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
    expected |= {name: traded.get(name) for name in ("finished", "truncated", "unparsable")}
    for name, value in expected.items():
        if summary.get(name) != value:
            raise InputError(
                f"{args.base_inference}: says {name} {summary.get(name)}, but {args.metrics} has {value}. "
                "Run simulate again."
            )


def check_pictures(pictures: Pictures, args: argparse.Namespace) -> None:
    """Refuse a picture that was not drawn of these results."""
    sources = {METRICS_KEY: args.metrics, EVIDENCE_KEY: args.evidence}
    digests = {key: sha256(path) for key, path in sources.items()}
    for name, path in vars(pictures).items():
        drawn_of = picture_notes(path)
        for key, source in sources.items():
            if key == EVIDENCE_KEY and name == "equity_curve":
                continue
            if drawn_of.get(key) != digests[key]:
                raise InputError(f"{path}: was not drawn of {source}. Run plot again.")


def picture_notes(path: Path) -> dict[str, Any]:
    """What a PNG says of itself."""
    try:
        with Image.open(path) as image:
            found = dict(image.info)
            image.verify()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Run plot.") from None
    except (UnidentifiedImageError, SyntaxError, OSError):
        raise InputError(f"{path}: not a PNG picture, or cut short. Run plot again.") from None
    return found


if __name__ == "__main__":
    run(main)
