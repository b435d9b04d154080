"""Annual figures and trades once more, in plain Python: written apart from ``trading.performance``, as the books are.

A year has 8760 hours; bars a year are counted from the times. None: not defined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

YEAR_HOURS = 8760
NOTHING = 1e-12  # variation below it is rounding


def performance(
    equity: Sequence[float],
    exposure: Sequence[float],
    closes: Sequence[float],
    hours: Sequence[float],
    gone: int | None,
) -> dict[str, float | None]:
    """What metrics.json says of a strategy that needs a clock.

    Parameters
    ----------
    equity, closes, hours
        At each bar; hours since the first.
    exposure
        From each bar to the next as a multiple of equity.
    gone
        Bar of a liquidation.
    """
    count, elapsed = len(equity) - 1, hours[-1]
    a_year = count * YEAR_HOURS / elapsed
    gains = [after / before - 1 if before > 0 else 0.0 for before, after in pairwise(equity)]
    market = [after / before - 1 for before, after in pairwise(closes)]
    mean = math.fsum(gains) / count
    spread = math.sqrt(math.fsum((gain - mean) ** 2 for gain in gains) / (count - 1)) if count > 1 else None
    downside = math.sqrt(math.fsum(min(gain, 0) ** 2 for gain in gains) / count)
    growth = annual_growth(equity[-1] / equity[0], elapsed / YEAR_HOURS)
    deepest, peak = 0.0, equity[0]
    for value in equity:
        peak = max(peak, value)
        deepest = min(deepest, value / peak - 1)
    varied = spread is not None and max(gains) - min(gains) >= NOTHING
    alpha, beta = regression(gains, market)
    return {
        "cagr": growth,
        "volatility": spread * math.sqrt(a_year) if spread is not None else None,
        "sharpe": mean / spread * math.sqrt(a_year) if varied and spread else None,
        "sortino": mean / downside * math.sqrt(a_year) if count > 1 and downside >= NOTHING else None,
        "calmar": growth / -deepest if growth is not None and deepest <= -NOTHING else None,
        "drawdown_hours": longest_below_a_peak(equity, hours),
        "turnover": traded_share(equity, exposure, market, gone),
        "alpha": alpha * a_year if alpha is not None else None,
        "beta": beta,
    }


def annual_growth(growth: float, years: float) -> float | None:
    """Compound growth in a year; of a few hours it may be too large for a number."""
    if growth <= 0:
        return -1.0
    try:
        return math.exp(math.log(growth) / years) - 1
    except OverflowError:
        return None


def longest_below_a_peak(equity: Sequence[float], hours: Sequence[float]) -> float:
    """Longest time from a peak to the first close that is as high again, or to the end, in hours."""
    peak, longest = 0, 0.0
    for t in range(1, len(equity)):
        if equity[t] >= equity[peak]:
            longest = max(longest, hours[t] - hours[peak]) if t > peak + 1 else longest
            peak = t
    return max(longest, hours[-1] - hours[peak])


def traded_share(
    equity: Sequence[float], exposure: Sequence[float], market: Sequence[float], gone: int | None
) -> float:
    """What is traded at each close to reach the exposure, as a share of equity; mean a bar."""
    total, held = [], 0.0
    for t, wanted in enumerate(exposure[: len(market)]):
        total.append(abs(wanted - held))
        kept = t + 1 != gone and equity[t + 1] > 0
        held = wanted * (1 + market[t]) * equity[t] / equity[t + 1] if kept else 0.0
    return math.fsum(total) / len(total)


def regression(gains: Sequence[float], market: Sequence[float]) -> tuple[float | None, float | None]:
    """Intercept and slope of a strategy's returns on the market's, by least squares."""
    count = len(gains)
    if count < 3 or max(market) - min(market) < NOTHING:
        return None, None
    middle, mean = math.fsum(market) / count, math.fsum(gains) / count
    beta = math.fsum((m - middle) * g for m, g in zip(market, gains, strict=True))
    beta /= math.fsum((m - middle) ** 2 for m in market)
    alpha = mean - beta * middle
    return (alpha if abs(alpha) > NOTHING else 0.0), beta


def trades_of(
    equity: Sequence[float], exposure: Sequence[float], closes: Sequence[float], times: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows of trades.csv of one strategy: bars in a row on the same side.

    What leaving for flat costs is due after the exit and belongs to the trade that is left.
    """
    found = []
    sides_of_bars = [(x > 0) - (x < 0) for x in exposure[: len(closes) - 1]]
    for side, bars in groupby(range(len(sides_of_bars)), key=sides_of_bars.__getitem__):
        if side:
            held = list(bars)
            start, end = held[0], held[-1] + 1
            flat_after = end < len(sides_of_bars) and sides_of_bars[end] == 0
            gain = equity[end + flat_after] - equity[start]
            found.append(
                {
                    "direction": "long" if side > 0 else "short",
                    "entry_time": times[start],
                    "exit_time": times[end],
                    "entry_price": closes[start],
                    "exit_price": closes[end],
                    "bars": end - start,
                    "pnl": gain,
                    "return": gain / equity[start],
                }
            )
    return found


def of_trades(trades: Sequence[dict[str, Any]], hours: dict[str, float]) -> dict[str, float | None]:
    """What metrics.json says of a strategy's trades; `hours` since the first bar, by time."""
    lost = -math.fsum(trade["pnl"] for trade in trades if trade["pnl"] < 0)
    won = math.fsum(trade["pnl"] for trade in trades if trade["pnl"] > 0)
    held = [hours[trade["exit_time"]] - hours[trade["entry_time"]] for trade in trades]
    return {
        "profit_factor": won / lost if lost > 0 else None,
        "holding_hours": math.fsum(held) / len(held) if held else None,
    }
