"""The exposure-matched null: what its draws keep, and that its p-values are right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.evidence.null import (
    circular_shifts,
    exposure_matched_null,
    run_permutations,
    run_starts,
    turnover,
)

sides = st.lists(st.sampled_from([-1, 0, 1]), min_size=2, max_size=60).map(lambda x: np.array(x, dtype=np.int8))


def runs(directions: np.ndarray) -> list[tuple[int, int]]:
    """Direction and length of each run, sorted."""
    starts = run_starts(directions)
    return sorted(zip(directions[starts].tolist(), np.diff([*starts, directions.size]).tolist(), strict=True))


def test_the_circular_shifts_of_a_short_path_by_hand() -> None:
    np.testing.assert_array_equal(circular_shifts(np.array([1, 1, -1], dtype=np.int8)), [[1, -1, 1], [-1, 1, 1]])


@given(directions=sides, seed=st.integers(0, 5))
def test_a_permutation_keeps_shares_holding_lengths_and_trades(directions: np.ndarray, seed: int) -> None:
    drawn = run_permutations(directions, 7, np.random.default_rng(seed))
    assert drawn.shape == (7, directions.size)
    for row in drawn:
        assert runs(row) == runs(directions)
        assert turnover(row[np.newaxis])[0] == turnover(directions[np.newaxis])[0]


def test_permutations_reach_every_arrangement_equally_often() -> None:
    # Long runs of 1 and 3, short ones of 2 and 1: two times two arrangements.
    directions = np.array([1, -1, -1, 1, 1, 1, -1], dtype=np.int8)
    drawn = run_permutations(directions, 4000, np.random.default_rng(0))
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 4
    assert np.abs(counts - 1000).max() < 120


def test_turnover_counts_entry_one_and_reversal_two() -> None:
    assert turnover(np.array([[1, 1, -1, 0]], dtype=np.int8))[0] == pytest.approx((1 + 2 + 1) / 4)


@pytest.mark.parametrize("side", [1, -1, 0])
def test_positions_that_never_change_are_never_better_than_chance(side: int) -> None:
    returns = np.random.default_rng(0).normal(0, 1, 50)
    found = exposure_matched_null(np.full(50, side), lambda s: s @ returns, 100, np.random.default_rng(0))
    assert (found.p_value, found.p_value_worse, found.runs) == (1.0, 1.0, 1)


def ends(sides: np.ndarray, move: float) -> np.ndarray:
    """Total return on a market that moves by as much in every hour."""
    return np.prod(1 + 2 * sides * move, axis=1) - 1


def test_rearrangements_that_earn_as_much_are_never_beaten() -> None:
    # Products of the same factors in another order differ in their last digits.
    sides = np.random.default_rng(0).choice([-1, 1], 400)
    for move in (0.0, 0.0017):
        found = exposure_matched_null(sides, lambda s: ends(s, move), 500, np.random.default_rng(0))  # noqa: B023
        assert (found.p_value, found.p_value_worse) == (1.0, 1.0)
        assert (found.percentile, found.percentile_shifts) == (0.5, 0.5)


def test_one_change_of_sides_is_too_little_for_the_permutations() -> None:
    # Long while it rose and short while it fell, but one run of each can be rearranged in one way only.
    returns = np.repeat([0.001, -0.001], 100)
    found = exposure_matched_null(np.sign(returns), lambda s: s @ returns, 500, np.random.default_rng(0))
    assert (found.permutations.p_value, found.p_value) == (1.0, 1.0)
    assert found.shifts.p_value < 0.05


def test_a_trader_who_knows_the_next_hour_is_beyond_all_draws_and_one_who_errs_always_is_below() -> None:
    returns = np.random.default_rng(0).normal(0, 1, 200)
    for sign, column in ((1, "p_value"), (-1, "p_value_worse")):
        found = exposure_matched_null(sign * np.sign(returns), lambda s: s @ returns, 999, np.random.default_rng(0))
        assert getattr(found, column) == pytest.approx(1 / 200)  # there are 199 shifts
        assert found.permutations.p_value == pytest.approx(0.001 if sign > 0 else 1.0)


def test_shifts_to_bars_that_a_decision_has_seen_are_left_out() -> None:
    # Who follows the last move, shifted one bar earlier, follows the move that he trades on: no draw of chance.
    returns = np.random.default_rng(0).normal(0, 1, 200)
    follower = np.sign(np.roll(returns, 1))
    rng = np.random.default_rng(0)
    seen, unseen = (exposure_matched_null(follower, lambda s: s @ returns, 10, rng, look_back) for look_back in (0, 1))
    assert (seen.shifts.values.size, unseen.shifts.values.size) == (199, 198)
    assert seen.shifts.values.max() == pytest.approx(np.abs(returns).sum())
    assert unseen.shifts.values.max() < np.abs(returns).sum() / 2
    np.testing.assert_allclose(seen.shifts.values[1:], unseen.shifts.values)
    # Of a short record half of the shifts stay.
    assert exposure_matched_null(follower[:30], lambda s: s @ returns[:30], 10, rng, 120).shifts.values.size == 15


def test_p_values_of_traders_without_timing_are_uniform_or_larger() -> None:
    rng = np.random.default_rng(7)
    p_values = []
    for _ in range(200):
        returns = rng.normal(-0.05, 1, 150)
        directions = np.where(np.cumsum(rng.random(150) < 0.3) % 2, 1, -1)
        p_values.append(exposure_matched_null(directions, lambda s: s @ returns, 199, rng).p_value)  # noqa: B023
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p_values) <= level) <= level + 3 * np.sqrt(level * (1 - level) / 200)


def test_few_long_bets_cut_into_short_ones_are_not_taken_for_many() -> None:
    # Long with interruptions in a first half that rises, short with interruptions in a second that falls: two
    # bets. Permutations take every interruption for a bet of its own, shifts do not; the larger p-value counts.
    rng = np.random.default_rng(3)
    trend = np.repeat([1.0, -1.0], 250)
    directions = np.where(rng.random(500) < 0.8, trend, -trend)
    returns = 0.5 * trend + rng.normal(0, 1, 500)
    found = exposure_matched_null(directions, lambda s: s @ returns, 1999, np.random.default_rng(0))
    assert found.p_value == max(found.shifts.p_value, found.permutations.p_value)
    assert found.shifts.values.std() > 3 * found.permutations.values.std()


def test_the_same_seed_gives_the_same_numbers_however_they_are_chunked() -> None:
    returns = np.random.default_rng(0).normal(0, 1, 300)
    directions = np.sign(np.random.default_rng(1).normal(0, 1, 300))
    one, two = (
        exposure_matched_null(directions, lambda s: s @ returns, 3000, np.random.default_rng(5)) for _ in range(2)
    )
    np.testing.assert_array_equal(one.permutations.values, two.permutations.values)
    assert one.permutations.values.size == 3000


@pytest.mark.parametrize(("directions", "draws"), [([1], 10), ([[1, 1]], 10), ([1, -1], 0)])
def test_what_cannot_be_drawn_is_refused(directions: list, draws: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        exposure_matched_null(np.array(directions), lambda s: s.sum(axis=1), draws, np.random.default_rng(0))
    with pytest.raises(ValueError, match="look_back must be"):
        exposure_matched_null(np.array([1, -1]), lambda s: s.sum(axis=1), 1, np.random.default_rng(0), -1)
