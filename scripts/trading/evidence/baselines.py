"""What else could have been done: simple rules, chance with the model's exposure, the best constant in hindsight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trading.costs import Execution, final_value
from trading.evidence.null import CHUNK

Floats = NDArray[np.float64]


def momentum(close: Floats, start: int, count: int, window: int) -> Floats:
    """Long if the close is above the one `window` bars ago, short if below, flat if equal or not known yet.

    Parameters
    ----------
    close
        All closes, shape (bars,); those before the first decision are the rule's past.
    start, count
        Bar of the first decision, and how many decisions.

    Returns
    -------
    ndarray
        1, -1 or 0, shape (count,). The decision at a bar uses closes up to that bar.
    """
    change = np.full(close.size, 0.0)
    change[window:] = close[window:] - close[:-window]
    return np.sign(change[start : start + count])


def moving_average_crossover(close: Floats, start: int, count: int, fast: int, slow: int) -> Floats:
    """Long if the mean of the last `fast` closes is above that of the last `slow`, short if below. As `momentum`."""
    if not 0 < fast < slow:
        raise ValueError(f"the fast window must be shorter than the slow one, got {fast} and {slow}")
    difference = np.zeros(close.size)
    if close.size >= slow:
        windows = np.lib.stride_tricks.sliding_window_view(close, slow)
        difference[slow - 1 :] = windows[:, -fast:].mean(axis=1) - windows.mean(axis=1)
    return np.sign(difference[start : start + count])


def random_with_exposure(
    directions: NDArray, returns: Floats, leverage: float, execution: Execution, draws: int, rng: np.random.Generator
) -> Floats:
    """End values of `draws` traders that pick each bar's direction at random, long, short and flat as often.

    Unlike the exposure-matched null they hold nothing: an hour-by-hour trader's turnover is part of what they are.

    Returns
    -------
    ndarray
        Multiples of the first capital, shape (draws,).
    """
    sides = np.asarray(directions).astype(np.int8)
    ends = []
    for done in range(0, draws, CHUNK):
        rows = np.tile(sides, (min(CHUNK, draws - done), 1))
        ends.append(final_value(returns, rng.permuted(rows, axis=1), leverage, execution))
    return np.concatenate(ends)


def best_constant(returns: Floats, leverage: float, execution: Execution, steps: int = 200) -> tuple[float, float]:
    """The constant exposure that would have ended with most, and its end value: nobody knew it before.

    Parameters
    ----------
    leverage
        Largest exposure; all from -leverage to leverage are tried, `steps` on each side.

    Returns
    -------
    tuple
        Exposure as a multiple of equity, and end value as a multiple of the first capital.
    """
    sizes = np.linspace(0, leverage, steps + 1)
    long, short = (final_value(returns, side * np.ones(returns.size), sizes, execution) for side in (1, -1))
    exposures, ends = np.concatenate([-sizes[::-1], sizes[1:]]), np.concatenate([short[::-1], long[1:]])
    best = int(np.argmax(ends))
    return float(exposures[best]), float(ends[best])
