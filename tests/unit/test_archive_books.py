"""The books that verify.py keeps against those of the workflow."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiving.verification.accounting import equal
from archiving.verification.books import Book, answered, keep_books, outcome, sides
from archiving.verification.performance import of_trades, performance, trades_of
from trading.accounting import Terms, account
from trading.answers import parse_answer
from trading.costs import Execution, kept
from trading.metrics import summary

FREE = {"fee_bps": 0, "slippage_bps": 0, "funding_long_bps": 0, "funding_short_bps": 0, "latency": 0}
FREE |= {"maintenance_margin": 0, "sizing": "rebalanced"}


def test_one_bar_by_hand() -> None:
    book = keep_books([100, 110], [1], leverage=2, capital=1000, terms=FREE | {"fee_bps": 10})
    # 20 units bought for 2000 dollars cost 2; they gain 200.
    assert book.equity == [1000, pytest.approx(1198)]
    assert book.exposure == [2, 0]
    assert book.paid == [0, pytest.approx(2)]


def test_a_liquidation_by_hand() -> None:
    book = keep_books([100, 40, 80], [1, 1], leverage=2, capital=1000, terms=FREE)
    assert book.equity == [1000, 0, 0]
    assert book.liquidated == 1
    assert book.exposure == [2, 0, 0]


TERMS = st.fixed_dictionaries(
    {
        "fee_bps": st.sampled_from([0, 5, 80]),
        "slippage_bps": st.sampled_from([0, 3]),
        "funding_long_bps": st.sampled_from([0, 2, -2]),
        "funding_short_bps": st.sampled_from([0, 1, -1]),
        "latency": st.sampled_from([0, 1, 3]),
        "maintenance_margin": st.sampled_from([0, 0.05, 0.2]),
        "sizing": st.sampled_from(["rebalanced", "fixed"]),
    }
)


# Prices have ticks: the ratios of a move of 1e-12 are rounding.
MOVE = st.integers(-300_000, 400_000).map(lambda millionths: millionths / 1e6)


@settings(max_examples=150, deadline=None)
@given(
    moves=st.lists(MOVE, min_size=2, max_size=30),
    terms=TERMS,
    leverage=st.sampled_from([0.5, 1, 2, 5]),
    seed=st.integers(0, 10_000),
    keep=st.booleans(),
    step=st.sampled_from([1, 4]),
)
def test_both_implementations_keep_the_same_books(
    moves: list[float], terms: dict[str, Any], leverage: float, seed: int, keep: bool, step: int
) -> None:
    closes = 100 * np.cumprod(1 + np.array([0.0, *moves]))
    directions = np.random.default_rng(seed).integers(-1, 2, len(moves)).astype(float)
    words = [{"decision": {1: "BUY", -1: "SELL", 0: "HOLD"}[int(d)], "status": "ok" if d else "x"} for d in directions]
    traded = sides(words, "HOLD", keep)
    expected = kept(directions) if keep else directions
    assert traded == [int(d) for d in expected]
    theirs = account(closes, expected, Terms(leverage, 1000.0, Execution(**terms)))
    ours = keep_books(closes.tolist(), traded, leverage, 1000.0, terms)
    for mine, other in ((ours.equity, theirs.equity), (ours.exposure, theirs.position), (ours.paid, theirs.cost)):
        assert all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-7) for a, b in zip(mine, other.tolist(), strict=True))
    hours = np.datetime64("2025-01-01T00:00:00") + np.arange(closes.size) * np.timedelta64(step, "h")
    if theirs.equity.min() > 1e-3:  # else what is left is rounding
        known = summary(theirs, closes, hours)
        found = figures(replace(ours, equity=theirs.equity.tolist()), closes.tolist(), step)
        assert set(known) - set(found) == {"liquidated"}
        assert {name: (found[name], known[name]) for name in found if not equal(found[name], known[name])} == {}


def figures(book: Book, closes: list[float], step: int = 1) -> dict[str, Any]:
    """All that verify.py computes of one strategy."""
    times = [str(t) for t in range(len(closes))]
    hours = [float(step * t) for t in range(len(closes))]
    made = trades_of(book.equity, book.exposure, closes, times)
    found = outcome(book, closes) | performance(book.equity, book.exposure, closes, hours, book.liquidated)
    return found | of_trades(made, dict(zip(times, hours, strict=True)))


def test_annual_figures_and_trades_by_hand() -> None:
    # Long for two bars, flat for one, short for one; a year of three hours would be 2920 of them.
    book = Book([100.0, 110.0, 99.0, 99.0, 108.9], [1.0, 1.0, 0.0, -1.0, 0.0], [0.0] * 5, None)
    found = figures(book, [10.0, 11.0, 9.9, 9.9, 8.91])
    assert found["profit_factor"] == pytest.approx(9.9)  # +9.9 short, -1 long
    assert found["holding_hours"] == 1.5
    assert found["drawdown_hours"] == 3  # from the peak of 110 to the end
    assert found["turnover"] == pytest.approx((1 + 0 + 1 + 1) / 4)
    assert found["sharpe"] == pytest.approx(0.025 / np.std([0.1, -0.1, 0, 0.1], ddof=1) * np.sqrt(8760))
    assert found["sortino"] == pytest.approx(0.025 / 0.05 * np.sqrt(8760))
    assert found["cagr"] == pytest.approx(1.089**2190 - 1)
    assert found["calmar"] == pytest.approx((1.089**2190 - 1) / 0.1)
    first = trades_of(book.equity, book.exposure, [10.0, 11.0, 9.9, 9.9, 8.91], list("abcde"))[0]
    assert (first["direction"], first["entry_time"], first["exit_time"]) == ("long", "a", "c")
    assert (first["pnl"], first["return"]) == (pytest.approx(-1), pytest.approx(-0.01))


def test_another_fee_gives_other_books() -> None:
    closes = [100, 101, 99, 103]
    one, two = (keep_books(closes, [1, -1, 1], 2, 1000, FREE | {"fee_bps": fee}) for fee in (5, 5.001))
    assert not equal(one.equity[-1], two.equity[-1])


PIECES = ["<think>", "</think>", "<answer>", "</answer>", "Buy", "SELL", " ", "\n", "up", "<answer>Buy</answer>"]


@settings(max_examples=400)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=8), cut=st.booleans())
def test_both_implementations_read_the_same_answer(pieces: list[str], cut: bool) -> None:
    text = "".join(pieces)
    assert answered(text, cut) == parse_answer(text, cut)
