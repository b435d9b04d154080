"""Metrics of a simulated strategy, from its books. Pure functions of arrays; annual ones in ``trading.performance``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trading.accounting import Account
from trading.bars import format_times
from trading.performance import (
    alpha_beta,
    bars_per_year,
    cagr,
    calmar,
    hours,
    longest_drawdown,
    sharpe,
    simple_returns,
    sortino,
    turnover,
    volatility,
)

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]


@dataclass(frozen=True)
class Trade:
    """A run of bars with the same direction, entered and left at a close.

    The cost of leaving for flat is due after the exit and counts to the trade that is left; that of a reversal, one
    order, to the trade it opens. So the profits of all trades are the profit of the account.
    """

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
    settled = np.where(np.append(direction, 1)[ends] == 0, ends + 1, ends)
    return [
        Trade(
            direction=int(direction[start]),
            entry=int(start),
            exit=int(end),
            pnl=float(books.equity[last] - books.equity[start]),
            entry_equity=float(books.equity[start]),
        )
        for start, end, last in zip(starts, ends, settled, strict=True)
        if direction[start] != 0
    ]


def profit_factor(made: list[Trade]) -> float | None:
    """Profits of the trades that gained over losses of those that lost. None if no trade lost."""
    losses = -sum(trade.pnl for trade in made if trade.pnl < 0)
    return sum(trade.pnl for trade in made if trade.pnl > 0) / losses if losses > 0 else None


def holding_hours(made: list[Trade], times: Times) -> float | None:
    """Mean time from entry to exit, in hours. None if there was no trade."""
    if not made:
        return None
    return sum(hours(times[trade.entry], times[trade.exit]) for trade in made) / len(made)


def summary(books: Account, prices: Floats, times: Times | None = None) -> dict[str, float | int | str | None]:
    """What metrics.json says of one strategy, from one path's books.

    Returns and shares are fractions, costs in currency; what is not defined is None.

    Parameters
    ----------
    prices
        Closes, shape (bars,).
    times
        Of the closes, shape (bars,), UTC. Without them everything that needs a clock is left out.
    """
    made = trades(books)
    found = _outcome(books, prices, made)
    return found if times is None else found | _performance(books, prices, times, made)


def _outcome(books: Account, prices: Floats, made: list[Trade]) -> dict[str, float | int | None]:
    direction = np.sign(books.position[:-1])
    share_long, share_short, share_flat = shares(direction)
    return {
        "final_capital": float(books.equity[-1]),
        "total_return": float(total_return(books.equity)),
        "max_drawdown": float(max_drawdown(books.equity)),
        "trades": len(made),
        "share_long": share_long,
        "share_short": share_short,
        "share_flat": share_flat,
        "hit_rate": hit_rate(direction, prices),
    }


def _performance(books: Account, prices: Floats, times: Times, made: list[Trade]) -> dict[str, float | str | None]:
    per_year = bars_per_year(times)
    returns, market = simple_returns(books.equity), simple_returns(prices)
    years = returns.size / per_year
    annual = cagr(float(books.equity[-1] / books.equity[0]), years)
    alpha, beta = alpha_beta(returns, market, per_year)
    return {
        "cagr": annual,
        "volatility": volatility(returns, per_year),
        "sharpe": sharpe(returns, per_year),
        "sortino": sortino(returns, per_year),
        "calmar": calmar(annual, float(max_drawdown(books.equity))),
        "drawdown_hours": longest_drawdown(books.equity, times),
        "turnover": turnover(books.position[:-1], books.equity, market, books.liquidated),
        "profit_factor": profit_factor(made),
        "holding_hours": holding_hours(made, times),
        "alpha": alpha,
        "beta": beta,
        "costs": float(books.cost.sum()),
        "liquidated": liquidated(books, times),
    }


def liquidated(books: Account, times: Times) -> str | None:
    """Time of the close at which the account was closed by force or had nothing left. None if it never was."""
    closed = books.equity <= 0
    if books.liquidated is not None:
        closed = closed | books.liquidated
    return format_times(times[np.flatnonzero(closed)[:1]])[0] if closed.any() else None
