"""Stationary block bootstrap (Politis and Romano 1994, from arch) of returns, the strategies resampled together.

The block length is the automatic one (Politis and White 2004, corrected 2009), but not less than the one chosen
on absolute returns: on hourly returns themselves, which hardly correlate, it is about 1, and the clusters of
volatility would be torn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trading.evidence.draws import share_as_large

Floats = NDArray[np.float64]

# A total loss has no logarithm; one millionth of a millionth is as good as nothing.
TINY = 1e-12
# Two strategies whose log values differ by no more are one.
EQUAL = 1e-9
CHUNK = 500
FAN_POINTS = 120
FAN_PERCENTILES = (2.5, 25.0, 50.0, 75.0, 97.5)


@dataclass(frozen=True)
class Blocks:
    """The block length and what it comes from, in bars.

    Attributes
    ----------
    length
        What is used.
    automatic
        The automatic length on the strategy's returns.
    floor
        The automatic length on the market's absolute returns.
    """

    length: int
    automatic: float
    floor: float


@dataclass(frozen=True)
class Resampled:
    """Statistics of every bootstrap path.

    Attributes
    ----------
    log_value
        Log of the end value over the first, shape (paths, strategies).
    sharpe
        Mean over standard deviation of simple returns, a bar, shape (paths,), of the first strategy; NaN where
        a path does not vary.
    drawdown
        Deepest drawdown, between -1 and 0, shape (paths,), of the first strategy.
    fan
        Percentiles of the first strategy's value over time, shape (percentiles, points).
    fan_bars
        The bars at which the fan is given, shape (points,).
    """

    log_value: Floats
    sharpe: Floats
    drawdown: Floats
    fan: Floats
    fan_bars: NDArray[np.intp]


def block_length(returns: Floats, market: Floats) -> Blocks:
    """Block length for `returns`, floored by that of the market's absolute returns; 1 where nothing varies."""
    automatic, floor = _automatic(returns), _automatic(np.abs(market))
    return Blocks(max(1, math.ceil(max(automatic, floor))), automatic, floor)


def resample(growth: Floats, block: int, paths: int, rng: np.random.Generator) -> Resampled:
    """Draw `paths` stationary bootstrap paths of all strategies at once.

    Parameters
    ----------
    growth
        Value after each bar over value before it, shape (strategies, bars), at least 0. The first strategy is
        the one that is examined.
    block
        Mean block length in bars.

    Raises
    ------
    ValueError
        If `growth` is not finite or negative, or has fewer than two bars.
    """
    from arch.bootstrap import StationaryBootstrap  # takes seconds to import

    growth = np.asarray(growth, dtype=np.float64)
    if growth.ndim != 2 or growth.shape[1] < 2:
        raise ValueError(f"growth must have strategies and at least two bars, got shape {growth.shape}")
    if not (np.isfinite(growth).all() and (growth >= 0).all()):
        raise ValueError("growth must be finite and at least 0")
    logs = np.log(np.maximum(growth, TINY))
    bars = growth.shape[1]
    points = np.unique(np.linspace(0, bars - 1, min(FAN_POINTS, bars)).round().astype(int))
    source = StationaryBootstrap(block, np.arange(bars, dtype=np.int32), seed=rng)
    indices = np.empty((min(CHUNK, paths), bars), dtype=np.int32)
    log_value = np.empty((paths, len(growth)))
    sharpe, drawdown, ends = np.empty(paths), np.empty(paths), np.empty((paths, len(points)))
    draws = source.bootstrap(paths)
    for start in range(0, paths, CHUNK):
        size = min(CHUNK, paths - start)
        for row in range(size):
            indices[row] = next(draws)[0][0]
        rows, index = slice(start, start + size), indices[:size]
        for column in range(1, len(growth)):
            log_value[rows, column] = np.take(logs[column], index).sum(axis=1)
        curve = np.cumsum(np.take(logs[0], index), axis=1)
        log_value[rows, 0] = curve[:, -1]
        ends[rows] = np.exp(curve[:, points])
        # The capital at the start is a high, too.
        depth = curve - np.maximum(np.maximum.accumulate(curve, axis=1), 0.0)
        drawdown[rows] = np.expm1(depth.min(axis=1))
        sharpe[rows] = _sharpe(np.take(growth[0], index))
    return Resampled(log_value, sharpe, drawdown, np.percentile(ends, FAN_PERCENTILES, axis=0), points + 1)


def interval(values: Floats, confidence: float) -> tuple[float, float] | None:
    """Percentile interval; None if a path has no value."""
    if not np.isfinite(values).all():
        return None
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def superiority(resampled: Floats, observed: float) -> float:
    """One-sided p-value for a difference above 0: how often a resampled one, centred at 0, is as large.

    Parameters
    ----------
    resampled
        Differences of log end values, shape (paths,).
    observed
        The difference that was observed; of two equal strategies it is 0 and the p-value 1.
    """
    if abs(observed) < EQUAL and np.ptp(resampled) < EQUAL:
        return 1.0
    return share_as_large(resampled - observed, observed)


def _automatic(returns: Floats) -> float:
    """Automatic block length of the stationary bootstrap; 1 for a series without variance or too short."""
    from arch.bootstrap import optimal_block_length

    if returns.size < 10 or np.ptp(returns) < TINY:
        return 1.0
    length = float(optimal_block_length(returns)["stationary"].iloc[0])
    return length if math.isfinite(length) else 1.0


def _sharpe(growth: Floats) -> Floats:
    spread = growth.std(axis=1, ddof=1)
    mean = growth.mean(axis=1) - 1
    return np.divide(mean, spread, out=np.full(len(growth), np.nan), where=spread > TINY)
