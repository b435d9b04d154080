"""Baselines and sensitivity by hand, and that rules see only the past."""

from __future__ import annotations

import numpy as np
import pytest

from trading.costs import Execution, final_value
from trading.evidence import baselines, sensitivity

CLOSE = np.array([10.0, 11, 12, 11, 10, 9, 12, 13])


def test_momentum_by_hand() -> None:
    # Against the close two bars before: 12 > 10, 11 = 11, 10 < 12, 9 < 11, 12 > 10.
    np.testing.assert_array_equal(baselines.momentum(CLOSE, 2, 5, 2), [1, 0, -1, -1, 1])
    np.testing.assert_array_equal(baselines.momentum(CLOSE, 0, 3, 2), [0, 0, 1])


def test_the_crossover_by_hand() -> None:
    # Means of 1 and 3 closes: 12 > 11, 11 < 11.33, 10 < 11, 9 < 10, 12 > 10.33.
    np.testing.assert_array_equal(baselines.moving_average_crossover(CLOSE, 2, 5, 1, 3), [1, -1, -1, -1, 1])
    np.testing.assert_array_equal(baselines.moving_average_crossover(CLOSE, 0, 3, 1, 3), [0, 0, 1])
    np.testing.assert_array_equal(baselines.moving_average_crossover(CLOSE, 0, 3, 5, 20), [0, 0, 0])
    with pytest.raises(ValueError, match="shorter"):
        baselines.moving_average_crossover(CLOSE, 0, 3, 5, 5)


def test_rules_use_closes_up_to_the_decision_and_none_after() -> None:
    close = 100 * np.cumprod(1 + np.random.default_rng(0).normal(0, 0.01, 80))
    changed = close.copy()
    changed[61:] *= 7
    for rule in (
        lambda c: baselines.momentum(c, 30, 31, 24),
        lambda c: baselines.moving_average_crossover(c, 30, 31, 5, 20),
    ):
        np.testing.assert_array_equal(rule(close), rule(changed))


def test_random_traders_have_the_model_s_exposure_and_no_gain_without_a_drift() -> None:
    returns = np.random.default_rng(0).normal(0, 0.004, 400)
    directions = np.repeat([1, -1, 0], [100, 200, 100])
    ends = baselines.random_with_exposure(directions, returns, 1.0, Execution(), 3000, np.random.default_rng(1))
    assert ends.shape == (3000,)
    # On average over all orders each hour is held with the mean direction, -1/4.
    assert ends.mean() == pytest.approx(np.prod(1 - returns / 4), abs=0.01)
    constant = baselines.random_with_exposure(np.ones(400), returns, 1.0, Execution(), 5, np.random.default_rng(1))
    np.testing.assert_allclose(constant, np.prod(1 + returns))


def test_the_best_constant_is_the_best_of_all_exposures() -> None:
    returns = np.random.default_rng(2).normal(-0.0004, 0.006, 1706)
    exposure, end = baselines.best_constant(returns, 20.0, Execution())
    assert exposure == pytest.approx(returns.mean() / (returns**2).mean(), abs=0.2)  # the growth-optimal one
    assert end == pytest.approx(np.prod(1 + exposure * returns))
    falling = baselines.best_constant(np.full(50, -0.01), 2.0, Execution())
    assert falling == (-2.0, pytest.approx(1.02**50))
    assert baselines.best_constant(np.resize([0.5, -0.5], 10), 2.0, Execution()) == (0.0, 1.0)


def test_the_surface_is_a_simulation_at_each_cost_and_latency() -> None:
    rng = np.random.default_rng(0)
    returns, sides = rng.normal(0, 0.01, 100), rng.choice([-1, 1], 100)
    costs, latencies = [0.0, 3.0, 10.0], [0, 1, 5]
    surface = sensitivity.cost_latency_surface(sides, returns, 2.0, Execution(fee_bps=99, latency=9), costs, latencies)
    for row, latency in enumerate(latencies):
        for column, cost in enumerate(costs):
            end = final_value(returns, sides, 2.0, Execution(fee_bps=cost, latency=latency))
            assert surface[row, column] == pytest.approx(end - 1)


def test_return_over_leverage_is_a_simulation_at_each_leverage() -> None:
    returns = np.random.default_rng(0).normal(0, 0.01, 100)
    sides = np.array([np.ones(100), -np.ones(100)])
    curves = sensitivity.return_over_leverage(sides, returns, [0.0, 1.0, 3.0], Execution(fee_bps=5))
    assert curves.shape == (2, 3)
    np.testing.assert_array_equal(curves[:, 0], [0, 0])
    assert curves[1, 2] == pytest.approx(final_value(returns, sides[1], 3.0, Execution(fee_bps=5)) - 1)


def test_at_the_break_even_cost_nothing_is_earned() -> None:
    rng = np.random.default_rng(0)
    returns = rng.normal(0, 0.01, 300)
    sides = np.where(rng.random(300) < 0.6, np.sign(returns), -np.sign(returns))
    cost = sensitivity.break_even_cost(sides, returns, 2.0, Execution(latency=0))
    assert final_value(returns, sides, 2.0, Execution(fee_bps=cost)) == pytest.approx(1.0, abs=1e-6)
    assert sensitivity.break_even_cost(-sides, returns, 2.0, Execution()) == 0.0
    assert sensitivity.break_even_cost(np.ones(300), np.full(300, 0.01), 1.0, Execution()) is None


def test_the_liquidation_leverage_is_where_the_worst_hour_takes_all() -> None:
    returns = np.array([0.02, -0.04, 0.03])
    assert sensitivity.liquidation_leverage(np.ones(3), returns, Execution()) == pytest.approx(25.0, abs=1e-4)
    assert sensitivity.liquidation_leverage(-np.ones(3), returns, Execution()) == pytest.approx(1 / 0.03, abs=1e-4)
    # A margin of 1% of the notional: 1 - 0.04 L = 0.01 * 0.96 L.
    margin = sensitivity.liquidation_leverage(np.ones(3), returns, Execution(maintenance_margin=0.01))
    assert margin == pytest.approx(1 / 0.0496, abs=1e-4)
    assert sensitivity.liquidation_leverage(np.zeros(3), returns, Execution()) is None
