"""The books that verify.py keeps against those of the workflow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archiving.verification.accounting import equal
from archiving.verification.books import answered, keep_books, outcome, sides
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


@settings(max_examples=150, deadline=None)
@given(
    moves=st.lists(st.floats(-0.3, 0.4), min_size=2, max_size=30),
    terms=TERMS,
    leverage=st.sampled_from([0.5, 1, 2, 5]),
    seed=st.integers(0, 10_000),
    keep=st.booleans(),
)
def test_both_implementations_keep_the_same_books(
    moves: list[float], terms: dict[str, Any], leverage: float, seed: int, keep: bool
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
    hours = np.datetime64("2025-01-01T00:00:00") + np.arange(closes.size) * np.timedelta64(1, "h")
    found, known = outcome(ours, closes.tolist()), summary(theirs, closes, hours)
    if theirs.equity.min() > 1e-3:  # else what is left is rounding
        assert {name: found[name] for name in found if not equal(found[name], known[name])} == {}


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
