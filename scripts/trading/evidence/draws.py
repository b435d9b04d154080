"""The p-value of a result among draws of chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# The same bars in another order multiply to another last digit: ends that differ by no more of their size are equal.
ROUNDING = 1e-10


def share_as_large(draws: Floats, observed: float) -> float:
    """One-sided p-value ``(1 + k) / (1 + n)``, k of n draws being as large as what was observed, or larger.

    The observed one counts among the draws, so it is never 0, and a tie counts as at least as large (Davison and
    Hinkley, Bootstrap Methods and their Application, 1997, formula 4.11; Phipson and Smyth 2010): of draws that all
    equal what was observed, it is 1.

    Parameters
    ----------
    draws
        Shape (draws,).
    observed
        The same statistic of what is tested.
    """
    return float((1 + np.count_nonzero(draws >= observed - slack(observed))) / (1 + draws.size))


def share_below(draws: Floats, observed: float) -> float:
    """Share of the draws that are smaller, ties counted half, between 0 and 1."""
    most = slack(observed)
    return float((draws < observed - most).mean() + (np.abs(draws - observed) <= most).mean() / 2)


def slack(observed: float) -> float:
    """By how much equal values may differ."""
    return ROUNDING * max(1.0, abs(observed))
