"""Make the tearsheet of a run at one leverage: figures, tables, tests and all decisions in one HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from common.errors import InputError, run
from common.files import read_json, sha256, written_whole
from common.provenance import check_input, record
from report.checks import check_evidence, check_market, check_metrics, need
from report.theme import EVIDENCE_KEY, METRICS_KEY
from tearsheet_page.decisions import read_words
from tearsheet_page.document import Contents, page
from tearsheet_page.figures import read_figures
from tearsheet_page.tables import read_trades
from trading.bars import format_times
from trading.decisions import Decisions, read_decisions
from trading.tables import Curves, read_equity

ROLES = ("metrics", "evidence", "equity", "trades", "decisions", "market", "inference", "manifest")


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--metrics", type=Path, required=True, help="metrics.json of the simulation")
    add("--evidence", type=Path, required=True, help="evidence.json of the same simulation")
    add("--equity", type=Path, required=True, help="equity.csv of the same simulation")
    add("--trades", type=Path, required=True, help="trades.csv of the same simulation")
    add("--decisions", type=Path, required=True, help="decisions of the trained model")
    add("--market", type=Path, required=True, help="market/summary.json")
    add("--inference", type=Path, required=True, help="infer/trained/summary.json")
    add("--manifest", type=Path, required=True, help="train/checkpoint.json")
    add("--figures", type=Path, nargs="*", default=[], help="SVG and PNG files of plot; of the same name one is shown")
    add("--leverage", type=float, required=True, help="what the metrics must have been made with")
    add("--output", type=Path, required=True, help="tearsheet.html")
    return parser.parse_args()


def main() -> None:
    """Read, check, make the page."""
    args = arguments()
    metrics, evidence = read_json(args.metrics), read_json(args.evidence)
    market, inference, manifest = read_json(args.market), read_json(args.inference), read_json(args.manifest)
    check_results(metrics, evidence, market, args)
    recorded = {"parameters": dict, "versions": dict}
    need(manifest, recorded, args.manifest, "train")
    need(inference, recorded, args.inference, "infer")
    decisions, curves = read_decisions(args.decisions), read_equity(args.equity)
    check_hours(decisions, curves, args)
    made_of = {METRICS_KEY: sha256(args.metrics), EVIDENCE_KEY: sha256(args.evidence)}
    figures = read_figures(args.figures, made_of)
    inputs = {role: getattr(args, role) for role in ROLES}
    inputs |= {f"figure {path.name}": path for path in args.figures}
    named = argparse.Namespace(**{**vars(args), "figures": [path.name for path in args.figures]})
    text = page(
        Contents(
            metrics=metrics,
            evidence=evidence,
            results={
                f"leverage-{args.leverage:g}/metrics.json": metrics,
                f"leverage-{args.leverage:g}/evidence.json": evidence,
                "market/summary.json": market,
                "train/checkpoint.json": manifest,
                "infer/trained/summary.json": inference,
            },
            curves=curves,
            trades=read_trades(args.trades, metrics),
            decisions=decisions,
            words=read_words(args.decisions),
            figures=figures,
            provenance=record(named, inputs, ["numpy"]),
        )
    )
    with written_whole(args.output) as partial:
        partial.write_text(text, encoding="utf-8")


def check_results(
    metrics: dict[str, Any], evidence: dict[str, Any], market: dict[str, Any], args: argparse.Namespace
) -> None:
    """Refuse results that lack what is shown, are of another leverage, or were not made of one another."""
    check_metrics(metrics, args.metrics)
    check_evidence(evidence, args.evidence)
    check_market(market, args.market)
    need(evidence, {"verdict.summary": str, "thresholds": dict, "tests": dict}, args.evidence, "evaluate")
    for path, result, stage in ((args.metrics, metrics, "simulate"), (args.evidence, evidence, "evaluate")):
        if result["leverage"] != args.leverage:
            raise InputError(
                f"{path}: is for leverage {result['leverage']}, not {args.leverage:g}. Give the file of this "
                f"leverage, or run {stage} for it."
            )
    for role, file in (("market", args.market), ("trained", args.decisions), ("trained_summary", args.inference)):
        check_input(metrics, args.metrics, role, file)
    for role in ("metrics", "equity", "market"):
        check_input(evidence, args.evidence, role, getattr(args, role))


def check_hours(decisions: Decisions, curves: Curves, args: argparse.Namespace) -> None:
    """Refuse an equity table on other hours than the decisions, or without the model that took them."""
    if "trained" not in curves.books or format_times(curves.times)[:-1] != decisions.timestamps:
        raise InputError(f"{args.equity}: is not on the hours of {args.decisions}. Run simulate again.")


if __name__ == "__main__":
    run(main)
