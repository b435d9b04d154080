"""Execution with costs against hand-worked paths, properties, the zero-cost accounting and bt."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trading.accounting import Terms, account
from trading.costs import Execution, delayed, final_value, is_liquidated, kept, simulate

BTC = Path(__file__).parents[2].parent / "shared" / "data" / "btc_usd_1h.csv"
moves = arrays(np.float64, st.integers(1, 40), elements=st.floats(-0.3, 0.3))
bps = st.floats(0.0, 100.0)


def mixed(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1, 2, size).astype(float)


def value(path: np.ndarray) -> np.ndarray:
    return np.append(1.0, np.cumprod(path))


def btc_returns() -> np.ndarray:
    if not BTC.exists():
        pytest.skip("the real closes are not on this machine")
    with open(BTC) as handle:
        close = np.array([float(row["close"]) for row in csv.DictReader(handle)])[10:]
    return close[1:] / close[:-1] - 1


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


def test_a_loss_larger_than_the_account_stops_at_zero() -> None:
    path = simulate([1.5, -0.5], [-1, -1], 1.0, Execution(fee_bps=10))
    np.testing.assert_array_equal(path.growth, [0, 1])


@given(returns=moves, leverage=st.floats(0.0, 10.0))
def test_without_costs_it_is_the_accounting_that_the_run_uses(returns: np.ndarray, leverage: float) -> None:
    sides = mixed(returns.size)
    books = account(100 * value(1 + returns), sides, Terms(leverage=leverage, capital=1.0))
    path = simulate(returns, sides, leverage, Execution())
    np.testing.assert_allclose(value(path.growth), books.equity, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(path.position, books.position[:-1])


@given(returns=moves, leverage=st.floats(0.0, 5.0), fee=bps, more=bps)
def test_costs_never_raise_the_end_value(returns: np.ndarray, leverage: float, fee: float, more: float) -> None:
    ends = final_value(returns, mixed(returns.size), leverage, Execution(fee_bps=np.array([0.0, fee, fee + more])))
    assert ends[1] <= ends[0] * (1 + 1e-12)
    assert ends[2] <= ends[1] * (1 + 1e-12)


@given(returns=moves, leverage=st.floats(0.0, 50.0), fee=bps, margin=st.floats(0.0, 0.3))
def test_no_path_is_ever_negative(returns: np.ndarray, leverage: float, fee: float, margin: float) -> None:
    path = simulate(returns, mixed(returns.size), leverage, Execution(fee_bps=fee, maintenance_margin=margin))
    assert (path.growth >= 0).all()
    assert path.liquidated.sum() <= 1
    after = np.flatnonzero(path.liquidated)
    assert after.size == 0 or (path.position[after[0] + 1 :] == 0).all()


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


def test_whether_re_levering_pays_decides_nine_points_of_a_short_on_real_closes() -> None:
    returns = btc_returns()
    end = final_value(returns, -np.ones(returns.size), 3.0, Execution(fee_bps=10))
    assert end - 1 == pytest.approx(0.248, abs=5e-4)
    # The control: only the entry pays.
    growth = simulate(returns, -np.ones(returns.size), 3.0, Execution()).growth
    growth[0] -= 3 * 10e-4
    assert growth.prod() - 1 == pytest.approx(0.338, abs=5e-4)


@pytest.mark.parametrize("leverage", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("fee", [0.0, 10.0])
@pytest.mark.parametrize("kind", ["buy", "sell", "mixed"])
def test_bt_keeps_the_same_books(leverage: float, fee: float, kind: str) -> None:
    bt, pd = pytest.importorskip("bt"), pytest.importorskip("pandas")
    returns = np.random.default_rng(4).standard_t(4, 300) * 0.006
    sides = {"buy": np.ones(300), "sell": -np.ones(300), "mixed": mixed(300)}[kind]
    index = pd.date_range("2025-01-01", periods=301, freq="h")
    prices = pd.DataFrame({"market": 100 * value(1 + returns)}, index=index)
    wanted = pd.Series(np.append(leverage * sides, 0.0), index=index)

    class Relever(bt.Algo):
        # WeighTarget and Rebalance take the fee out of the order; here the order is the exact one.
        def __call__(self, target: bt.Strategy) -> bool:
            units = wanted[target.now] * target.value / prices.loc[target.now, "market"]
            child = target.children.get("market")  # made by its first trade
            target.transact(units - (child.position if child is not None else 0.0), child="market")
            return True

    test = bt.Backtest(
        bt.Strategy("strategy", [Relever()], children=["market"]),
        prices,
        initial_capital=1e6,
        commissions=lambda quantity, price: abs(quantity) * price * fee * 1e-4,
        integer_positions=False,
        progress_bar=False,
    )
    test.run()
    path = simulate(returns, sides, leverage, Execution(fee_bps=fee))
    # bt's value is that after the bar's own fee, ours that before it.
    ours = value(path.growth)[:-1] * (1 - path.cost)
    np.testing.assert_allclose(test.strategy.values.loc[index].to_numpy()[:-1] / 1e6, ours, rtol=1e-10)


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
