"""Accounting against hand-worked examples, properties that must always hold, and the published figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trading.accounting import Account, Terms, account
from trading.costs import Execution, final_value

moves = arrays(np.float64, st.integers(1, 60), elements=st.floats(-0.3, 0.3))
leverages = st.floats(0.0, 5.0)


def closes(returns: np.ndarray, start: float = 100.0) -> np.ndarray:
    """Prices whose simple returns are `returns`."""
    return start * np.concatenate([[1.0], np.cumprod(1 + returns)])


def directions(size: int, seed: int = 0) -> np.ndarray:
    """A mixture of long, short and flat."""
    return np.random.default_rng(seed).integers(-1, 2, size).astype(float)


def test_a_path_worked_out_by_hand() -> None:
    # 100 -> 110 (+10%) -> 99 (-10%) -> 99: long at 2x, then short at 2x, then flat.
    books = account([100.0, 110.0, 99.0, 99.0], [1, -1, 0], Terms(leverage=2, capital=1000.0))
    np.testing.assert_allclose(books.position, [2, -2, 0, 0])
    np.testing.assert_allclose(books.equity, [1000, 1200, 1440, 1440])
    np.testing.assert_allclose(books.pnl, [0, 200, 240, 0])
    np.testing.assert_array_equal(books.cost, [0, 0, 0, 0])


def test_leverage_applies_to_the_equity_of_every_bar_not_to_the_first() -> None:
    # +10% then -10%: 1000 * 1.2 * 0.8 = 960 rebalanced; units fixed at entry give 1000 * (1 - 2 * 1%) = 980.
    books = account([100.0, 110.0, 99.0], [1, 1], Terms(leverage=2, capital=1000.0))
    assert books.equity[-1] == pytest.approx(960.0)


def test_an_account_at_zero_is_wiped_out_and_trades_no_more() -> None:
    # Long at 2x over -50% loses all of it; the doubling after it earns nothing.
    books = account([100.0, 50.0, 100.0, 200.0], [1, 1, 1], Terms(leverage=2, capital=1000.0))
    np.testing.assert_array_equal(books.equity, [1000, 0, 0, 0])
    np.testing.assert_array_equal(books.position, [2, 0, 0, 0])
    np.testing.assert_array_equal(books.pnl, [0, -1000, 0, 0])


def test_a_loss_larger_than_the_account_stops_at_zero() -> None:
    books = account([100.0, 250.0, 100.0], [-1, -1], Terms(leverage=2, capital=1000.0))
    np.testing.assert_array_equal(books.equity, [1000, 0, 0])


@given(returns=moves)
def test_at_leverage_one_always_buy_is_the_market(returns: np.ndarray) -> None:
    prices = closes(returns)
    books = account(prices, np.ones(returns.size), Terms(leverage=1, capital=prices[0]))
    np.testing.assert_allclose(books.equity, prices, rtol=1e-12)


@given(returns=moves, leverage=leverages, scale=st.floats(1e-3, 1e6))
def test_the_unit_of_the_price_does_not_matter(returns: np.ndarray, leverage: float, scale: float) -> None:
    side, terms = directions(returns.size), Terms(leverage=leverage)
    one = account(closes(returns), side, terms)
    other = account(closes(returns) * scale, side, terms)
    # Rounding of a price near a total loss is amplified without bound: compare in money, not in ratios.
    np.testing.assert_allclose(one.equity, other.equity, rtol=1e-9, atol=1e-6)


@given(returns=moves, leverage=st.floats(0.0, 100.0))
def test_equity_is_never_negative_and_zero_is_final(returns: np.ndarray, leverage: float) -> None:
    equity = account(closes(returns), directions(returns.size), Terms(leverage=leverage)).equity
    assert (equity >= 0).all()
    wiped = np.flatnonzero(equity == 0)
    assert wiped.size == 0 or (equity[wiped[0] :] == 0).all()


@given(returns=moves, leverage=leverages)
def test_flat_stays_flat(returns: np.ndarray, leverage: float) -> None:
    books = account(closes(returns), np.zeros(returns.size), Terms(leverage=leverage, capital=5.0))
    assert (books.equity == 5.0).all()
    assert (books.position == 0).all()


@given(returns=moves, leverage=leverages)
def test_the_books_add_up(returns: np.ndarray, leverage: float) -> None:
    books = account(closes(returns), directions(returns.size), Terms(leverage=leverage, capital=1000.0))
    np.testing.assert_allclose(1000.0 + np.cumsum(books.pnl), books.equity, rtol=1e-9, atol=1e-9)


@given(returns=moves, leverage=st.floats(0.0, 20.0), fee=st.floats(0.0, 50.0), latency=st.integers(0, 3))
def test_the_final_value_without_books_is_that_of_the_books(
    returns: np.ndarray, leverage: float, fee: float, latency: int
) -> None:
    sides = np.array([directions(returns.size, seed) for seed in range(3)])
    execution = Execution(fee_bps=fee, latency=latency, maintenance_margin=0.01)
    prices = closes(returns)
    books = account(prices, sides, Terms(leverage=leverage, capital=1000.0, execution=execution))
    value = final_value(prices[1:] / prices[:-1] - 1, sides, leverage, execution)
    np.testing.assert_allclose(1000.0 * value, books.equity[:, -1], rtol=1e-12)


def test_costs_stand_in_the_books_of_the_bar_on_which_they_are_paid() -> None:
    # 1000 dollars, long at 2x for 10 bp a side: 2000 traded, 2 paid; +10% on 2000 is 200: 1198.
    # Flat then: what is held is 2200, 2.2 paid: 1195.8. The market's last move passes by.
    terms = Terms(leverage=2, capital=1000.0, execution=Execution(fee_bps=10))
    books = account([100.0, 110.0, 99.0], [1, 0], terms)
    np.testing.assert_allclose(books.equity, [1000, 1198, 1195.8])
    np.testing.assert_allclose(books.cost, [0, 2, 2.2])
    np.testing.assert_allclose(books.pnl, [0, 198, -2.2])
    np.testing.assert_allclose(books.position, [2, 0, 0])


def test_a_liquidation_keeps_what_is_left_and_is_marked_where_it_happened() -> None:
    # Long at 2x over -45%: 100 dollars left of 1000, against a position of 1100; a margin of 10% asks for 110.
    terms = Terms(leverage=2, capital=1000.0, execution=Execution(maintenance_margin=0.1))
    books = account([100.0, 55.0, 110.0], [1, 1], terms)
    np.testing.assert_allclose(books.equity, [1000, 100, 100])
    np.testing.assert_allclose(books.position, [2, 0, 0])
    assert books.liquidated is not None
    assert books.liquidated.tolist() == [False, True, False]
    free = account([100.0, 55.0, 110.0], [1, 1], Terms(leverage=2, capital=1000.0))
    np.testing.assert_allclose(free.equity, [1000, 100, 300])


@given(capital=st.floats(1.0, 1e9), leverage=leverages)
def test_equity_is_proportional_to_the_capital(capital: float, leverage: float) -> None:
    returns = np.random.default_rng(3).normal(0, 0.02, 40)
    one = account(closes(returns), directions(40), Terms(leverage=leverage, capital=1.0))
    many = account(closes(returns), directions(40), Terms(leverage=leverage, capital=capital))
    np.testing.assert_allclose(many.equity, one.equity * capital, rtol=1e-12)


def test_many_paths_and_leverages_at_once_equal_one_after_another() -> None:
    rng = np.random.default_rng(1)
    prices = closes(rng.normal(0, 0.01, 50))
    sides = rng.integers(-1, 2, (3, 50)).astype(float)
    leverages = np.array([1.0, 2.0, 3.0])
    together = account(prices, sides, Terms(leverage=leverages))
    for row in range(3):
        alone = account(prices, sides[row], Terms(leverage=leverages[row]))
        np.testing.assert_array_equal(together.equity[row], alone.equity)
        np.testing.assert_array_equal(together.position[row], alone.position)


def test_one_direction_at_many_leverages_gives_one_path_a_leverage() -> None:
    books = account([100.0, 110.0], [1.0], Terms(leverage=np.array([0.0, 1.0, 2.0]), capital=100.0))
    np.testing.assert_allclose(books.equity, [[100, 100], [100, 110], [100, 120]])


def test_the_published_pair_implies_the_published_market() -> None:
    # deck-source.md: ln(buy) = 2 ln p - v, ln(sell) = -2 ln p - 3 v, to second order in the hourly returns.
    buy, sell = 52_437.0, 149_632.0
    v = -(math.log(buy / 1e5) + math.log(sell / 1e5)) / 4
    p = math.exp((math.log(buy / 1e5) + v) / 2)
    assert p == pytest.approx(0.7464, abs=5e-5)
    assert v == pytest.approx(0.0606, abs=5e-5)
    assert math.sqrt(v / 1706) == pytest.approx(0.0060, abs=5e-5)


def test_a_market_of_that_return_and_volatility_gives_the_published_pair() -> None:
    p, v, hours = 0.7464, 0.0606, 1706
    noise = np.resize([1.0, -1.0], hours)
    log_returns = noise * math.sqrt(v / hours) + math.log(p) / hours
    prices = closes(np.expm1(log_returns))
    books: Account = account(prices, np.array([np.ones(hours), -np.ones(hours)]), Terms(leverage=2))
    buy, sell = books.equity[:, -1]
    assert buy == pytest.approx(52_437, rel=2e-3)
    assert sell == pytest.approx(149_632, rel=2e-3)
    # The control: leverage on the first capital alone would be symmetric, and is not what was published.
    assert 1e5 * (1 + 2 * (p - 1)) != pytest.approx(52_437, rel=2e-2)


def test_always_buy_and_always_sell_obey_the_identity_on_any_quiet_path() -> None:
    returns = np.random.default_rng(5).normal(0, 0.004, 1706)
    prices = closes(returns)
    books = account(prices, np.array([np.ones(1706), -np.ones(1706)]), Terms(leverage=2, capital=1.0))
    log_p, v = math.log(prices[-1] / prices[0]), float((returns**2).sum())
    np.testing.assert_allclose(np.log(books.equity[:, -1]), [2 * log_p - v, -2 * log_p - 3 * v], atol=2e-3)


@pytest.mark.parametrize(
    ("prices", "sides", "message"),
    [
        ([100.0], [], "two bars"),
        ([100.0, 101.0], [1, 1], "one bar shorter"),
        ([100.0, 0.0], [1], "above 0"),
        ([100.0, float("nan")], [1], "finite"),
        ([100.0, 101.0], [float("nan")], "finite"),
    ],
)
def test_arrays_that_cannot_be_traded_are_refused(prices: list, sides: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        account(prices, sides, Terms())


@pytest.mark.parametrize("terms", [{"leverage": -1.0}, {"leverage": math.inf}, {"capital": 0.0}])
def test_terms_that_make_no_sense_are_refused(terms: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(terms))):
        Terms(**terms)
