"""The synthetic market: exact end capitals, and something to learn only where it was planted."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InputError
from trading.bars import Bars, format_times
from trading.synthetic import (
    Calibration,
    Settings,
    centred,
    end_capital,
    standardised_moves,
    synthetic_bars,
    volatilities,
)

NOTHING = {"momentum": 0.0, "trend": 0.0, "slow_drift": 0.0}
OFF = Calibration(hours=0)


def capital_by_hand(closes: list[float], direction: int, leverage: float, capital: float) -> float:
    """The accounting of the design, one hour after the other."""
    for current, after in itertools.pairwise(closes):
        capital *= 1 + leverage * direction * (after / current - 1)
    return capital


@pytest.mark.parametrize("seed", range(25))
def test_constant_positions_end_at_the_published_capitals_to_the_cent(seed: int) -> None:
    bars, facts = synthetic_bars(Settings(seed=seed), Calibration())
    last = bars.close[-1707:].tolist()
    assert round(capital_by_hand(last, +1, 2.0, 100_000.0), 2) == 52437.00
    assert round(capital_by_hand(last, -1, 2.0, 100_000.0), 2) == 149632.00
    assert facts is not None
    assert (facts["buy_capital_reached"], facts["sell_capital_reached"]) == (52437.0, 149632.0)
    assert facts["b"] > 0


def test_without_calibration_they_end_elsewhere() -> None:
    bars, facts = synthetic_bars(Settings(), OFF)
    assert facts is None
    assert abs(end_capital(bars.close[-1707:], 2.0, 100_000.0) - 52437) > 1000


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(100, 400),
    st.floats(1.0, 3.0),
    st.floats(0.6, 1.6),
    st.floats(0.7, 0.97),
)
def test_other_capitals_and_leverages_are_reached_too(
    seed: int, hours: int, leverage: float, buy: float, product: float
) -> None:
    wanted = Calibration(hours, leverage, 1000.0, 1000 * buy, 1000 * product / buy)
    # The hourly moves that such capitals need are far below what equity bears.
    bars, _ = synthetic_bars(Settings(seed=seed, bars=500), wanted)
    last = bars.close[-hours - 1 :].tolist()
    assert capital_by_hand(last, +1, leverage, 1000.0) == pytest.approx(wanted.buy_capital, abs=0.005)
    assert capital_by_hand(last, -1, leverage, 1000.0) == pytest.approx(wanted.sell_capital, abs=0.005)


def test_a_seed_gives_one_market_and_another_seed_another() -> None:
    first, again, other = (synthetic_bars(Settings(seed=seed), Calibration())[0] for seed in (3, 3, 4))
    assert (first.close == again.close).all()
    assert (first.close != other.close).mean() > 0.99


def test_calibration_touches_the_last_hours_only() -> None:
    # Both are centred over the same hours: those before the test.
    plain = np.expm1(centred(standardised_moves(Settings()), 1706) * volatilities(Settings()))
    bars, facts = synthetic_bars(Settings(), Calibration())
    returns = bars.close[1:] / bars.close[:-1] - 1
    assert facts is not None
    np.testing.assert_allclose(returns[:-1706], plain[:-1706], atol=1e-8)
    np.testing.assert_allclose(returns[-1706:], facts["a"] + facts["b"] * plain[-1706:], atol=1e-8)


def test_bars_are_hourly_from_the_start_given() -> None:
    bars, _ = synthetic_bars(Settings(bars=2000, start="2023-06-30T22:00:00Z"), Calibration())
    assert len(bars) == 2000
    assert format_times(bars.time[:3]) == [
        "2023-06-30T22:00:00Z",
        "2023-06-30T23:00:00Z",
        "2023-07-01T00:00:00Z",
    ]
    assert (np.diff(bars.time) == np.timedelta64(1, "h")).all()


@pytest.mark.parametrize("seed", range(5))
def test_training_hours_go_up_as_often_as_down(seed: int) -> None:
    bars, _ = synthetic_bars(Settings(seed=seed), Calibration())
    before = np.diff(bars.close)[:-1706]
    assert abs((before > 0).sum() - (before < 0).sum()) <= 1


def test_volatility_has_its_level_and_clusters_and_shocks_have_fat_tails() -> None:
    long = Settings(bars=100_001, **NOTHING)
    sigma, moves = volatilities(long), standardised_moves(long)
    assert sigma.mean() == pytest.approx(0.0058, rel=0.1)
    assert np.corrcoef(np.log(sigma[1:]), np.log(sigma[:-1]))[0, 1] == pytest.approx(0.97, abs=0.01)
    assert moves.std() == pytest.approx(1, abs=0.03)
    assert (moves**4).mean() > 4.5, "the normal distribution has 3, Student-t(6) has 6"


def test_each_strength_adds_its_own_drift_to_the_same_shocks() -> None:
    shocks = standardised_moves(Settings(**NOTHING))
    trend = standardised_moves(Settings(**{**NOTHING, "trend": 0.1})) - shocks
    slow = standardised_moves(Settings(**{**NOTHING, "slow_drift": 0.02})) - shocks
    momentum = standardised_moves(Settings(**{**NOTHING, "momentum": 0.18}))
    np.testing.assert_allclose(np.abs(trend), 0.1)
    np.testing.assert_allclose(np.abs(slow), 0.02)
    assert np.flatnonzero(np.diff(np.sign(trend))).size == pytest.approx(8499 / 24, rel=0.2)
    t = 1000
    pull = 0.18 * math.tanh(momentum[t - 3 : t].sum() / 1.7)
    assert momentum[t] == pytest.approx(shocks[t] + pull)


# What is there to learn: does the sign of the last moves tell the sign of the next one? Over many markets,
# because one market may say anything.
SEEDS = range(60)


def agreement(bars: Bars, hours: int, moves: int) -> float:
    """How far, in standard errors, the signs agree beyond one half, before the calibrated hours."""
    returns = np.diff(bars.close)[:-hours]
    log = np.log(bars.close)[: -hours or None]
    past = np.sign(log[moves:-1] - log[: -moves - 1])
    agree = past * np.sign(returns[moves:])
    return float(agree.sum() / math.sqrt(np.count_nonzero(agree)))


def agreements(moves: int, **strengths: float) -> np.ndarray:
    markets = (synthetic_bars(Settings(seed=seed, **strengths), Calibration())[0] for seed in SEEDS)
    return np.array([agreement(bars, 1706, moves) for bars in markets])


@pytest.mark.parametrize("moves", [1, 3, 10])
def test_a_market_without_strengths_has_nothing_to_learn(moves: int) -> None:
    z = agreements(moves, **NOTHING)
    # 5% of 60 markets exceed 1.96 by chance: 3, and 9 or more with a probability of 0.4%. The mean of 60
    # standard normal numbers exceeds 0.39 either way with one of 0.3%.
    assert (np.abs(z) > 1.96).sum() < 9
    assert abs(z.mean()) < 0.39


@pytest.mark.parametrize(("moves", "strength"), [(1, "momentum"), (3, "momentum"), (10, "trend")])
def test_the_same_test_finds_what_was_planted(moves: int, strength: str) -> None:
    planted = {**NOTHING, strength: getattr(Settings, strength)}
    z = agreements(moves, **planted)
    share = (z > 1.96).mean()
    assert share > (0.95 if strength == "momentum" else 0.1), "a trend of 0.1 alone is hard to see in signs"
    assert z.mean() > 0.39


BAD = {
    "seed": ({"seed": -1}, {}, r"seed: is -1"),
    "bars": ({"bars": 1706}, {}, r"bars: is 1706, too few for 1706"),
    "volatility": ({"volatility": 0.0}, {}, r"volatility: is 0"),
    "start": ({"start": "noon"}, {}, r"market.synthetic.start: timestamp 'noon' is not a time"),
    "hours": ({}, {"hours": -1}, r"calibrate.hours: is -1"),
    "capital": ({}, {"capital": 0.0}, r"calibrate.capital: is 0"),
    "both win": ({}, {"buy_capital": 120_000.0}, r"product must lie clearly below"),
    "no variance": ({}, {"buy_capital": 50_000.0, "sell_capital": 200_000.0}, r"no market of 1706 hours"),
    "too wild": ({}, {"hours": 10, "buy_capital": 1.0, "sell_capital": 1.0}, r"more than the equity bears"),
    "runs off": ({"volatility": 0.9}, {"hours": 0}, r"ran off to zero or infinity"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_refused_by_its_key(case: str) -> None:
    market, calibration, words = BAD[case]
    with pytest.raises(InputError, match=words):
        synthetic_bars(dataclasses.replace(Settings(), **market), dataclasses.replace(Calibration(), **calibration))
