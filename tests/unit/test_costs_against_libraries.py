"""The accounting against libraries that users know, bar by bar: bt for everything, vectorbt for shorts.

vectorbt never lends: a long of more than its cash is cut to the cash without a word, so it can only check shorts.
Both value an account after the bar's own fee, we before it, hence ``after_fee``.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path as File
from types import ModuleType

import numpy as np
import pytest

from trading.costs import Execution, Path, delayed, simulate

BTC = File(__file__).parents[2].parent / "shared" / "data" / "btc_usd_1h.csv"
BARS = 300
KINDS = ("buy", "sell", "mixed")
# Sums of a few hundred or thousand floats in another order.
ROUNDING = 1e-10
# vectorbt leaves out orders below 1e-12 units: of a capital of 1 that shows in the tenth digit.
CASH = 1e6


def synthetic() -> np.ndarray:
    """Seeded hourly returns with fat tails, shape (bars,)."""
    return np.random.default_rng(4).standard_t(4, BARS) * 0.006


def bitcoin() -> np.ndarray:
    """Returns of the last 1707 real closes, 1706 hours as in the published study; the first nine are rounded."""
    if not BTC.is_file():
        pytest.skip(f"{BTC} is not there")
    with open(BTC) as handle:
        close = np.array([float(row["close"]) for row in csv.DictReader(handle)])[10:]
    return close[1:] / close[:-1] - 1


def directions(kind: str, size: int) -> np.ndarray:
    """Constant positions, long, short and flat by chance, or short and flat."""
    rng = np.random.default_rng(size)
    return {
        "buy": np.ones(size),
        "sell": -np.ones(size),
        "mixed": rng.integers(-1, 2, size).astype(float),
        "short or flat": -rng.integers(0, 2, size).astype(float),
    }[kind]


def closes(returns: np.ndarray) -> np.ndarray:
    """Prices from 100 on, shape (bars + 1,)."""
    return 100 * np.append(1.0, np.cumprod(1 + returns))


def after_fee(path: Path) -> np.ndarray:
    """Value at each close but the last, when its own orders are paid, shape (bars,)."""
    value = np.append(1.0, np.cumprod(path.growth))
    return value[:-1] * (1 - path.cost)


def bt_value(returns: np.ndarray, sides: np.ndarray, leverage: float, execution: Execution) -> np.ndarray:
    """What bt's books say at each close but the last, as a multiple of the capital, shape (bars,)."""
    import bt
    import pandas as pd

    index = pd.date_range("2025-01-01", periods=returns.size + 1, freq="h")
    prices = pd.DataFrame({"market": closes(returns)}, index=index)
    price = dict(zip(index, prices["market"], strict=True))
    filled = np.append(delayed(sides, execution.latency), 0.0)
    wanted = dict(zip(index, filled, strict=True))
    turned = dict(zip(index, np.diff(filled, prepend=2.0) != 0, strict=True))

    class Order(bt.Algo):
        # bt's own WeighTarget and Rebalance take the fee out of the order; here the order is the exact one.
        def __call__(self, target: bt.Strategy) -> bool:
            if execution.sizing == "fixed" and not turned[target.now]:
                return True
            child = target.children.get("market")  # made by its first trade
            held = child.position if child is not None else 0.0
            target.transact(leverage * wanted[target.now] * target.value / price[target.now] - held, child="market")
            return True

    test = bt.Backtest(
        bt.Strategy("strategy", [Order()], children=["market"]),
        prices,
        initial_capital=CASH,
        commissions=lambda quantity, price: abs(quantity) * price * execution.fee_bps * 1e-4,
        integer_positions=False,
        progress_bar=False,
    )
    test.run()
    return test.strategy.values.loc[index].to_numpy()[:-1] / CASH


@pytest.mark.parametrize("sizing", ["rebalanced", "fixed"])
@pytest.mark.parametrize(("leverage", "fee", "kind"), list(product([1.0, 2.0, 3.0], [0.0, 10.0], KINDS)))
def test_bt_keeps_the_same_books(leverage: float, fee: float, kind: str, sizing: str) -> None:
    returns, sides = synthetic(), directions(kind, BARS)
    execution = Execution(fee_bps=fee, sizing=sizing)
    ours = after_fee(simulate(returns, sides, leverage, execution))
    np.testing.assert_allclose(bt_value(returns, sides, leverage, execution), ours, rtol=ROUNDING)


def test_bt_fills_late_orders_at_the_same_closes() -> None:
    returns, sides = synthetic(), directions("mixed", BARS)
    execution = Execution(fee_bps=5, latency=2)
    ours = after_fee(simulate(returns, sides, 2.0, execution))
    np.testing.assert_allclose(bt_value(returns, sides, 2.0, execution), ours, rtol=ROUNDING)


@pytest.mark.parametrize(("leverage", "fee", "kind"), list(product([1.0, 2.0, 3.0], [0.0, 10.0], KINDS)))
def test_bt_keeps_the_same_books_on_real_closes(leverage: float, fee: float, kind: str) -> None:
    returns = bitcoin()
    sides = directions(kind, returns.size)
    ours = after_fee(simulate(returns, sides, leverage, Execution(fee_bps=fee)))
    np.testing.assert_allclose(bt_value(returns, sides, leverage, Execution(fee_bps=fee)), ours, rtol=ROUNDING)


def test_the_control_bt_tells_sizings_fees_and_latencies_apart() -> None:
    returns, sides = synthetic(), directions("mixed", BARS)
    theirs = bt_value(returns, sides, 2.0, Execution(fee_bps=10))
    for other in (Execution(fee_bps=9.9), Execution(fee_bps=10, sizing="fixed"), Execution(fee_bps=10, latency=1)):
        assert np.abs(after_fee(simulate(returns, sides, 2.0, other)) / theirs - 1).max() > 1e-3


@pytest.fixture(scope="module")
def vbt() -> Iterator[ModuleType]:
    """vectorbt as plain Python: compiling it takes longer than all of these tests."""
    import numba

    before, numba.config.DISABLE_JIT = numba.config.DISABLE_JIT, True
    try:
        import vectorbt
    finally:
        numba.config.DISABLE_JIT = before
    return vectorbt


def vectorbt_value(
    vbt: ModuleType, returns: np.ndarray, sides: np.ndarray, leverage: float, fee_bps: float
) -> np.ndarray:
    """What vectorbt's books say at every close, as a multiple of the capital, shape (bars + 1,)."""
    import pandas as pd

    index = pd.date_range("2025-01-01", periods=returns.size + 1, freq="h")
    portfolio = vbt.Portfolio.from_orders(
        pd.Series(closes(returns), index=index),
        size=pd.Series(np.append(leverage * sides, np.nan), index=index),
        size_type="targetpercent",
        fees=fee_bps * 1e-4,
        init_cash=CASH,
        freq="h",
    )
    return portfolio.value().to_numpy() / CASH


@pytest.mark.parametrize("market", [synthetic, bitcoin])
@pytest.mark.parametrize(
    ("leverage", "fee", "kind"), list(product([1.0, 2.0, 3.0], [0.0, 10.0], ["sell", "short or flat"]))
)
def test_vectorbt_keeps_the_same_books_of_shorts(
    vbt: ModuleType, leverage: float, fee: float, kind: str, market: Callable[[], np.ndarray]
) -> None:
    returns = market()
    sides = directions(kind, returns.size)
    path = simulate(returns, sides, leverage, Execution(fee_bps=fee))
    theirs = vectorbt_value(vbt, returns, sides, leverage, fee)
    np.testing.assert_allclose(theirs[:-1], after_fee(path), rtol=ROUNDING)
    # Nothing is traded at the last close, so that the two values are one.
    assert theirs[-1] == pytest.approx(path.growth.prod(), rel=ROUNDING)


def test_vectorbt_cuts_a_long_to_its_cash_and_so_is_no_check_of_longs(vbt: ModuleType) -> None:
    returns, sides = synthetic(), np.ones(BARS)
    once, thrice = (vectorbt_value(vbt, returns, sides, leverage, 0.0) for leverage in (1.0, 3.0))
    np.testing.assert_allclose(thrice, once)
    assert abs(simulate(returns, sides, 3.0, Execution()).growth.prod() - thrice[-1]) > 0.01


def test_whether_re_levering_pays_decides_nine_points_of_a_short_on_real_closes() -> None:
    returns = bitcoin()
    short = -np.ones(returns.size)
    assert simulate(returns, short, 3.0, Execution(fee_bps=10)).growth.prod() - 1 == pytest.approx(0.248, abs=5e-4)
    # The control: only the entry pays.
    growth = simulate(returns, short, 3.0, Execution()).growth
    growth[0] -= 3 * 10e-4
    assert growth.prod() - 1 == pytest.approx(0.338, abs=5e-4)
