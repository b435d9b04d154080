"""Metrics against numbers worked out by hand, and trades against a plain loop."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trading.accounting import Account, Terms, account
from trading.costs import Execution
from trading.metrics import (
    drawdown,
    hit_rate,
    holding_hours,
    liquidated,
    max_drawdown,
    profit_factor,
    shares,
    summary,
    total_return,
    trades,
)

ANNUAL = (
    "cagr", "volatility", "sharpe", "sortino", "calmar", "drawdown_hours", "turnover", "profit_factor",
    "holding_hours", "alpha", "beta", "costs", "liquidated",
)  # fmt: skip
curves = arrays(np.float64, st.integers(2, 50), elements=st.floats(0.1, 10.0))


def hourly(bars: int) -> np.ndarray:
    return np.datetime64("2025-01-01T00", "s") + np.arange(bars) * np.timedelta64(3600, "s")


def test_the_total_return_is_last_over_first() -> None:
    assert total_return(np.array([100.0, 50.0, 105.0])) == pytest.approx(0.05)


def test_the_drawdown_is_measured_from_the_highest_value_so_far() -> None:
    equity = np.array([100.0, 120.0, 90.0, 150.0, 120.0])
    np.testing.assert_allclose(drawdown(equity), [0, 0, -0.25, 0, -0.2])
    assert max_drawdown(equity) == pytest.approx(-0.25)


def test_a_total_loss_is_a_drawdown_of_one() -> None:
    assert max_drawdown(np.array([100.0, 0.0, 0.0])) == -1.0


@given(equity=curves)
def test_a_drawdown_lies_between_minus_one_and_zero(equity: np.ndarray) -> None:
    values = drawdown(equity)
    assert ((values >= -1) & (values <= 0)).all()


def test_many_curves_are_measured_at_once() -> None:
    equity = np.array([[100.0, 120.0, 90.0], [100.0, 80.0, 160.0]])
    np.testing.assert_allclose(max_drawdown(equity), [-0.25, -0.2])
    np.testing.assert_allclose(total_return(equity), [-0.1, 0.6])


def test_shares_of_long_short_and_flat_add_up() -> None:
    assert shares(np.array([1, 1, -1, 0])) == (0.5, 0.25, 0.25)


def test_a_hit_is_a_bar_that_moved_the_held_way() -> None:
    prices = np.array([100.0, 101.0, 102.0, 101.0, 101.0, 90.0])
    # long right, short wrong, short right, long on no move (no hit), flat (not counted): 2 of 4.
    assert hit_rate(np.array([1, -1, -1, 1, 0]), prices) == 0.5


def test_a_strategy_that_never_held_anything_has_no_hit_rate() -> None:
    assert hit_rate(np.zeros(2), np.array([1.0, 2.0, 3.0])) is None


def test_a_trade_is_a_run_of_one_direction() -> None:
    prices = [100.0, 110.0, 121.0, 121.0, 110.0, 99.0]
    books = account(prices, [1, 1, 0, -1, -1], Terms(leverage=1, capital=1000.0))
    first, second = trades(books)
    assert (first.direction, first.entry, first.exit, first.bars) == (1, 0, 2, 2)
    assert first.pnl == pytest.approx(210.0)
    assert first.total_return == pytest.approx(0.21)
    assert (second.direction, second.entry, second.exit, second.bars) == (-1, 3, 5, 2)
    assert second.pnl == pytest.approx(1210 * ((1 + 11 / 121) * (1 + 11 / 110) - 1))


def test_a_reversal_is_two_trades_and_flat_is_none() -> None:
    terms = Terms()
    assert len(trades(account([1.0, 1.1, 1.2], [1, -1], terms))) == 2
    assert trades(account([1.0, 1.1, 1.2], [0, 0], terms)) == []


def test_the_trade_ends_where_the_account_is_wiped_out() -> None:
    books = account([100.0, 40.0, 50.0], [1, 1], Terms(leverage=2, capital=1000.0))
    (trade,) = trades(books)
    assert (trade.exit, trade.pnl, trade.total_return) == (1, -1000.0, -1.0)


def test_leaving_for_flat_is_paid_by_the_trade_that_is_left_and_a_reversal_by_the_one_it_opens() -> None:
    # 1000 dollars at 1x for 1%. Long: 10 paid, +10%: 1090, 1100 held. Sold for 11: 1079. Short 1079 for 10.79, 0%:
    # 1068.21, short 1079. Long of 1068.21: 2147.21 traded, 21.4721 paid, 0%: 1046.7379.
    terms = Terms(leverage=1, capital=1000.0, execution=Execution(fee_bps=100))
    books = account([100.0, 110, 110, 110, 110], [1, 0, -1, 1], terms)
    found = trades(books)
    assert [trade.pnl for trade in found] == pytest.approx([79, -10.79, -21.4721])
    assert [trade.exit for trade in found] == [1, 3, 4]


@pytest.mark.parametrize("sizing", ["rebalanced", "fixed"])
@pytest.mark.parametrize("margin", [0.0, 0.32])
@pytest.mark.parametrize("fee", [0.0, 20.0])
def test_the_profits_of_all_trades_are_the_profit_of_the_account(sizing: str, margin: float, fee: float) -> None:
    rng = np.random.default_rng(2)
    prices = 100 * np.cumprod(1 + rng.normal(0, 0.01, 200))
    execution = Execution(fee_bps=fee, funding_long_bps=1, maintenance_margin=margin, sizing=sizing)
    books = account(prices, rng.integers(-1, 2, 199), Terms(leverage=3, capital=1000.0, execution=execution))
    assert books.liquidated.any() == (margin > 0)
    assert sum(t.pnl for t in trades(books)) == pytest.approx(books.equity[-1] - 1000.0)


def test_gains_over_losses_and_the_time_held_by_hand() -> None:
    # Long two hours: +210. Flat one. Short one: +10% loses 121 of 1210. Long one, to the end: +10% of 1089.
    prices = [100.0, 110.0, 121.0, 121.0, 133.1, 146.41]
    found = trades(account(prices, [1, 1, 0, -1, 1], Terms(leverage=1, capital=1000.0)))
    assert profit_factor(found) == pytest.approx((210 + 108.9) / 121)
    assert holding_hours(found, hourly(6)) == pytest.approx((2 + 1 + 1) / 3)
    # A night of ten hours more before the last close, in the last trade.
    late = hourly(6)
    late[-1] += np.timedelta64(10, "h")
    assert holding_hours(found, late) == pytest.approx((2 + 1 + 11) / 3)


def test_without_trades_or_without_a_loss_there_is_no_profit_factor() -> None:
    assert (profit_factor([]), holding_hours([], hourly(3))) == (None, None)
    gain = trades(account([1.0, 1.1], [1], Terms()))
    assert profit_factor(gain) is None
    assert profit_factor(trades(account([1.0, 1.1], [-1], Terms()))) == 0


@given(
    sides=arrays(np.int64, st.integers(1, 40), elements=st.integers(-1, 1)),
    fee=st.floats(0.0, 50.0),
    seed=st.integers(0, 99),
)
def test_trades_are_those_of_a_plain_loop_over_the_bars(sides: np.ndarray, fee: float, seed: int) -> None:
    prices = 100 * np.cumprod(1 + np.random.default_rng(seed).normal(0, 0.01, sides.size + 1))
    books = account(prices, sides, Terms(leverage=2, capital=1000.0, execution=Execution(fee_bps=fee)))
    gains, spans, entry = [], [], None
    for bar, side in enumerate(sides):
        before = sides[bar - 1] if bar else 0
        if side != before:
            if entry is not None:
                spans.append((entry, bar))
            entry = bar if side else None
            if side:
                gains.append(0.0)
        if side or side != before:  # on the bar after, what is sold is paid
            gains[-1] += books.pnl[bar + 1]
    if entry is not None:
        spans.append((entry, sides.size))
    found = trades(books)
    assert [(trade.entry, trade.exit) for trade in found] == spans
    assert [trade.pnl for trade in found] == pytest.approx(gains, abs=1e-9)
    lost, made = -sum(gain for gain in gains if gain < 0), sum(gain for gain in gains if gain > 0)
    assert profit_factor(found) == (pytest.approx(made / lost) if lost else None)
    mean = sum(end - start for start, end in spans) / len(spans) if spans else None
    assert holding_hours(found, hourly(prices.size)) == pytest.approx(mean)


def test_the_summary_of_a_path_worked_out_by_hand() -> None:
    prices = np.array([100.0, 110.0, 99.0, 99.0])
    books = account(prices, [1, 1, -1], Terms(leverage=2, capital=1000.0))
    found = summary(books, prices)
    assert found["final_capital"] == pytest.approx(960.0)
    assert found["total_return"] == pytest.approx(-0.04)
    assert found["max_drawdown"] == pytest.approx(-0.2)
    assert found["trades"] == 2
    assert (found["share_long"], found["share_short"], found["share_flat"]) == (2 / 3, 1 / 3, 0)
    assert found["hit_rate"] == pytest.approx(1 / 3)
    assert not set(ANNUAL) & set(found)


def test_the_annual_part_of_the_summary_by_hand() -> None:
    # Equity 1000, +10% at 2x: 1200, -10%: 960, flat: 960, short over -5%: 1056. Closes four hours apart, the last
    # after eight: 20 hours, 4 bars, 1752 a year.
    prices = np.array([100.0, 110.0, 99.0, 99.0, 94.05])
    times = hourly(21)[[0, 4, 8, 12, 20]]
    books = account(prices, [1, 1, 0, -1], Terms(leverage=2, capital=1000.0))
    found = summary(books, prices, times)
    assert list(found)[-len(ANNUAL) :] == list(ANNUAL)
    assert found["cagr"] == pytest.approx(1.056 ** (8760 / 20) - 1)
    # Returns 0.2, -0.2, 0, 0.1: mean 0.025, squares to it 0.030625 + 0.050625 + 0.000625 + 0.005625 = 0.0875.
    assert found["volatility"] == pytest.approx(math.sqrt(0.0875 / 3 * 1752))
    assert found["sharpe"] == pytest.approx(0.025 / math.sqrt(0.0875 / 3) * math.sqrt(1752))
    # One loss of 0.2 in four: root of 0.01.
    assert found["sortino"] == pytest.approx(0.025 / 0.1 * math.sqrt(1752))
    assert found["calmar"] == pytest.approx(found["cagr"] / 0.2)
    assert found["drawdown_hours"] == 16
    # 2, then 2 where 2200 of 1200 are held, then 1980 of 960 sold, then 2.
    assert found["turnover"] == pytest.approx((2 + (2 - 2200 / 1200) + (2400 * 0.9 / 960) + 2) / 4)
    # Lost 40 on the long of eight hours, gained 96 on the short of eight.
    assert found["profit_factor"] == pytest.approx(96 / 40)
    assert found["holding_hours"] == 8
    # Market 0.1, -0.1, 0, -0.05, mean -0.0125: covariance 0.02 + 0.02 - 0.005 + 4 * 0.0125 * 0.025 = 0.03625,
    # variance 0.01 + 0.01 + 0.0025 - 4 * 0.0125^2 = 0.021875.
    beta = 0.03625 / 0.021875
    assert found["beta"] == pytest.approx(beta)
    assert found["alpha"] == pytest.approx((0.025 + 0.0125 * beta) * 1752)
    assert (found["costs"], found["liquidated"]) == (0, None)


def test_costs_are_the_sum_of_what_was_paid() -> None:
    # As in the books above: 10, 11, 10.79 and 21.4721.
    terms = Terms(leverage=1, capital=1000.0, execution=Execution(fee_bps=100))
    prices = np.array([100.0, 110, 110, 110, 110])
    found = summary(account(prices, [1, 0, -1, 1], terms), prices, hourly(5))
    assert found["costs"] == pytest.approx(10 + 11 + 10.79 + 21.4721)


def test_a_strategy_that_never_trades_has_a_summary_without_ratios(recwarn: pytest.WarningsRecorder) -> None:
    prices = np.array([100.0, 110.0, 99.0, 120.0])
    found = summary(account(prices, [0, 0, 0], Terms()), prices, hourly(4))
    zeros = ("cagr", "volatility", "drawdown_hours", "turnover", "alpha", "beta", "costs")
    assert {key: found[key] for key in ANNUAL} == dict.fromkeys(ANNUAL) | dict.fromkeys(zeros, 0)
    assert not recwarn.list


@pytest.mark.parametrize("bars", [2, 3])
def test_the_shortest_records_have_a_summary(bars: int, recwarn: pytest.WarningsRecorder) -> None:
    prices = np.array([100.0, 101.0, 102.0])[:bars]
    found = summary(account(prices, np.ones(bars - 1), Terms()), prices, hourly(bars))
    assert found["sortino"] is None
    assert (found["sharpe"] is None) == (bars == 2)
    assert not recwarn.list


def test_a_liquidation_is_dated_at_the_close_of_its_bar() -> None:
    prices = np.array([100.0, 100.0, 55.0, 110.0])
    terms = Terms(leverage=2, execution=Execution(maintenance_margin=0.1))
    books = account(prices, [1, 1, 1], terms)
    assert summary(books, prices, hourly(4))["liquidated"] == "2025-01-01T02:00:00Z"
    # Books read back from a table say it by themselves when nothing is left.
    gone = account(prices, [1, 1, 1], Terms(leverage=3))
    assert liquidated(gone, hourly(4)) == "2025-01-01T02:00:00Z"
    assert liquidated(Account(gone.position, gone.equity, gone.pnl, gone.cost), hourly(4)) == "2025-01-01T02:00:00Z"


def test_a_wiped_out_account_has_a_summary_of_finite_numbers(recwarn: pytest.WarningsRecorder) -> None:
    prices = np.array([100.0, 110.0, 60.0, 70.0, 80.0])
    found = summary(account(prices, np.ones(4), Terms(leverage=3)), prices, hourly(5))
    assert (found["cagr"], found["calmar"], found["max_drawdown"]) == (-1, -1, -1)
    assert found["drawdown_hours"] == 3
    assert not recwarn.list


@given(
    sides=arrays(np.int64, st.integers(1, 30), elements=st.integers(-1, 1)),
    leverage=st.floats(0.0, 20.0),
    fee=st.floats(0.0, 100.0),
    margin=st.floats(0.0, 0.3),
    seed=st.integers(0, 99),
)
def test_every_summary_is_finite_or_none_and_one_json(
    sides: np.ndarray, leverage: float, fee: float, margin: float, seed: int
) -> None:
    prices = 100 * np.cumprod(1 + np.random.default_rng(seed).normal(0, 0.05, sides.size + 1).clip(-0.9))
    execution = Execution(fee_bps=fee, maintenance_margin=margin)
    books = account(prices, sides, Terms(leverage=leverage, execution=execution))
    found = summary(books, prices, hourly(prices.size))
    json.dumps(found, allow_nan=False)
    assert found["drawdown_hours"] <= sides.size
    assert (found["trades"] == 0) == (found["holding_hours"] is None)
    assert found["cagr"] is None or found["cagr"] >= -1
