"""The HAC regression against statsmodels, planted coefficients, and strategies without errors."""

from __future__ import annotations

import numpy as np
import pytest

from trading.evidence.regression import least_squares, market_regression, newey_west_lags, timing_regression


def series(seed: int, size: int = 600) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    market = rng.standard_t(5, size) * 0.006
    noise = np.convolve(rng.normal(0, 0.003, size + 4), np.ones(5) / 2, "valid") * (1 + 50 * np.abs(market))
    return 0.0004 + 0.7 * market + 0.4 * np.maximum(-market, 0) + noise, market


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("timing", [False, True])
def test_estimates_errors_and_p_values_are_those_of_statsmodels(seed: int, timing: bool) -> None:
    linear_model = pytest.importorskip("statsmodels.regression.linear_model")
    strategy, market = series(seed)
    columns = [np.ones(market.size), market] + ([np.maximum(-market, 0)] if timing else [])
    mine = timing_regression(strategy, market) if timing else market_regression(strategy, market)
    theirs = linear_model.OLS(strategy, np.column_stack(columns)).fit(
        cov_type="HAC", cov_kwds={"maxlags": mine.lags, "use_correction": True}
    )
    np.testing.assert_allclose([c.estimate for c in mine.coefficients], theirs.params, rtol=1e-9)
    np.testing.assert_allclose([c.error for c in mine.coefficients], theirs.bse, rtol=1e-9)
    two_sided = [2 * min(c.p_value, 1 - c.p_value) for c in mine.coefficients]
    np.testing.assert_allclose(two_sided, theirs.pvalues, rtol=1e-7, atol=1e-14)
    low, high = theirs.conf_int(0.05).T
    np.testing.assert_allclose([c.interval(0.95) for c in mine.coefficients], np.column_stack([low, high]), rtol=1e-7)
    assert mine.r_squared == pytest.approx(theirs.rsquared)


def test_the_control_errors_without_autocorrelation_are_too_small_here() -> None:
    strategy, market = series(0)
    x = np.column_stack([np.ones(market.size), market])
    assert (
        least_squares(strategy, x, lags=0).coefficients[0].error
        < market_regression(strategy, market).coefficients[0].error
    )


def test_a_constant_position_is_all_beta_and_no_intercept() -> None:
    market = np.random.default_rng(0).normal(0, 0.006, 400)
    for exposure in (2.0, -3.0):
        found = market_regression(exposure * market, market)
        intercept, beta = found.coefficients
        assert (intercept.estimate, intercept.p_value) == (0.0, 1.0)
        assert beta.estimate == pytest.approx(exposure)
        timing = timing_regression(exposure * market, market).coefficients[2]
        assert (timing.estimate, timing.p_value) == (0.0, 1.0)


def test_a_strategy_that_never_traded_has_no_coefficients() -> None:
    market = np.random.default_rng(0).normal(0, 0.006, 400)
    assert [c.estimate for c in market_regression(np.zeros(400), market).coefficients] == [0.0, 0.0]


def test_a_perfect_timer_shows_in_the_timing_term() -> None:
    market = np.random.default_rng(0).normal(0, 0.006, 400)
    beta, timing = timing_regression(np.abs(market) + 1e-6 * market**2, market).coefficients[1:]
    assert beta.estimate == pytest.approx(1.0, abs=1e-3)
    assert timing.estimate == pytest.approx(2.0, abs=1e-3)
    assert timing.p_value < 1e-6


def test_a_market_that_does_not_vary_or_never_falls_gives_nothing() -> None:
    strategy = np.random.default_rng(0).normal(0, 0.006, 50)
    assert market_regression(strategy, np.zeros(50)) is None
    assert market_regression(strategy, np.full(50, 0.01)) is None
    assert timing_regression(strategy, np.abs(strategy)) is None


def test_the_lags_follow_the_usual_rule() -> None:
    assert [newey_west_lags(bars) for bars in (30, 100, 1706)] == [3, 4, 7]


def test_a_benchmark_of_another_length_and_a_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="the same bars"):
        market_regression(np.zeros(5), np.zeros(4))
    with pytest.raises(ValueError, match="finite"):
        market_regression(np.array([0.0, np.nan]), np.zeros(2))


def test_what_a_constant_position_pays_every_bar_is_its_intercept() -> None:
    market = np.random.default_rng(1).normal(0, 0.006, 300)
    found = market_regression(2 * market - 1e-4, market)
    assert found is not None
    intercept, beta = found.coefficients
    assert (intercept.estimate, beta.estimate) == (pytest.approx(-1e-4), pytest.approx(2))
    assert intercept.p_value == 1
    free = market_regression(2 * market, market)
    assert free is not None
    assert free.coefficients[0].estimate == 0
