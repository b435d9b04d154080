"""Accounting: what a sequence of decisions earns. One formula, vectorised over bars and over paths.

A decision taken at the close of bar t is filled at that close and held to the close of bar t+1:

    equity[t+1] = equity[t] * (1 + position[t] * (price[t+1] / price[t] - 1) - cost[t])

with position = leverage * direction, as a multiple of the equity at that close. Everything is kept as a
share of equity, so a whole path is one cumulative product and thousands of paths are one array.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SIZINGS = ("rebalanced",)


@dataclass(frozen=True)
class Terms:
    """On what terms is traded.

    Parameters
    ----------
    leverage
        Exposure as a multiple of equity, at least 0: one number, or an array with one value a path.
    capital
        Equity before the first bar, in the currency of the prices, above 0.
    sizing
        "rebalanced": the position is brought back to leverage times equity at every close.
    """

    leverage: ArrayLike = 1.0
    capital: float = 100_000.0
    sizing: str = "rebalanced"

    def __post_init__(self) -> None:
        leverage = np.asarray(self.leverage, dtype=np.float64)
        if not (np.isfinite(leverage).all() and (leverage >= 0).all()):
            raise ValueError(f"leverage must be finite and at least 0, got {self.leverage}")
        if not (np.isfinite(self.capital) and self.capital > 0):
            raise ValueError(f"capital must be finite and above 0, got {self.capital}")
        if self.sizing not in SIZINGS:
            raise ValueError(f"sizing must be one of {', '.join(SIZINGS)}, got {self.sizing}")


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
    """

    position: Floats
    equity: Floats
    pnl: Floats
    cost: Floats


def account(prices: ArrayLike, directions: ArrayLike, terms: Terms) -> Account:
    """Trade `directions` on `prices`.

    An account at or below zero is wiped out: its equity is 0 from that bar on and nothing is traded after.

    Parameters
    ----------
    prices
        Closes, shape (bars,) or (..., bars), above 0.
    directions
        Decision at every bar but the last, shape (..., bars - 1): 1 long, -1 short, 0 flat.
    terms
        Leverage, capital and sizing. An array of leverages has the shape of the leading axes.

    Raises
    ------
    ValueError
        If shapes do not fit or a value is not finite.
    """
    position, growth, cost = _trade(prices, directions, terms)
    return _books(position, growth, cost, terms.capital)


def final_equity(prices: ArrayLike, directions: ArrayLike, terms: Terms) -> Floats:
    """Equity at the last bar, without the books: for many paths at once. As ``account``; shape (...)."""
    _, growth, _ = _trade(prices, directions, terms)
    return terms.capital * np.maximum(growth, 0.0, out=growth).prod(axis=-1)


def _trade(prices: ArrayLike, directions: ArrayLike, terms: Terms) -> tuple[Floats, Floats, Floats]:
    """Exposure, growth of equity and cost share over each bar: the one formula, for every caller."""
    prices = np.asarray(prices, dtype=np.float64)
    directions = np.asarray(directions, dtype=np.float64)
    _check(prices, directions)
    returns = prices[..., 1:] / prices[..., :-1] - 1
    position = exposure(directions, terms)
    cost = cost_share(position, terms)
    return position, 1 + position * returns - cost, cost


def exposure(directions: Floats, terms: Terms) -> Floats:
    """Exposure from each close to the next, as a multiple of equity, one row a leverage."""
    leverage = np.asarray(terms.leverage, dtype=np.float64)
    return leverage[..., np.newaxis] * directions


def cost_share(position: Floats, terms: Terms) -> Floats:
    """Costs of holding `position` over each bar, as a share of the equity before it: execution is free."""
    return np.zeros_like(position)


def _books(position: Floats, growth: Floats, cost: Floats, capital: float) -> Account:
    """Compound `growth` (equity after each bar over equity before it) and keep the books."""
    # A factor of 0 stays 0 under the cumulative product, which is what "wiped out" means.
    value = np.cumprod(np.maximum(growth, 0.0), axis=-1)
    start = np.ones((*value.shape[:-1], 1))
    equity = capital * np.concatenate([start, value], axis=-1)
    nothing = np.zeros_like(start)
    before = equity[..., :-1]
    held = np.where(before > 0, position, 0.0)
    return Account(
        position=np.concatenate([held, nothing], axis=-1),
        equity=equity,
        pnl=np.concatenate([nothing, np.diff(equity, axis=-1)], axis=-1),
        cost=np.concatenate([nothing, before * cost], axis=-1),
    )


def _check(prices: Floats, directions: Floats) -> None:
    if prices.ndim == 0 or prices.shape[-1] < 2:
        raise ValueError("prices must have at least two bars")
    if directions.ndim == 0 or directions.shape[-1] != prices.shape[-1] - 1:
        raise ValueError(f"directions {directions.shape} must be one bar shorter than prices {prices.shape}")
    if not (np.isfinite(prices).all() and (prices > 0).all()):
        raise ValueError("prices must be finite and above 0")
    if not np.isfinite(directions).all():
        raise ValueError("directions must be finite")
