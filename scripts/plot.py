"""Draw equity, drawdown, decisions, training and the evidence as PNG and SVG."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from common.errors import InputError, run
from common.files import read_json, read_jsonl, sha256
from common.provenance import check_input
from report.chance import fan_figure, null_figure
from report.checks import check_evidence, check_metrics
from report.drawing import save, style
from report.figures import decisions_figure, drawdown_figure, equity_figure
from report.sensitivity import cost_latency_figure, leverage_figure
from report.theme import EVIDENCE_KEY, METRICS_KEY
from report.training import PANELS, training_figure
from trading.decisions import Decisions, read_decisions
from trading.tables import Curves, read_equity

FIGURES = (
    *("equity-curve", "drawdown", "decisions", "training"),
    *("null-distribution", "bootstrap-fan", "cost-latency", "leverage"),
)


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--equity", type=Path, required=True, help="equity.csv")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.json of the same simulation")
    parser.add_argument("--evidence", type=Path, required=True, help="evidence.json of the same simulation")
    parser.add_argument("--decisions", type=Path, required=True, help="decisions of the trained model")
    parser.add_argument("--training", type=Path, required=True, help="train/metrics.jsonl")
    for name in FIGURES:
        parser.add_argument(f"--output-{name}", type=Path, required=True, help="PNG; the SVG is written beside it")
    return parser.parse_args()


def main() -> None:
    """Read, check, draw."""
    args = arguments()
    metrics, evidence = read_json(args.metrics), read_json(args.evidence)
    check_metrics(metrics, args.metrics)
    check_evidence(evidence, args.evidence)
    curves = read_equity(args.equity)
    decisions = read_decisions(args.decisions)
    training = read_jsonl(args.training)
    check_equity(curves, metrics, args)
    check_input(metrics, args.metrics, "trained", args.decisions)
    for role in ("metrics", "equity"):
        check_input(evidence, args.evidence, role, getattr(args, role))
    check_training(training, args.training)
    note = {METRICS_KEY: sha256(args.metrics)}
    with style():
        save(equity_figure(curves, metrics), args.output_equity_curve, note)
        save(drawdown_figure(curves, metrics), args.output_drawdown, note)
        save(decisions_figure(curves, *words(decisions), metrics), args.output_decisions, note)
        save(training_figure(training, metrics), args.output_training, note)
        note |= {EVIDENCE_KEY: sha256(args.evidence)}
        save(null_figure(evidence, metrics), args.output_null_distribution, note)
        save(fan_figure(evidence, metrics, curves), args.output_bootstrap_fan, note)
        save(cost_latency_figure(evidence, metrics), args.output_cost_latency, note)
        save(leverage_figure(evidence, metrics), args.output_leverage, note)


def words(decisions: Decisions) -> tuple[list[str], list[str]]:
    """What was decided, and how the answer ended."""
    return decisions.decisions, decisions.statuses


def check_equity(curves: Curves, metrics: dict[str, Any], args: argparse.Namespace) -> None:
    """Refuse an equity table that is not the one that the metrics were computed with."""
    final = {row["key"]: row["final_capital"] for row in metrics["strategies"]}
    found = {key: float(book.equity[-1]) for key, book in curves.books.items()}
    if final != found or metrics["market"]["hours"] != len(curves.times) - 1:
        raise InputError(f"{args.equity}: is not of the same simulation as {args.metrics}. Run simulate again.")


def check_training(rows: list[dict[str, Any]], path: Path) -> None:
    """Refuse a training log that lacks a curve to draw; null is a number that was not finite or is not known."""
    for number, row in enumerate(rows, start=1):
        for name in ("iteration", *(name for name, _, _ in PANELS)):
            value = row.get(name)
            unknown = value is None and name in row and name != "iteration"
            if not unknown and (not isinstance(value, (int, float)) or not math.isfinite(value)):
                raise InputError(f'{path}, line {number}: no number under "{name}". Run train again.')
        if "spike" not in row or not isinstance(row["spike"], bool | None):
            raise InputError(f'{path}, line {number}: no true, false or null under "spike". Run train again.')


if __name__ == "__main__":
    run(main)
