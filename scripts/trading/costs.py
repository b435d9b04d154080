"""Execution with costs: what many sequences of decisions earn after fees, funding, latency and liquidation.

At each close the exposure is brought from what the last bar left of it to its target, and fees are due on all
notional that is traded for it, the hourly re-levering included:

    traded[t] = |position[t] - held[t]|                                      as multiples of equity at close t
    equity[t+1] = equity[t] * (1 + position[t] * return[t] - rate * traded[t] - funding[t])
    held[t+1] = position[t] * (1 + return[t]) * equity[t] / equity[t+1]

What a bar leaves of an exposure depends on the costs before it, so bars follow one another in a loop and paths
are the vectorised axis: 10,000 paths of 1706 bars take a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

BASIS_POINT = 1e-4
SIZINGS = ("rebalanced", "fixed")
HOLDS = ("flat", "keep")


@dataclass(frozen=True)
class Execution:
    """On what terms orders are filled and positions are held. Each number may be an array with one value a path.

    Parameters
    ----------
    fee_bps, slippage_bps
        Basis points of all traded notional, a side. The last position is valued at the last close, not sold.
    funding_long_bps, funding_short_bps
        Basis points of the notional, a bar, that a long and a short position pay; below 0: that they receive.
    latency
        Bars between the close at which is decided and the close at which is filled.
    maintenance_margin
        Share of the notional. Equity at or below it at a close is a liquidation: the position is closed there
        and nothing is traded after. 0: when nothing is left.
    sizing
        "rebalanced": exposure is brought back to leverage times equity at every close. "fixed": the units bought
        at entry are held until the direction changes.
    """

    fee_bps: ArrayLike = 0.0
    slippage_bps: ArrayLike = 0.0
    funding_long_bps: ArrayLike = 0.0
    funding_short_bps: ArrayLike = 0.0
    latency: int = 0
    maintenance_margin: float = 0.0
    sizing: str = "rebalanced"

    def __post_init__(self) -> None:
        for name in ("fee_bps", "slippage_bps"):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if not (np.isfinite(value).all() and (value >= 0).all()):
                raise ValueError(f"{name} must be finite and at least 0, got {getattr(self, name)}")
        for name in ("funding_long_bps", "funding_short_bps"):
            if not np.isfinite(np.asarray(getattr(self, name), dtype=np.float64)).all():
                raise ValueError(f"{name} must be finite, got {getattr(self, name)}")
        if self.latency < 0:
            raise ValueError(f"latency must be at least 0 bars, got {self.latency}")
        if not 0 <= self.maintenance_margin < 1:
            raise ValueError(f"maintenance_margin must be at least 0 and below 1, got {self.maintenance_margin}")
        if self.sizing not in SIZINGS:
            raise ValueError(f"sizing must be one of {', '.join(SIZINGS)}, got {self.sizing}")


class Path(NamedTuple):
    """One path or many, shape (..., bars - 1) each.

    Attributes
    ----------
    position
        Exposure from each close to the next, as a multiple of equity.
    growth
        Equity at the next close over equity at this one, never below 0; 1 after a liquidation.
    cost
        Costs paid over the bar, as a share of equity at its beginning; of a liquidation, what was left to pay them.
    liquidated
        Whether the position was closed by force at the bar's end.
    """

    position: Floats
    growth: Floats
    cost: Floats
    liquidated: NDArray[np.bool_]


def delayed(directions: NDArray, latency: int) -> NDArray:
    """Directions as they are filled: `latency` bars later, flat until then. Shape (..., bars - 1), same type."""
    if latency == 0:
        return directions
    filled = np.zeros_like(directions)
    filled[..., latency:] = directions[..., :-latency]
    return filled


def kept(directions: NDArray) -> NDArray:
    """Directions where a HOLD (0) keeps the position before it; flat before the first one. Same shape."""
    where = np.where(directions != 0, np.arange(directions.shape[-1]), 0)
    return np.take_along_axis(directions, np.maximum.accumulate(where, axis=-1), axis=-1)


def simulate(returns: ArrayLike, directions: ArrayLike, leverage: ArrayLike, execution: Execution) -> Path:
    """Trade `directions` and keep everything.

    Parameters
    ----------
    returns
        Simple return of the price over each bar, shape (bars - 1,), above -1.
    directions
        Decision at every bar but the last, shape (..., bars - 1): 1 long, -1 short, 0 flat.
    leverage
        Exposure as a multiple of equity, at least 0; an array has the shape of the leading axes, or adds them.
    execution
        Costs, latency, margin and sizing.

    Raises
    ------
    ValueError
        If shapes do not fit or a value is not finite.
    """
    bars = list(_bars(returns, directions, leverage, execution))
    return Path(*(np.stack(column, axis=-1) for column in zip(*bars, strict=True)))


def final_value(returns: ArrayLike, directions: ArrayLike, leverage: ArrayLike, execution: Execution) -> Floats:
    """Equity at the last close as a multiple of that at the first, for many paths at once. As ``simulate``."""
    value: Floats | float = 1.0
    for bar in _bars(returns, directions, leverage, execution):
        value = value * bar.growth
    return np.asarray(value)


def is_liquidated(
    returns: ArrayLike, directions: ArrayLike, leverage: ArrayLike, execution: Execution
) -> NDArray[np.bool_]:
    """Whether each path is ever liquidated. As ``simulate``."""
    found: NDArray[np.bool_] | bool = False
    for bar in _bars(returns, directions, leverage, execution):
        found = found | bar.liquidated
    return np.asarray(found)


def _bars(returns: ArrayLike, directions: ArrayLike, leverage: ArrayLike, execution: Execution) -> Iterator[Path]:
    """Bar after bar of all paths, each array of the shape of the leading axes."""
    returns = np.asarray(returns, dtype=np.float64)
    directions = np.asarray(directions)
    leverage = np.asarray(leverage, dtype=np.float64)
    _check(returns, directions, leverage)
    rate = BASIS_POINT * (np.asarray(execution.fee_bps, float) + np.asarray(execution.slippage_bps, float))
    long = BASIS_POINT * np.asarray(execution.funding_long_bps, float)
    short = BASIS_POINT * np.asarray(execution.funding_short_bps, float)
    free = not (rate.any() or long.any() or short.any())
    fixed = execution.sizing == "fixed"
    shape = np.broadcast_shapes(directions.shape[:-1], leverage.shape, rate.shape, long.shape, short.shape)

    # One row a bar, so that what a bar needs of all paths lies together in memory.
    side = np.ascontiguousarray(np.moveaxis(delayed(directions, execution.latency), -1, 0))
    alive = np.ones(shape, dtype=bool)
    held = np.zeros(shape)
    nothing, nobody = np.zeros(shape), np.zeros(shape, dtype=bool)
    ruined = False
    for t, move in enumerate(returns.tolist()):
        position = leverage * side[t]
        if position.shape != shape:
            position = np.broadcast_to(position, shape)
        if fixed and t:
            position = np.where(side[t] == side[t - 1], held, position)
        if ruined:
            position = np.where(alive, position, 0.0)
        cost = nothing
        if not free:
            cost = rate * np.abs(position - held) + long * np.maximum(position, 0) + short * np.maximum(-position, 0)
        growth = position * move + 1 - cost
        worth = position * (1 + move)
        liquidated = nobody
        lost = growth <= execution.maintenance_margin * np.abs(worth)
        if lost.any():
            liquidated = lost & alive
            # Nobody pays what is not there: not the order that opened the bar, nor the one that closes it.
            left = np.maximum(growth, 0.0)
            closing = np.minimum(rate * np.abs(worth), left)
            growth = np.where(liquidated, left - closing, growth)
            cost = np.where(liquidated, np.minimum(cost, 1.0) + closing, cost)
            alive &= ~lost
            ruined = True
        yield Path(position, growth, cost, liquidated)
        if not free or fixed:
            held = np.divide(worth, growth, out=np.zeros(shape), where=alive)


def _check(returns: Floats, directions: NDArray, leverage: Floats) -> None:
    if returns.ndim != 1 or returns.size == 0:
        raise ValueError(f"returns must be one row of at least one bar, got shape {returns.shape}")
    if directions.ndim == 0 or directions.shape[-1] != returns.size:
        raise ValueError(f"directions {directions.shape} must have as many bars as returns {returns.shape}")
    if not (np.isfinite(returns).all() and (returns > -1).all()):
        raise ValueError("returns must be finite and above -1")
    if not np.isfinite(directions).all():
        raise ValueError("directions must be finite")
    if not (np.isfinite(leverage).all() and (leverage >= 0).all()):
        raise ValueError("leverage must be finite and at least 0")
