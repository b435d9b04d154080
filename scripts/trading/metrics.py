"""Metrics of a simulated strategy, from its books. Pure functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trading.accounting import Account

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trade:
    """A run of bars with the same direction, entered and left at a close."""

    direction: int
    entry: int
    exit: int
    pnl: float
    entry_equity: float

    @property
    def bars(self) -> int:
        """How many bars it was held."""
        return self.exit - self.entry

    @property
    def total_return(self) -> float:
        """Profit as a share of the equity at entry."""
        return self.pnl / self.entry_equity


def total_return(equity: Floats) -> Floats:
    """Last value over the first, minus 1; shape (..., bars) to (...)."""
    return equity[..., -1] / equity[..., 0] - 1


def drawdown(equity: Floats) -> Floats:
    """Equity relative to its highest value so far, minus 1: 0 at a high, -1 when all is lost. Same shape."""
    return equity / np.maximum.accumulate(equity, axis=-1) - 1


def max_drawdown(equity: Floats) -> Floats:
    """The deepest drawdown, between -1 and 0; shape (..., bars) to (...)."""
    return drawdown(equity).min(axis=-1)


def shares(directions: Floats) -> tuple[float, float, float]:
    """Share of the bars held long, short and flat; of one path, shape (bars - 1,)."""
    count = directions.size
    long, short = int((directions > 0).sum()), int((directions < 0).sum())
    return long / count, short / count, (count - long - short) / count


def hit_rate(directions: Floats, prices: Floats) -> float | None:
    """Share of the bars held, long or short, on which the price moved the held way.

    A bar whose price did not move is no hit. None if nothing was ever held.

    Parameters
    ----------
    directions
        Sign of the position from each close to the next, shape (bars - 1,).
    prices
        Closes, shape (bars,).
    """
    held = directions != 0
    if not held.any():
        return None
    return float((directions * np.diff(prices) > 0)[held].mean())


def trades(books: Account) -> list[Trade]:
    """The trades of one path in time order: runs of equal direction, flat runs left out."""
    if books.equity.ndim != 1:
        raise ValueError("trades are listed for one path at a time")
    direction = np.sign(books.position[:-1]).astype(int)
    starts = np.flatnonzero(np.diff(direction, prepend=direction[0] + 1))
    ends = np.append(starts[1:], direction.size)
    return [
        Trade(
            direction=int(direction[start]),
            entry=int(start),
            exit=int(end),
            pnl=float(books.equity[end] - books.equity[start]),
            entry_equity=float(books.equity[start]),
        )
        for start, end in zip(starts, ends, strict=True)
        if direction[start] != 0
    ]


def summary(books: Account, prices: Floats) -> dict[str, float | int | None]:
    """What metrics.json says of one strategy, from one path's books; returns and shares are fractions."""
    direction = np.sign(books.position[:-1])
    share_long, share_short, share_flat = shares(direction)
    return {
        "final_capital": float(books.equity[-1]),
        "total_return": float(total_return(books.equity)),
        "max_drawdown": float(max_drawdown(books.equity)),
        "trades": len(trades(books)),
        "share_long": share_long,
        "share_short": share_short,
        "share_flat": share_flat,
        "hit_rate": hit_rate(direction, prices),
    }
