"""An axis of total returns on which losing half is as far from nothing as doubling: the log of the end capital."""

from __future__ import annotations

import numpy as np
from matplotlib.axis import Axis
from matplotlib.ticker import FixedFormatter, FixedLocator
from numpy.typing import ArrayLike

from report.theme import percent
from trading.accounting import Floats

# Losses beyond it are as good as total: they have no place of their own on the axis.
FLOOR_RETURN = -0.99
FLOOR = float(np.log1p(FLOOR_RETURN))
# Candidate end capitals from coarse to fine; the finest that has few enough ticks is taken.
_COARSE = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
_STEPS = (0.25, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)


def height(returns: ArrayLike) -> Floats:
    """Where total returns (fractions) stand on the axis; total losses at its floor. Shape of `returns`."""
    return np.log1p(np.maximum(np.asarray(returns, dtype=np.float64), FLOOR_RETURN))


def ticks(low: float, high: float, most: int) -> list[float]:
    """End capitals, as multiples of the first, for at most `most` ticks between two heights, none too near another."""
    decades = [10.0**power for power in range(-2, 13)]
    sets = [np.outer(decades, digits).ravel() for digits in _COARSE]
    sets += [np.arange(round(0.01 / step), round(4 / step) + 1) * step for step in _STEPS]
    found = np.array([1.0])
    for values in sets:
        inside = values[(values >= np.exp(low) - 1e-9) & (values <= np.exp(high) + 1e-9)]
        apart = np.diff(np.log(np.maximum(inside, 1e-9))).min(initial=np.inf)
        if found.size < inside.size <= most and apart >= (high - low) / (1.6 * most):
            found = inside
    return found.tolist()


def label(value: float) -> str:
    """An end capital as a total return: 1.5 is +50%; of a thousandfold and more only the multiple."""
    if value >= 1000:
        return f"{value:,.0f}x" if value < 1e6 else f"{value:.0e}x".replace("e+0", "e").replace("e+", "e")
    gain = 100 * (value - 1)
    digits = next(d for d in range(4) if d == 3 or abs(gain - round(gain, d)) < 1e-6)
    return percent(value - 1, digits)


def limits(*heights: ArrayLike, least: float = 0.02, margin: float = 0.05) -> tuple[float, float]:
    """Lowest and highest of all heights and of nothing gained, with a margin; apart by `least` at any rate."""
    everything = np.concatenate([np.ravel(h) for h in heights] + [[0.0]])
    low, high = float(everything.min()), float(everything.max())
    pad = max(margin * (high - low), least / 2)
    return low - pad, high + pad


def return_axis(axis: Axis, low: float, high: float, most: int = 8) -> None:
    """Ticks of total return on an axis of heights, not at its very ends; the floor, where it shows, is named as one."""
    inset = 0.03 * (high - low)
    values = ticks(max(low, FLOOR) + inset, high - inset, most)
    if low <= FLOOR:
        values = [value for value in values if np.log(value) > FLOOR + (high - low) / most]
    places, labels = [float(np.log(value)) for value in values], [label(value) for value in values]
    if low <= FLOOR:
        places, labels = [FLOOR, *places], ["lost all", *labels]
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FixedFormatter(labels))
