"""verify.py: results that a forger changed, with new checksums."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from archive_inputs import (
    DECISIONS,
    DECK,
    EQUITY,
    METRICS,
    in_json,
    problems,
    tampered,
)


def test_a_number_changed_in_the_results_is_named(packed: Path, tmp_path: Path) -> None:
    def better(metrics: Any) -> None:
        row = next(row for row in metrics["strategies"] if row["key"] == "trained")
        row["total_return"] += 0.5

    found = problems(tampered(packed, tmp_path / "other.zip", in_json(METRICS, better)))
    text = "\n".join(found)
    assert f"{METRICS}: strategies.trained.total_return is" in text  # the accounting
    assert "was computed from another metrics" in text  # the records
    assert "was not drawn of" in text  # the figures
    assert f"{DECK}, slide" in text  # the ledger


@pytest.mark.parametrize(
    "name", ["sharpe", "cagr", "alpha", "drawdown_hours", "profit_factor", "turnover", "volatility"]
)
def test_an_annual_figure_changed_in_the_results_is_named(packed: Path, tmp_path: Path, name: str) -> None:
    def better(metrics: Any) -> None:
        row = next(row for row in metrics["strategies"] if row["key"] == "trained")
        row[name] *= 1.0001

    found = problems(tampered(packed, tmp_path / "other.zip", in_json(METRICS, better)))
    assert any(line.startswith(f"{METRICS}: strategies.trained.{name} is ") for line in found)


def test_a_figure_that_is_missing_in_the_results_is_named(packed: Path, tmp_path: Path) -> None:
    change = in_json(METRICS, lambda metrics: metrics["strategies"][0].pop("sortino"))
    found = problems(tampered(packed, tmp_path / "other.zip", change))
    assert any("sortino is missing, the decisions and prices give" in line for line in found)


def test_a_changed_trade_and_a_missing_one_are_named(packed: Path, tmp_path: Path) -> None:
    name = "data/results/leverage-2/trades.csv"

    def dearer(files: dict[str, bytes]) -> None:
        rows = files[name].decode().splitlines()
        fields = rows[2].split(",")
        rows[2] = ",".join([*fields[:-2], str(float(fields[-2]) + 1), fields[-1]])
        files[name] = ("\n".join(rows) + "\n").encode()

    def fewer(files: dict[str, bytes]) -> None:
        files[name] = files[name].rstrip().rpartition(b"\n")[0] + b"\n"

    found = problems(tampered(packed, tmp_path / "other.zip", dearer))
    assert any(line.startswith(f"{name}: trade ") and " has pnl " in line for line in found)
    found = problems(tampered(packed, tmp_path / "other.zip", fewer))
    assert any(re.search(rf"{name}: \d+ trades of \w+, the decisions give \d+", line) for line in found)


def test_an_answer_of_a_variant_that_does_not_trade_is_read_too(packed: Path, tmp_path: Path) -> None:
    variant = "data/results/infer/seed-2/decisions.jsonl"

    def forged(files: dict[str, bytes]) -> None:
        files[variant] = files[DECISIONS].replace(b'"decision": "BUY"', b'"decision": "SELL"', 1)

    found = problems(tampered(packed, tmp_path / "other.zip", forged))
    assert any(line.startswith(f"{variant}, line ") and "its raw answer BUY (ok)" in line for line in found)


def test_a_changed_answer_and_a_changed_decision_are_named(packed: Path, tmp_path: Path) -> None:
    def other_word(files: dict[str, bytes]) -> None:
        files[DECISIONS] = files[DECISIONS].replace(b'"decision": "BUY"', b'"decision": "SELL"', 1)

    def other_answer(files: dict[str, bytes]) -> None:
        files[DECISIONS] = re.sub(rb'"BUY"(.*?)<answer>Buy', rb'"SELL"\1<answer>Sell', files[DECISIONS], count=1)

    found = "\n".join(problems(tampered(packed, tmp_path / "other.zip", other_word)))
    assert "its raw answer BUY (ok)" in found
    found = "\n".join(problems(tampered(packed, tmp_path / "other.zip", other_answer)))
    assert "raw answer" not in found
    assert f"{EQUITY}: trained at" in found


def test_a_changed_price_is_named(packed: Path, tmp_path: Path) -> None:
    def dearer(files: dict[str, bytes]) -> None:
        name = "data/results/market/bars.csv"
        lines = files[name].decode().splitlines()
        fields = lines[-5].split(",")
        lines[-5] = ",".join([*fields[:-1], str(float(fields[-1]) + 1)])
        files[name] = ("\n".join(lines) + "\n").encode()

    text = "\n".join(problems(tampered(packed, tmp_path / "other.zip", dearer)))
    assert "was computed from another bars" in text
    assert f"{EQUITY}: always_buy at" in text
