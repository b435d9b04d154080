"""Annual figures against numbers worked out by hand, and against ffn, pandas, statsmodels and plain loops."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trading.accounting import Account, Terms, account
from trading.costs import Execution
from trading.metrics import max_drawdown
from trading.performance import (
    alpha_beta,
    bars_per_year,
    cagr,
    calmar,
    longest_drawdown,
    sharpe,
    simple_returns,
    sortino,
    turnover,
    volatility,
)

HOURLY = 8760.0
# ffn's year has 365.25 days.
FFN_YEAR = 8766 / 8760
records = arrays(np.float64, st.integers(3, 60), elements=st.floats(-0.3, 0.3))
# Few values, so that curves often come back to a peak or stay there.
steps = arrays(np.float64, st.integers(2, 40), elements=st.sampled_from([0.5, 1.0, 2.0]))


def hourly(bars: int) -> np.ndarray:
    return np.datetime64("2025-01-01T00", "s") + np.arange(bars) * np.timedelta64(3600, "s")


def curve(returns: np.ndarray) -> np.ndarray:
    return 1000 * np.append(1.0, np.cumprod(1 + returns))


def random_books(seed: int, bars: int = 120) -> tuple[Account, np.ndarray]:
    """Books of one random strategy on a random market, with costs, and its prices."""
    rng = np.random.default_rng(seed)
    prices = curve(rng.standard_t(4, bars) * 0.01)
    sides = rng.integers(-1, 2, bars).repeat(rng.integers(1, 6, bars))[:bars].astype(float)
    execution = Execution(*rng.uniform(0, 20, 4), sizing=["rebalanced", "fixed"][seed % 2])
    return account(prices, sides, Terms(leverage=2, capital=1000.0, execution=execution)), prices


@pytest.fixture(scope="module")
def ffn() -> ModuleType:
    import ffn

    return ffn


def test_an_hourly_year_has_8760_bars_and_gaps_in_time_make_it_fewer() -> None:
    assert bars_per_year(hourly(100)) == 8760
    assert bars_per_year(hourly(100)[::2]) == 4380
    # Five closes over eight hours, as of a market that closes in between.
    assert bars_per_year(hourly(9)[[0, 1, 2, 7, 8]]) == 4380


def test_ratios_of_four_hours_by_hand() -> None:
    # Mean 0.05; squared distances to it 0.0225, 0.0225, 0.0025, 0.0025: variance 0.05 / 3.
    returns = np.array([0.2, -0.1, 0.0, 0.1])
    assert volatility(returns, HOURLY) == pytest.approx(math.sqrt(0.05 / 3 * 8760))
    # 0.05^2 / (0.05 / 3) = 0.15.
    assert sharpe(returns, HOURLY) == pytest.approx(math.sqrt(0.15 * 8760))
    # One loss of 0.1 among four: root of 0.01 / 4 is 0.05, the mean itself.
    assert sortino(returns, HOURLY) == pytest.approx(math.sqrt(8760))


def test_annual_growth_by_hand() -> None:
    assert cagr(1.21, 2.0) == pytest.approx(0.1)
    assert cagr(1.1, 0.5) == pytest.approx(0.21)
    assert cagr(0.25, 2.0) == pytest.approx(-0.5)


def test_growth_over_the_deepest_drawdown_by_hand() -> None:
    assert calmar(0.3, -0.2) == pytest.approx(1.5)
    assert calmar(-1.0, -1.0) == -1.0


def test_a_drawdown_lasts_from_its_peak_to_the_first_close_as_high_by_hand() -> None:
    # 120 at 1 is reached again at 4: three hours. Then two hours below it to the end.
    equity = np.array([100.0, 120, 90, 110, 120, 100, 110])
    assert longest_drawdown(equity, hourly(7)) == 3
    # A longer night between the last two closes makes the second one the longest.
    times = hourly(7)
    times[-1] += np.timedelta64(10, "h")
    assert longest_drawdown(equity, times) == 12
    assert longest_drawdown(np.array([100.0, 100, 101, 101]), hourly(4)) == 0
    assert longest_drawdown(np.array([100.0, 50, 0, 0]), hourly(4)) == 3


def test_alpha_and_beta_by_hand() -> None:
    # Mean of the market 0, of the strategy 0.01; covariance over variance (0.02 + 0.02) / (0.01 + 0.01) = 2.
    market, returns = np.array([0.1, -0.1, 0.0]), np.array([0.21, -0.19, 0.01])
    alpha, beta = alpha_beta(returns, market, HOURLY)
    assert beta == pytest.approx(2)
    assert alpha == pytest.approx(0.01 * 8760)


def test_a_constant_position_is_all_beta_unless_it_pays_for_being_held() -> None:
    market = np.random.default_rng(0).normal(0, 0.006, 200)
    for side in (1.0, -1.0):
        books = account(curve(market), np.full(200, side), Terms(leverage=2))
        alpha, beta = alpha_beta(simple_returns(books.equity), market, HOURLY)
        assert (alpha, beta) == (0, pytest.approx(2 * side))
    terms = Terms(leverage=2, execution=Execution(funding_long_bps=1))
    books = account(curve(market), np.ones(200), terms)
    alpha, beta = alpha_beta(simple_returns(books.equity), market, HOURLY)
    assert alpha == pytest.approx(-2e-4 * 8760)
    assert beta == pytest.approx(2)


def test_turnover_counts_entries_re_levering_and_reversals_by_hand() -> None:
    # 1000 dollars, 2x, 1% of what is traded: 2000 of 1000. +10%, fee 20: 1180, 2200 held, 2360 wanted: 160 of 1180.
    # -10%, fee 1.60: 942.40, 2124 held, -1884.80 wanted: 4008.80 of 942.40.
    prices = 100 * np.array([1, 1.1, 0.99, 0.99])
    books = account(prices, [1, 1, -1], Terms(leverage=2, capital=1000.0, execution=Execution(fee_bps=100)))
    found = turnover(books.position[:-1], books.equity, simple_returns(prices))
    assert found == pytest.approx((2 + 160 / 1180 + 4008.8 / 942.4) / 3)
    # All of the fees are 1% of it, bar by bar.
    assert books.cost.tolist() == pytest.approx([0, 20, 1.6, 40.088])


def test_units_that_are_held_are_no_turnover() -> None:
    prices = np.array([100.0, 110, 99, 120, 100])
    books = account(prices, np.ones(4), Terms(leverage=2, execution=Execution(sizing="fixed")))
    assert turnover(books.position[:-1], books.equity, simple_returns(prices)) == pytest.approx(2 / 4)
    # The control: re-levering does trade.
    books = account(prices, np.ones(4), Terms(leverage=2))
    assert turnover(books.position[:-1], books.equity, simple_returns(prices)) > 0.6


def test_what_a_liquidation_closes_is_no_turnover() -> None:
    # 2000 bought of 1000; at -45% 100 are left, below 10% of 1100; nothing is traded after.
    prices = np.array([100.0, 55, 60, 70])
    books = account(prices, np.ones(3), Terms(leverage=2, execution=Execution(maintenance_margin=0.1)))
    found = turnover(books.position[:-1], books.equity, simple_returns(prices), books.liquidated)
    assert found == pytest.approx(2 / 3)


def test_what_is_not_defined_is_none_and_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    flat, one = np.zeros(10), np.array([0.1])
    assert volatility(flat, HOURLY) == 0
    assert (sharpe(flat, HOURLY), sortino(flat, HOURLY), calmar(0.0, 0.0)) == (None, None, None)
    assert (volatility(one, HOURLY), sharpe(one, HOURLY), sortino(one, HOURLY)) == (None, None, None)
    gains = np.array([0.1, 0.2])
    assert sortino(gains, HOURLY) is None
    assert calmar(cagr(1.32, 1.0), max_drawdown(curve(gains))) is None
    # The same return at every bar, but for rounding.
    same = simple_returns(curve(np.full(50, 0.001)))
    assert np.ptp(same) > 0
    assert sharpe(same, HOURLY) is None
    assert alpha_beta(gains, gains, HOURLY) == (None, None)
    assert alpha_beta(np.arange(5.0), np.zeros(5), HOURLY) == (None, None)
    # Doubled in an hour: more than a number holds in a year.
    assert cagr(2.0, 1 / 8760) is None
    assert calmar(None, -0.5) is None
    assert not recwarn.list


def test_an_account_that_is_wiped_out_has_defined_figures(recwarn: pytest.WarningsRecorder) -> None:
    equity = np.array([1000.0, 1200.0, 0.0, 0.0])
    returns = simple_returns(equity)
    np.testing.assert_allclose(returns, [0.2, -1, 0])
    assert cagr(0.0, 0.1) == -1
    assert calmar(-1.0, max_drawdown(equity)) == -1
    for ratio in (sharpe(returns, HOURLY), sortino(returns, HOURLY)):
        assert ratio is not None
        assert -200 < ratio < 0
    assert turnover(np.array([1.0, 6.0, 0.0]), equity, np.array([0.2, -0.2, 0.1])) == pytest.approx((1 + 5) / 3)
    assert not recwarn.list


@given(returns=records)
def test_ratios_are_those_of_ffn_when_it_is_told_the_year(ffn: ModuleType, returns: np.ndarray) -> None:
    assume(np.ptp(returns) > 1e-6)
    series = pd.Series(returns, index=pd.DatetimeIndex(hourly(returns.size)))
    assert volatility(returns, HOURLY) == pytest.approx(series.std() * math.sqrt(8760))
    assert sharpe(returns, HOURLY) == pytest.approx(ffn.calc_sharpe(series, nperiods=8760), rel=1e-9, abs=1e-9)
    if returns.min() < -1e-9:
        theirs = ffn.calc_sortino_ratio(series, nperiods=8760)
        assert sortino(returns, HOURLY) == pytest.approx(theirs, rel=1e-9, abs=1e-9)
    else:
        assert sortino(returns, HOURLY) is None


@pytest.mark.filterwarnings("ignore:.*BaseOffset")  # ffn's, about pandas
def test_the_control_ffn_left_to_itself_annualises_hours_by_another_year(ffn: ModuleType) -> None:
    returns = np.random.default_rng(0).normal(1e-4, 0.006, 500)
    series = pd.Series(returns, index=pd.DatetimeIndex(hourly(500)))
    assert ffn.calc_sharpe(series) == pytest.approx(sharpe(returns, 252 * 24))
    details = ffn.drawdown_details(ffn.to_drawdown_series((1 + series).cumprod()))
    assert details["Length"].min() == 0


@given(returns=records)
def test_growth_and_drawdowns_are_those_of_ffn(ffn: ModuleType, returns: np.ndarray) -> None:
    # A close a week: an hour's growth to the power of a year is no number to compare.
    equity, times = curve(returns), hourly(168 * returns.size + 1)[::168]
    series = pd.Series(equity, index=pd.DatetimeIndex(times))
    annual = cagr(equity[-1] / equity[0], returns.size / bars_per_year(times))
    assert annual == pytest.approx((1 + ffn.calc_cagr(series)) ** (1 / FFN_YEAR) - 1)
    assert max_drawdown(equity) == pytest.approx(ffn.calc_max_drawdown(series))


@given(moves=steps)
def test_the_length_of_a_drawdown_is_that_of_ffn_and_of_a_plain_loop(ffn: ModuleType, moves: np.ndarray) -> None:
    equity, times = np.cumprod(np.append(1.0, moves)), hourly(moves.size + 1)
    found = longest_drawdown(equity, times)
    peak = longest = 0
    for bar in range(equity.size):
        if equity[bar] >= equity[peak]:
            longest = max(longest, bar - peak if bar > peak + 1 else 0)
            peak = bar
    longest = max(longest, equity.size - 1 - peak)
    assert found == longest
    series = pd.Series(equity, index=pd.DatetimeIndex(times))
    details = ffn.drawdown_details(ffn.to_drawdown_series(series), index_type=None)
    # ffn counts from the first close below the peak, one hour later.
    theirs = 0 if details is None else details["Length"].max() / pd.Timedelta(hours=1) + 1
    assert found == theirs


@pytest.mark.parametrize("seed", range(8))
def test_alpha_and_beta_are_those_of_statsmodels(seed: int) -> None:
    from statsmodels.regression.linear_model import OLS

    books, prices = random_books(seed)
    returns, market = simple_returns(books.equity), simple_returns(prices)
    intercept, slope = OLS(returns, np.column_stack([np.ones(market.size), market])).fit().params
    assert alpha_beta(returns, market, HOURLY) == (pytest.approx(intercept * 8760), pytest.approx(slope))


@pytest.mark.parametrize("seed", range(8))
def test_turnover_is_that_of_orders_in_dollars_one_after_another(seed: int) -> None:
    books, prices = random_books(seed)
    units, shares = 0.0, []
    for bar, price in enumerate(prices[:-1]):
        wanted = books.position[bar] * books.equity[bar] / price
        shares.append(abs(wanted - units) * price / books.equity[bar])
        units = wanted
    found = turnover(books.position[:-1], books.equity, simple_returns(prices))
    assert found == pytest.approx(sum(shares) / len(shares))


@pytest.mark.parametrize("seed", range(4))
def test_fees_are_their_rate_times_the_turnover(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prices, sides = curve(rng.normal(0, 0.01, 60)), rng.integers(-1, 2, 60).astype(float)
    books = account(prices, sides, Terms(leverage=3, execution=Execution(fee_bps=7)))
    found = turnover(books.position[:-1], books.equity, simple_returns(prices))
    assert float((books.cost[1:] / books.equity[:-1]).mean()) == pytest.approx(7e-4 * found)
