"""A small run's files, made up for the tests of simulate, plot and deck: same form as the real ones."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

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


def write_decisions(
    folder: Path, variant: str, model: str, times: list[str], buys: np.ndarray, invalid: np.ndarray
) -> None:
    """decisions.jsonl and summary.json of one model."""
    status = np.full(len(times), "ok", dtype=object)
    status[invalid] = np.resize(["truncated", "unparsable"], len(invalid))
    rows = []
    for number, (time, buy, state) in enumerate(zip(times, buys, status, strict=True)):
        word = ("BUY" if buy else "SELL") if state == "ok" else "HOLD"
        rows.append(
            {
                "id": f"test-{number:06d}",
                "timestamp": time,
                "decision": word,
                "status": state,
                "text": f"<think>rising weak quiet</think><answer>{word.title()}</answer>",
                "output_ids": [1, 2, 3],
                "finish_reason": "length" if state == "truncated" else "stop",
                "logprob": -0.7,
                "prompt_sha256": hashlib.sha256(time.encode()).hexdigest(),
                "seed": None,
            }
        )
    write_jsonl(folder / f"infer/{variant}/decisions.jsonl", rows)
    words = [row["decision"] for row in rows]
    write_json(
        folder / f"infer/{variant}/summary.json",
        {
            "model": model,
            "variant": variant,
            "samples": len(rows),
            "buy": words.count("BUY"),
            "sell": words.count("SELL"),
            "finished": int((status == "finished").sum()),
            "truncated": int((status == "truncated").sum()),
            "unparsable": int((status == "unparsable").sum()),
            "mean_tokens": 9.1,
            "engine": "SGLang 0.5.6",
            "device": "cpu",
            "parameters": {
                "max_new_tokens": 24,
                "temperature": 0.0 if variant == "trained" else 1.0,
                "seed": 11,
            },
            "inputs": {},
            "versions": {"python": "3.11", "sglang": "0.5.6", "torch": "2.13.0", "transformers": "4.57.1"},
        },
    )


def write_training(folder: Path, rng: np.random.Generator, iterations: int = 500) -> None:
    """train/checkpoint.json and train/metrics.jsonl: a reward that rises late, and three spikes."""
    step = np.arange(1, iterations + 1)
    learned = 1 / (1 + np.exp(-(step - 230) / 40))
    reward = 0.1 + 0.5 * learned + rng.normal(0, 0.25, iterations)
    invalid = 0.03 * np.exp(-step / 60) + 0.002 * rng.random(iterations)
    rows = []
    for i in range(iterations):
        row = {
            "iteration": int(step[i]),
            "reward": float(reward[i]),
            "reward_std": 4.0,
            "invalid": float(invalid[i]),
            "buy": float(0.5 + 0.05 * rng.normal()),
            "kl": float(0.08 * learned[i] * (1 + 0.2 * rng.normal())),
            "entropy": float(1.0 - 0.3 * learned[i] + 0.03 * rng.normal()),
            "spike": i in (120, 333, 420),
        }
        if (i + 1) % 50 == 0:
            accuracy = float(0.5 + 0.05 * learned[i])
            row["validation"] = {"accuracy": accuracy, "buy": 0.5, "invalid": 0.0, "reward": 0.6 * learned[i]}
        rows.append(row)
    write_jsonl(folder / "train/metrics.jsonl", rows)
    write_json(folder / "train/checkpoint.json", manifest(iterations))


def manifest(iterations: int = 500) -> dict[str, Any]:
    """What the training stage says of itself."""
    parameters = {
        "iterations": iterations,
        "prompts_per_iteration": 32,
        "group_size": 8,
        "updates_per_iteration": 2,
        "learning_rate": 1e-3,
        "clip_low": 0.2,
        "clip_high": 0.28,
        "kl_beta": 0.04,
        "entropy": 0.001,
        "normalise_by_std": True,
        "spike_threshold": 0.2,
        "spike_floor": 0.5,
        "spike_action": "skip",
        "straggler_ratio": 1.5,
        "reward_scale": 1000.0,
        "reward_valid": 0.01,
        "reward_invalid": -10.0,
        "tokens_per_micro_batch": 16384,
    }
    return {
        "engine": "megatron",
        "iteration": iterations,
        "name": f"iter_{iterations:07d}",
        "checkpoint": f"checkpoints/abc/iter_{iterations:07d}",
        "key": "abc",
        "device": "cpu",
        "device_name": "CPU",
        "shape": {"layers": 2, "hidden": 64, "heads": 4, "query_groups": 2, "vocabulary": 448},
        "spikes": 3,
        "skipped": 3,
        "parameters": parameters,
        "inputs": {},
        "versions": {"python": "3.11", "megatron-core": "0.16.1", "torch": "2.13.0"},
    }


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
