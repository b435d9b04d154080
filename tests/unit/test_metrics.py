"""Metrics against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trading.accounting import Terms, account
from trading.metrics import drawdown, hit_rate, max_drawdown, shares, summary, total_return, trades

curves = arrays(np.float64, st.integers(2, 50), elements=st.floats(0.1, 10.0))


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


def test_the_profits_of_all_trades_are_the_profit_of_the_account() -> None:
    rng = np.random.default_rng(2)
    prices = 100 * np.cumprod(1 + rng.normal(0, 0.01, 200))
    books = account(prices, rng.integers(-1, 2, 199), Terms(leverage=2, capital=1000.0))
    assert sum(t.pnl for t in trades(books)) == pytest.approx(books.equity[-1] - 1000.0)


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
