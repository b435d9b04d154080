"""Performance of one record of returns, annualised by elapsed time. Pure functions of arrays; None: not defined.

A year has 8760 hours, since the market never closes, and bars a year are counted from the timestamps. The formulas
are short, so they stand here: of the libraries, ffn takes hourly bars for 6048 a year (252 days), has a year of
365.25 days and counts drawdowns in whole days; with 8760 handed to it, its Sharpe and Sortino ratios are right, and
the tests use it, with pandas and statsmodels, as the second implementation. The risk-free rate is 0 throughout.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]

HOUR = np.timedelta64(1, "h")
YEAR_HOURS = 8760
# Rounding that is left in returns taken from a curve: variation below it is none.
TINY = 1e-12


def hours(start: np.datetime64, end: np.datetime64) -> float:
    """Hours from `start` to `end`."""
    return float((end - start) / HOUR)


def bars_per_year(times: Times) -> float:
    """How many bars a year has, by the time that passed from the first to the last.

    Parameters
    ----------
    times
        Of the closes, shape (bars,), at least two, rising.
    """
    return (times.size - 1) * YEAR_HOURS / hours(times[0], times[-1])


def simple_returns(equity: Floats) -> Floats:
    """Return over each bar, shape (bars,) to (bars - 1,); 0 once all is lost."""
    before = equity[:-1]
    return np.divide(equity[1:], before, out=np.ones_like(before), where=before > 0) - 1


def cagr(growth: float, years: float) -> float | None:
    """Compound annual growth rate, ``growth ** (1 / years) - 1``; -1 when all is lost.

    Of a few hours it is an extrapolation of little use; None where it is too large for a number.

    Parameters
    ----------
    growth
        Last equity over the first.
    years
        Elapsed time, above 0.
    """
    if growth <= 0:
        return -1.0
    try:
        return math.expm1(math.log(growth) / years)
    except OverflowError:
        return None


def volatility(returns: Floats, per_year: float) -> float | None:
    """Standard deviation (n - 1) of a bar's return times the square root of the bars a year. None below two bars."""
    if returns.size < 2:
        return None
    return float(returns.std(ddof=1)) * math.sqrt(per_year)


def sharpe(returns: Floats, per_year: float) -> float | None:
    """Mean over standard deviation (n - 1) of a bar's return, times the square root of the bars a year.

    Sharpe, The Sharpe Ratio (1994). None below two bars or without variation.
    """
    if returns.size < 2 or np.ptp(returns) < TINY:
        return None
    return float(returns.mean() / returns.std(ddof=1)) * math.sqrt(per_year)


def sortino(returns: Floats, per_year: float) -> float | None:
    """Mean of a bar's return over its downside deviation, times the square root of the bars a year.

    The downside deviation is the root mean square of the losses over all bars, target 0, gains counted as 0
    (Sortino and van der Meer, Downside Risk, 1991). None below two bars or without a loss.
    """
    downside = math.sqrt(float((np.minimum(returns, 0) ** 2).mean())) if returns.size >= 2 else 0.0
    if downside < TINY:
        return None
    return float(returns.mean()) / downside * math.sqrt(per_year)


def calmar(annual: float | None, deepest: float) -> float | None:
    """Annual growth over the deepest drawdown, of the whole record (Young 1991 takes three years). None without one.

    Parameters
    ----------
    annual
        `cagr`.
    deepest
        Maximum drawdown, between -1 and 0.
    """
    if annual is None or deepest > -TINY:
        return None
    return annual / -deepest


def longest_drawdown(equity: Floats, times: Times) -> float:
    """Longest time below an earlier peak, in hours: from the peak to the first close that is as high again.

    A peak that is not reached again counts to the last bar (Magdon-Ismail and Atiya, Maximum Drawdown, 2004, call
    it the recovery). 0 if equity never fell.
    """
    # At a peak equity is its own running maximum; between two of them that are not neighbours lies a drawdown.
    peaks = np.flatnonzero(equity >= np.maximum.accumulate(equity))
    ends = np.append(peaks[1:], equity.size - 1)
    below = ends > peaks + 1
    below[-1] = ends[-1] > peaks[-1]
    return float(((times[ends] - times[peaks]) / HOUR)[below].max(initial=0.0))


def alpha_beta(returns: Floats, market: Floats, per_year: float) -> tuple[float | None, float | None]:
    """Annual alpha and beta: intercept (times the bars a year) and slope of the regression on the market.

    Jensen, The Performance of Mutual Funds (1968), by least squares. None below three bars or if the market does not
    vary. A constant position without costs has no alpha.

    Parameters
    ----------
    returns, market
        Simple returns of the strategy and of the price, shape (bars - 1,) each.
    """
    if returns.size < 3 or np.ptp(market) < TINY:
        return None, None
    away = market - market.mean()
    beta = float(away @ returns / (away @ away))
    alpha = float(returns.mean() - beta * market.mean())
    return alpha * per_year if abs(alpha) > TINY else 0.0, beta


def turnover(position: Floats, equity: Floats, market: Floats, forced: NDArray[np.bool_] | None = None) -> float:
    """Traded notional over equity, mean a bar: what is bought and sold to bring the exposure to its target.

    At each close that is ``|position - held|``; what the bar before left of its exposure is ``held``, as in
    ``trading.costs``. The last position is valued, not sold, and what a liquidation closes is not counted.

    Parameters
    ----------
    position
        Exposure from each close to the next as a multiple of equity, shape (bars - 1,).
    equity
        At each close, shape (bars,).
    market
        Simple returns of the price, shape (bars - 1,).
    forced
        Whether the position was closed by force at each close, shape (bars,).
    """
    held = np.zeros_like(position)
    worth = position * (1 + market) * equity[:-1]
    keeps = equity[1:-1] > 0
    if forced is not None:
        keeps &= ~forced[1:-1]
    np.divide(worth[:-1], equity[1:-1], out=held[1:], where=keeps)
    return float(np.abs(position - held).mean())
