"""Execution with costs against hand-worked paths, properties, and books kept in dollars and units bar by bar."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trading.costs import Execution, delayed, final_value, is_liquidated, kept, simulate

moves = arrays(np.float64, st.integers(1, 40), elements=st.floats(-0.3, 0.3))
bps = st.floats(0.0, 100.0)


def mixed(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1, 2, size).astype(float)


def value(path: np.ndarray) -> np.ndarray:
    return np.append(1.0, np.cumprod(path))


def test_fees_are_due_on_entry_on_re_levering_and_on_reversal_by_hand() -> None:
    # Equity 1000, 2x, 1% of traded notional. Long 2000: fee 20. Price +10%: 1000 + 200 - 20 = 1180.
    # It now holds 2200 where 2360 is wanted: 160 more, fee 1.60. Price -10%: 1180 - 236 - 1.6 = 942.40.
    # It holds 2124 and wants -1884.8: 4008.8 traded, fee 40.088. Price 0%: 902.312.
    path = simulate([0.1, -0.1, 0.0], [1, 1, -1], 2.0, Execution(fee_bps=60, slippage_bps=40))
    np.testing.assert_allclose(1000 * value(path.growth), [1000, 1180, 942.4, 902.312], rtol=1e-12)
    np.testing.assert_allclose(path.position, [2, 2, -2])
    np.testing.assert_allclose(path.cost * [1000, 1180, 942.4], [20, 1.6, 40.088], rtol=1e-12)


def test_leaving_the_market_pays_for_what_is_sold_and_staying_out_pays_nothing() -> None:
    # 1 + 10% - 1% = 1.09, holding 1.1: selling it costs 0.011.
    path = simulate([0.1, 0.1, 0.1], [1, 0, 0], 1.0, Execution(fee_bps=100))
    np.testing.assert_allclose(value(path.growth), [1, 1.09, 1.079, 1.079])


def test_funding_is_paid_by_the_side_that_is_held() -> None:
    terms = Execution(funding_long_bps=10, funding_short_bps=-5)
    np.testing.assert_allclose(simulate([0.0, 0.0, 0.0], [1, -1, 0], 3.0, terms).growth, [0.997, 1.0015, 1.0])


def test_fixed_sizing_holds_the_units_bought_at_entry() -> None:
    # Long 2x 1000 = 2000 of it: +10% earns 200, then -10% of 2200 loses 220: 980. Re-levered: 960.
    fixed = simulate([0.1, -0.1], [1, 1], 2.0, Execution(sizing="fixed"))
    np.testing.assert_allclose(1000 * value(fixed.growth), [1000, 1200, 980])
    np.testing.assert_allclose(fixed.position, [2, 2200 / 1200])
    assert 1000 * final_value([0.1, -0.1], [1, 1], 2.0, Execution()) == pytest.approx(960)


def test_fixed_sizing_pays_only_when_the_direction_changes_by_hand() -> None:
    # 1000 dollars at 2x for 1%: 2000 bought, 20 paid. +10%: 1180, 2200 held and nothing traded. -10%: 960, 1980
    # held. Short 2 x 960 = 1920: 3900 traded, 39 paid; 0%: 921. Flat: 1920 bought back, 19.20 paid: 901.80.
    path = simulate([0.1, -0.1, 0.0, 0.5], [1, 1, -1, 0], 2.0, Execution(fee_bps=100, sizing="fixed"))
    equity = 1000 * value(path.growth)
    np.testing.assert_allclose(equity, [1000, 1180, 960, 921, 901.8])
    np.testing.assert_allclose(path.cost * equity[:-1], [20, 0, 39, 19.2], atol=1e-9)


def test_fixed_sizing_pays_funding_on_what_the_position_has_become_by_hand() -> None:
    # A short of 1000 grows to 1200 over +20%: equity 800 less 1 of funding, 799; then 0.1% of 1200: 797.80.
    path = simulate([0.2, 0.0], [-1, -1], 1.0, Execution(funding_short_bps=10, sizing="fixed"))
    np.testing.assert_allclose(1000 * value(path.growth), [1000, 799, 797.8])


def test_a_hold_between_two_entries_starts_a_new_position_of_fixed_sizing() -> None:
    # 2x: +10% makes 1.2; flat over +50%; then 2 x 1.2 again and not what was held: -10% takes 0.24.
    path = simulate([0.1, 0.5, -0.1], [1, 0, 1], 2.0, Execution(sizing="fixed"))
    np.testing.assert_allclose(value(path.growth), [1, 1.2, 1.2, 0.96])


def test_latency_fills_at_a_later_close_with_the_equity_of_then_by_hand() -> None:
    # Long at 2x decided at the first close, filled at the second after the market's +50% passed by: 2000 bought for
    # 20, +10%: 1180. Filled short one bar late: 2360 wanted against 2200 held: 4560 traded, 45.60 paid; 0%: 1134.40.
    path = simulate([0.5, 0.1, 0.0], [1, -1, 1], 2.0, Execution(fee_bps=100, latency=1))
    np.testing.assert_allclose(1000 * value(path.growth), [1000, 1000, 1180, 1134.4])
    np.testing.assert_array_equal(path.position, [0, 2, -2])


def test_a_decision_is_filled_as_many_bars_later_as_the_latency_says() -> None:
    np.testing.assert_array_equal(delayed(np.array([1, -1, 1, 0]), 2), [0, 0, 1, -1])
    np.testing.assert_array_equal(delayed(np.array([1, -1]), 5), [0, 0])
    path = simulate([0.1, 0.1, 0.1], [-1, 1, 1], 1.0, Execution(latency=1))
    np.testing.assert_allclose(path.growth, [1.0, 0.9, 1.1])


def test_hold_can_keep_the_position_before_it() -> None:
    np.testing.assert_array_equal(kept(np.array([0, 1, 0, 0, -1, 0])), [0, 1, 1, 1, -1, -1])
    np.testing.assert_array_equal(kept(np.zeros(3)), np.zeros(3))


def test_an_account_below_its_margin_is_closed_and_trades_no_more_by_hand() -> None:
    # 5x long, -17%: equity 0.15, notional 4.15, margin 5% of it 0.2075: closed. 1% on 4.15 leaves 0.1085.
    terms = Execution(fee_bps=0, maintenance_margin=0.05)
    path = simulate([-0.17, 0.5, -0.5], [1, 1, 1], 5.0, terms)
    np.testing.assert_allclose(path.growth, [0.15, 1, 1])
    np.testing.assert_array_equal(path.liquidated, [True, False, False])
    np.testing.assert_array_equal(path.position, [5, 0, 0])
    costly = simulate([-0.17, 0.5], [1, 1], 5.0, Execution(slippage_bps=1, maintenance_margin=0.05))
    np.testing.assert_allclose(costly.growth, [0.15 - 0.0005 - 0.000415, 1])
    assert not is_liquidated([-0.17], [1], 4.0, terms)


def test_a_short_is_liquidated_when_the_price_rises_by_hand() -> None:
    # 2x short, +40%: equity 0.2, notional 2.8, a margin of 10% asks 0.28: closed, for 1% of 2.8. One of 7% asks 0.196.
    terms = {"fee_bps": 0, "slippage_bps": 100}
    path = simulate([0.4, -0.5], [-1, -1], 2.0, Execution(**terms, maintenance_margin=0.1))
    np.testing.assert_allclose(path.growth, [0.18 - 0.028, 1])
    np.testing.assert_allclose(path.cost, [0.02 + 0.028, 0])
    assert not is_liquidated([0.4], [-1], 2.0, Execution(maintenance_margin=0.07))


def test_nothing_is_paid_that_is_not_there() -> None:
    # 5x long for 1%: 0.05 paid, then -19% leaves 0 of 1 - 0.95 - 0.05, and closing 4.05 costs what is not there.
    path = simulate([-0.19, 0.1], [1, 1], 5.0, Execution(fee_bps=100, maintenance_margin=0.01))
    np.testing.assert_allclose(path.growth, [0, 1], atol=1e-15)
    np.testing.assert_allclose(path.cost, [0.05, 0], atol=1e-15)
    # 4% of 5 is a fifth of the account, -15% leaves 0.05, and closing 4.25 for 4% takes those.
    path = simulate([-0.15], [1], 5.0, Execution(fee_bps=400, maintenance_margin=0.02))
    np.testing.assert_allclose([*path.growth, *path.cost], [0, 0.25], atol=1e-15)
    # An order that costs twice the account takes the account.
    path = simulate([0.0], [1], 50.0, Execution(slippage_bps=400))
    assert (path.growth.item(), path.cost.item(), path.liquidated.item()) == (0, 1, True)


def test_a_loss_larger_than_the_account_stops_at_zero() -> None:
    path = simulate([1.5, -0.5], [-1, -1], 1.0, Execution(fee_bps=10))
    np.testing.assert_array_equal(path.growth, [0, 1])


def ledger(returns: np.ndarray, sides: np.ndarray, leverage: float, terms: Execution) -> tuple[list[float], float]:
    """Equity at every close from 1 on, kept as cash and units; and how near it came to a liquidation that was not."""
    price, cash, units, closed, nearest = 100.0, 1.0, 0.0, False, math.inf
    side, equities, rate = 0.0, [1.0], 1e-4 * (terms.fee_bps + terms.slippage_bps)
    for bar, move in enumerate(returns):
        before, side = side, float(sides[bar - terms.latency]) if bar >= terms.latency else 0.0
        equity = cash + units * price
        if closed:
            wanted = 0.0
        elif terms.sizing == "fixed" and bar and side == before:
            wanted = units
        else:
            wanted = leverage * side * equity / price
        cash -= (wanted - units) * price + rate * abs(wanted - units) * price
        units = wanted
        cash -= 1e-4 * (terms.funding_long_bps if units > 0 else terms.funding_short_bps) * abs(units) * price
        price *= 1 + move
        equity, notional = cash + units * price, abs(units) * price
        if not closed:
            nearest = min(nearest, abs(equity - terms.maintenance_margin * notional))
            if equity <= terms.maintenance_margin * notional:
                equity = max(0.0, equity)
                cash, units, closed = equity - min(equity, rate * notional), 0.0, True
        equities.append(cash + units * price)
    return equities, nearest


@given(
    returns=moves,
    leverage=st.floats(0.0, 8.0),
    sizing=st.sampled_from(["rebalanced", "fixed"]),
    costs=st.tuples(bps, bps, st.floats(-20.0, 20.0), st.floats(-20.0, 20.0)),
    latency=st.integers(0, 3),
    margin=st.sampled_from([0.0, 0.05, 0.2]),
    seed=st.integers(0, 99),
)
def test_books_kept_in_dollars_and_units_say_the_same(
    returns: np.ndarray, leverage: float, sizing: str, costs: tuple, latency: int, margin: float, seed: int
) -> None:
    terms = Execution(*costs, latency=latency, maintenance_margin=margin, sizing=sizing)
    sides = mixed(returns.size, seed)
    theirs, nearest = ledger(returns, sides, leverage, terms)
    # On the edge of a liquidation rounding decides, and what follows is another story.
    assume(nearest > 1e-9)
    path = simulate(returns, sides, leverage, terms)
    np.testing.assert_allclose(value(path.growth), theirs, rtol=1e-9, atol=1e-9)
    kept_up = path.growth > 0
    np.testing.assert_allclose(
        path.growth[kept_up], (1 + path.position * returns - path.cost)[kept_up], rtol=1e-9, atol=1e-9
    )


@given(returns=moves)
def test_without_costs_a_long_at_leverage_one_is_the_market_to_the_last_digit(returns: np.ndarray) -> None:
    always = np.ones(returns.size)
    np.testing.assert_array_equal(simulate(returns, always, 1.0, Execution()).growth, returns + 1)
    # Units bought once are leverage 1 for ever, but for the rounding of each bar.
    fixed = simulate(returns, always, 1.0, Execution(sizing="fixed"))
    np.testing.assert_allclose(fixed.growth, returns + 1, rtol=1e-12)


@given(
    returns=arrays(np.float64, st.integers(1, 40), elements=st.floats(-0.02, 0.02)),
    leverage=st.floats(0.1, 5.0),
)
def test_always_buy_always_sell_and_the_squared_returns_obey_the_identity(returns: np.ndarray, leverage: float) -> None:
    # ln(1 + L r) = L r - L^2 r^2 / 2 + ..., with sum of r = ln p + v / 2 - ...: at leverage L, to second order,
    # ln buy = L ln p - L (L - 1) / 2 v and ln sell = -L ln p - L (L + 1) / 2 v; at 2: 2 ln p - v, -2 ln p - 3 v.
    v, log_p, long = float((returns**2).sum()), float(np.log1p(returns).sum()), np.ones(returns.size)
    buy, sell = np.log(final_value(returns, np.array([long, -long]), leverage, Execution()))
    # What is left out of each logarithm is at most |x|^3 / 3 / (1 - |x|).
    cubes = float((np.abs(returns) ** 3).sum()) / 3
    rest = cubes * (leverage**3 / (1 - 0.02 * leverage) + leverage / (1 - 0.02)) + 1e-12
    assert abs(buy - (leverage * log_p - leverage * (leverage - 1) / 2 * v)) <= rest
    assert abs(sell - (-leverage * log_p - leverage * (leverage + 1) / 2 * v)) <= rest
    # So the two together know the squared returns alone.
    assert abs(buy + sell + leverage**2 * v) <= 2 * rest


@given(
    returns=moves, leverage=st.floats(0.0, 8.0), fee=bps, slippage=bps, sizing=st.sampled_from(["rebalanced", "fixed"])
)
def test_fees_and_slippage_never_raise_the_end_value(
    returns: np.ndarray, leverage: float, fee: float, slippage: float, sizing: str
) -> None:
    sides = mixed(returns.size)
    free = simulate(returns, sides, leverage, Execution(sizing=sizing))
    paid = simulate(returns, sides, leverage, Execution(fee_bps=fee, slippage_bps=slippage, sizing=sizing))
    assert (value(paid.growth) <= value(free.growth) * (1 + 1e-12)).all()
    assert (paid.cost >= 0).all()


def test_with_a_maintenance_margin_a_fee_can_save_an_account_by_hand() -> None:
    # Long 4x over -20%: 0.2 left against a position of 3.2, of which a margin of 6% asks 0.192: it lives on, and
    # -25% takes it. A fee of 25 bp leaves 0.19: it is closed there, for 0.008, and keeps 0.182.
    terms = {"maintenance_margin": 0.06}
    assert final_value([-0.2, -0.25], [1, 1], 4.0, Execution(**terms)) == 0
    assert final_value([-0.2, -0.25], [1, 1], 4.0, Execution(fee_bps=25, **terms)) == pytest.approx(0.182)


def test_next_to_ruin_a_higher_fee_can_leave_more_than_a_lower_one_by_hand() -> None:
    # Long 5x over +1.3%, then -19.99%, which leaves 0.0005. At 100 bp: 1 + 6.5% - 5% = 1.015 holds 5.065, wants
    # 5.075: 1e-4 of fee. At 90 bp: 1.02 wants 5.1: 3.15e-4. Both are below what is free.
    ends = final_value([0.013, -0.1999], [1, 1], 5.0, Execution(fee_bps=np.array([0.0, 90.0, 100.0])))
    np.testing.assert_allclose(ends, [1.065 * 0.0005, 1.02 * 0.0005 - 0.009 * 0.035, 1.015 * 0.0005 - 0.01 * 0.01])
    assert ends[1] < ends[2] < ends[0]


def test_what_a_short_is_paid_in_funding_raises_its_end_value() -> None:
    # The control: income is not a cost.
    ends = final_value([0.0, 0.0], [-1, -1], 2.0, Execution(funding_short_bps=np.array([0.0, -10.0])))
    np.testing.assert_allclose(ends, [1, 1.002**2])


@given(
    returns=moves,
    leverage=st.floats(0.0, 50.0),
    fee=bps,
    margin=st.floats(0.0, 0.3),
    sizing=st.sampled_from(["rebalanced", "fixed"]),
    funding=st.floats(-50.0, 50.0),
)
def test_no_path_is_ever_negative_and_none_trades_after_its_liquidation(
    returns: np.ndarray, leverage: float, fee: float, margin: float, sizing: str, funding: float
) -> None:
    terms = Execution(fee, 0.0, funding, -funding, 0, margin, sizing)
    path = simulate(returns, mixed(returns.size), leverage, terms)
    assert (path.growth >= 0).all()
    assert path.liquidated.sum() <= 1
    closed = np.flatnonzero(path.liquidated)
    if closed.size == 0:
        assert (path.growth > 0).all()
        return
    after = slice(closed[0] + 1, None)
    assert (path.position[after] == 0).all()
    assert (path.growth[after] == 1).all()
    assert (path.cost[after] == 0).all()


def test_many_paths_leverages_and_costs_at_once_equal_one_after_another() -> None:
    returns = np.random.default_rng(1).normal(0, 0.03, 60)
    sides = np.array([mixed(60, seed) for seed in range(3)])
    leverage, fee = np.array([1.0, 3.0, 9.0]), np.array([0.0, 5.0, 50.0])
    terms = {"latency": 1, "maintenance_margin": 0.02}
    together = simulate(returns, sides, leverage, Execution(fee_bps=fee, **terms))
    for row in range(3):
        alone = simulate(returns, sides[row], leverage[row], Execution(fee_bps=fee[row], **terms))
        np.testing.assert_array_equal(together.growth[row], alone.growth)
        np.testing.assert_array_equal(together.liquidated[row], alone.liquidated)
    ends = final_value(returns, sides, leverage, Execution(fee_bps=fee, **terms))
    np.testing.assert_allclose(ends, together.growth.prod(axis=1), rtol=1e-12)


@pytest.mark.parametrize(
    "terms",
    [
        {"fee_bps": -1}, {"slippage_bps": float("nan")}, {"funding_long_bps": float("inf")}, {"latency": -1},
        {"maintenance_margin": 1.0}, {"sizing": "some"},
    ],
)  # fmt: skip
def test_terms_that_make_no_sense_are_refused(terms: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(terms))):
        Execution(**terms)


@pytest.mark.parametrize(
    ("returns", "sides", "leverage", "message"),
    [
        ([], [], 1, "at least one bar"),
        ([0.1, 0.1], [1], 1, "as many bars"),
        ([float("nan")], [1], 1, "returns must be finite"),
        ([-1.0], [1], 1, "above -1"),
        ([0.1], [float("nan")], 1, "directions must be finite"),
        ([0.1], [1], -1, "leverage"),
    ],
)
def test_arrays_that_cannot_be_traded_are_refused(returns: list, sides: list, leverage: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(returns, sides, leverage, Execution())
