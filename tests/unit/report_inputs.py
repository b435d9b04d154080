"""A small run's files, made up for the tests of simulate, plot and deck: same form as the real ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from model_inputs import write_decisions, write_training

from common.files import sha256, write_json, write_jsonl
from trading.bars import Bars, format_times, write_bars

MODEL = "Tiny-Qwen3"
BEFORE = 70  # bars before the first decision: a prompt of report style looks back on 64
PUBLISHED = {"hours": 1706, "leverage": 2.0, "capital": 100_000.0, "buy": 52_437.0, "sell": 149_632.0}
FIGURES = (
    *("equity_curve", "drawdown", "decisions", "training"),
    *("null_distribution", "bootstrap_fan", "cost_latency", "leverage"),
)
PICTURES = ("equity_curve", *FIGURES[4:])  # those on the slides


@dataclass(frozen=True)
class Run:
    """Where the files of a made-up run lie."""

    folder: Path

    @property
    def simulate(self) -> list[str]:
        """Command line of simulate.py."""
        f = self.folder
        return [
            *("--bars", f / "market/bars.csv", "--market", f / "market/summary.json"),
            *("--trained", f / "infer/trained/decisions.jsonl", "--base", f / "infer/base/decisions.jsonl"),
            *("--trained-summary", f / "infer/trained/summary.json", "--leverage", "2"),
            *("--capital", "100000", "--sizing", "rebalanced", "--hold", "flat", "--invalid", "HOLD"),
            *("--fee-bps", "0", "--slippage-bps", "0", "--funding-long-bps", "0", "--funding-short-bps", "0"),
            *("--latency", "0", "--maintenance-margin", "0"),
            *("--max-invalid-share", "0.5", "--output-equity", f / "leverage-2/equity.csv"),
            *("--output-trades", f / "leverage-2/trades.csv"),
            *("--output-metrics", f / "leverage-2/metrics.json"),
        ]  # fmt: skip

    @property
    def evaluate(self) -> list[str]:
        """Command line of evaluate.py, with as few draws as it takes."""
        f = self.folder
        return [
            *("--bars", f / "market/bars.csv", "--market", f / "market/summary.json"),
            *("--equity", f / "leverage-2/equity.csv", "--metrics", f / "leverage-2/metrics.json"),
            *("--trained", f / "infer/trained/decisions.jsonl", "--base", f / "infer/base/decisions.jsonl"),
            *("--train-samples", f / "samples/train.jsonl", "--validation-samples", f / "samples/validation.jsonl"),
            *("--test-samples", f / "samples/test.jsonl", "--prompt", "report"),
            *("--leverage", "2", "--ledger", f / "ledger", "--output", f / "leverage-2/evidence.json"),
            *("--permutations", "10000", "--bootstrap", "10000", "--reality-check", "1000"),
        ]

    @property
    def plot(self) -> list[str]:
        """Command line of plot.py."""
        f = self.folder
        return [
            *("--equity", f / "leverage-2/equity.csv", "--metrics", f / "leverage-2/metrics.json"),
            *("--evidence", f / "leverage-2/evidence.json"),
            *("--decisions", f / "infer/trained/decisions.jsonl", "--training", f / "train/metrics.jsonl"),
            *(
                part
                for name in FIGURES
                for part in (f"--output-{name.replace('_', '-')}", f / f"leverage-2/{name}.png")
            ),
        ]

    @property
    def deck(self) -> list[str]:
        """Command line of deck.py."""
        f = self.folder
        return [
            *("--metrics", f / "leverage-2/metrics.json"),
            *("--evidence", f / "leverage-2/evidence.json"),
            *(
                part
                for name in PICTURES
                for part in (
                    f"--{'leverage-curves' if name == 'leverage' else name.replace('_', '-')}",
                    f / f"leverage-2/{name}.png",
                )
            ),
            *("--market", f / "market/summary.json", "--manifest", f / "train/checkpoint.json"),
            *("--inference", f / "infer/trained/summary.json"),
            *("--base-inference", f / "infer/base/summary.json", "--parity", f / "model/parity.json"),
            *("--leverage", "2", "--output", f / "leverage-2/deck.pptx"),
        ]


def make_run(
    folder: Path, hours: int = 60, seed: int = 1, hits: float = 0.55, model: str = MODEL, **market: Any
) -> Run:
    """Write everything that stands before simulate.

    Parameters
    ----------
    hours
        Decisions. With 1706 the market is scaled so that the constant positions end as published.
    hits
        Share of the hours in which the trained model is right.
    market
        Replaces entries of market/summary.json; "signal" sets momentum, trend and slow drift together.
    """
    rng = np.random.default_rng(seed)
    returns = rng.standard_t(6, BEFORE + hours) * 0.005
    if hours == PUBLISHED["hours"]:
        returns[BEFORE:] = calibrated(returns[BEFORE:])
    close = np.round(100_000 * np.concatenate([[1.0], np.cumprod(1 + returns)]), 2)
    start = np.datetime64("2025-01-01T00:00:00")
    bars = Bars(start + np.arange(close.size) * np.timedelta64(1, "h"), close)
    write_bars(folder / "market/bars.csv", bars)
    times = format_times(bars.time)
    signal = market.pop("signal", (0.18, 0.1, 0.02))
    calibration = {key: PUBLISHED[key] for key in ("hours", "leverage", "capital")}
    calibration |= {f"{key}_capital": PUBLISHED[key] for key in ("buy", "sell")}
    summary = {
        "name": "Synthetic BTC-like hourly market",
        "source": "synthetic",
        "synthetic": True,
        "bars": len(close),
        "first": times[0],
        "last": times[-1],
        "total_return": close[-1] / close[0] - 1,
    } | market
    provenance: dict[str, Any] = {
        "parameters": {},
        "inputs": {},
        "versions": {"python": "3.11", "numpy": "2.4.6"},
    }
    if summary["synthetic"]:
        names = ("synthetic_momentum", "synthetic_trend", "synthetic_slow_drift")
        provenance["parameters"] = {"synthetic_seed": 7, **dict(zip(names, signal, strict=True))}
        if hours == PUBLISHED["hours"]:
            summary["calibration"] = calibration
    write_json(folder / "market/summary.json", summary | provenance)

    up = np.diff(close[BEFORE:]) > 0
    for variant, right, invalid in (("trained", hits, 3), ("base", 0.5, 5)):
        said = np.where(rng.random(hours) < right, up, ~up)
        write_decisions(folder, variant, model, times[BEFORE:-1], said, rng.permutation(hours)[:invalid])
    write_training(folder, rng)
    for split, hours in (("train", times[:1]), ("validation", []), ("test", times[BEFORE:-1])):
        write_jsonl(folder / f"samples/{split}.jsonl", [{"metadata": {"timestamp": hour}} for hour in hours])
    write_json(
        folder / "model/parity.json",
        {
            "logits": {"tokens": 192, "relative_difference": 4.8e-7, "tolerance": 1e-4},
            "parameters": {},
            "inputs": {"manifest": sha256(folder / "train/checkpoint.json")},
            "versions": {
                "python": "3.11",
                "torch": "2.13.0",
                "transformers": "4.57.1",
                "megatron-core": "0.16.1",
            },
        },
    )
    return Run(folder)


def calibrated(returns: np.ndarray) -> np.ndarray:
    """`a + b * returns`, with which Always Buy and Always Sell end at the published capitals (Newton)."""
    leverage, capital = PUBLISHED["leverage"], PUBLISHED["capital"]
    goal = np.log([PUBLISHED["buy"] / capital, PUBLISHED["sell"] / capital])
    sides = np.array([[leverage], [-leverage]])
    a, b = 0.0, 1.0
    for _ in range(20):
        growth = 1 + sides * (a + b * returns)
        slope = sides / growth
        jacobian = np.column_stack([slope.sum(axis=1), (slope * returns).sum(axis=1)])
        a, b = np.array([a, b]) - np.linalg.solve(jacobian, np.log(growth).sum(axis=1) - goal)
    return a + b * returns


def run_program(main: Callable[[], None], command: list[Any], *more: Any) -> None:
    """Call a program's ``main`` with a command line; an option given again in `more` counts."""
    before = sys.argv
    sys.argv = ["program", *map(str, command), *map(str, more)]
    try:
        main()
    finally:
        sys.argv = before


def edit_json(path: Path, **changes: Any) -> None:
    """Change entries of a JSON file."""
    write_json(path, json.loads(path.read_text()) | changes)


def edit_lines(path: Path, change: Any) -> None:
    """Rewrite a file of JSON lines through `change`, a function of the list of objects."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in change(rows)))
