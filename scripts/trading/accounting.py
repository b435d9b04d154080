"""The books of a strategy: what a sequence of decisions earns, in dollars at every bar.

A decision taken at the close of bar t is filled at that close, or ``latency`` bars later, and held to the next:

    equity[t+1] = equity[t] * (1 + position[t] * (price[t+1] / price[t] - 1) - cost[t])

with position = leverage * direction, as a multiple of the equity at that close. ``trading.costs`` computes the
factors, as shares of equity, for one path or for thousands; here they become an account.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trading.costs import Execution, Path, simulate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Terms:
    """On what terms is traded.

    Parameters
    ----------
    leverage
        Exposure as a multiple of equity, at least 0: one number, or an array with one value a path.
    capital
        Equity before the first bar, in the currency of the prices, above 0.
    execution
        Costs, latency, margin and sizing; free and at once if nothing is said.
    """

    leverage: ArrayLike = 1.0
    capital: float = 100_000.0
    execution: Execution = field(default_factory=Execution)

    def __post_init__(self) -> None:
        leverage = np.asarray(self.leverage, dtype=np.float64)
        if not (np.isfinite(leverage).all() and (leverage >= 0).all()):
            raise ValueError(f"leverage must be finite and at least 0, got {self.leverage}")
        if not (np.isfinite(self.capital) and self.capital > 0):
            raise ValueError(f"capital must be finite and above 0, got {self.capital}")


@dataclass(frozen=True)
class Account:
    """The books of one path or many, one column a bar: arrays of shape (..., bars).

    Attributes
    ----------
    position
        Signed exposure held from this bar's close to the next, as a multiple of equity; 0 on the last bar.
    equity
        Value of the account at this bar's close, in currency; never below 0.
    pnl
        Change of equity on arriving at this bar, in currency, after cost; 0 on the first bar.
    cost
        Costs paid on arriving at this bar, in currency; 0 on the first bar.
    liquidated
        Whether the position was closed by force at this bar's close. None in books read back from a table.
    """

    position: Floats
    equity: Floats
    pnl: Floats
    cost: Floats
    liquidated: NDArray[np.bool_] | None = None


def account(prices: ArrayLike, directions: ArrayLike, terms: Terms) -> Account:
    """Trade `directions` on `prices` and keep the books.

    A liquidated account keeps what the liquidation left, 0 at worst, and trades no more.

    Parameters
    ----------
    prices
        Closes, shape (bars,), above 0.
    directions
        Decision at every bar but the last, shape (..., bars - 1): 1 long, -1 short, 0 flat.
    terms
        Leverage, capital and execution. An array of leverages has the shape of the leading axes, or adds them.

    Raises
    ------
    ValueError
        If shapes do not fit or a value is not finite.
    """
    prices = np.asarray(prices, dtype=np.float64)
    directions = np.asarray(directions, dtype=np.float64)
    _check(prices, directions)
    path = simulate(prices[1:] / prices[:-1] - 1, directions, terms.leverage, terms.execution)
    return _books(path, terms.capital)


def _books(path: Path, capital: float) -> Account:
    """Compound the growth of a path and keep the books."""
    # A factor of 0 stays 0 under the cumulative product, which is what "wiped out" means.
    value = np.cumprod(path.growth, axis=-1)
    start = np.ones((*value.shape[:-1], 1))
    equity = capital * np.concatenate([start, value], axis=-1)
    nothing = np.zeros_like(start)
    return Account(
        position=np.concatenate([path.position, nothing], axis=-1),
        equity=equity,
        pnl=np.concatenate([nothing, np.diff(equity, axis=-1)], axis=-1),
        cost=np.concatenate([nothing, equity[..., :-1] * path.cost], axis=-1),
        liquidated=np.concatenate([nothing.astype(bool), path.liquidated], axis=-1),
    )


def _check(prices: Floats, directions: Floats) -> None:
    if prices.ndim != 1 or prices.size < 2:
        raise ValueError(f"prices must be one row of at least two bars, got shape {prices.shape}")
    if directions.ndim == 0 or directions.shape[-1] != prices.size - 1:
        raise ValueError(f"directions {directions.shape} must be one bar shorter than prices {prices.shape}")
    if not (np.isfinite(prices).all() and (prices > 0).all()):
        raise ValueError("prices must be finite and above 0")
    if not np.isfinite(directions).all():
        raise ValueError("directions must be finite")
