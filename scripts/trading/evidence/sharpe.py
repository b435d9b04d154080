"""Sharpe ratios that know how long the record is, how it is shaped and how many were tried.

Bailey and Lopez de Prado: The Sharpe Ratio Efficient Frontier (2012) and The Deflated Sharpe Ratio (2014). All
ratios here are a bar's; annualise by the square root of the bars a year.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

EULER = 0.5772156649015329
NORMAL = NormalDist()
TINY = 1e-12
KNOWN_TRIALS = 10


@dataclass(frozen=True)
class Shape:
    """What the tests need to know of a record of returns.

    Attributes
    ----------
    bars
        Length.
    ratio
        Mean over standard deviation (n - 1).
    skewness, kurtosis
        Of the distribution; 0 and 3 for a normal one.
    """

    bars: int
    ratio: float
    skewness: float
    kurtosis: float

    @property
    def variance(self) -> float:
        """Variance of the estimated ratio, times bars - 1 (Mertens 2002); a tiny number at least."""
        value = 1 - self.skewness * self.ratio + (self.kurtosis - 1) / 4 * self.ratio**2
        return max(value, TINY)


def shape(returns: Floats) -> Shape | None:
    """Moments of simple returns, shape (bars,). None if they do not vary.

    Raises
    ------
    ValueError
        If a return is not finite or there are fewer than two.
    """
    if returns.ndim != 1 or returns.size < 2 or not np.isfinite(returns).all():
        raise ValueError("returns must be one row of at least two finite numbers")
    centred = returns - returns.mean()
    second = float((centred**2).mean())
    if second < TINY**2:
        return None
    return Shape(
        bars=returns.size,
        ratio=float(returns.mean() / returns.std(ddof=1)),
        skewness=float((centred**3).mean() / second**1.5),
        kurtosis=float((centred**4).mean() / second**2),
    )


def probabilistic(record: Shape, benchmark: float = 0.0) -> float:
    """Probability that the true ratio is above `benchmark` (a bar's)."""
    return NORMAL.cdf((record.ratio - benchmark) * math.sqrt((record.bars - 1) / record.variance))


def expected_maximum(trials: int, variance: float) -> float:
    """Largest ratio to be expected among `trials` worthless ones whose ratios vary by `variance`; 0 for one.

    Raises
    ------
    ValueError
        If there is no trial.
    """
    if trials < 1:
        raise ValueError(f"trials must be at least 1, got {trials}")
    if trials == 1:
        return 0.0
    first, second = NORMAL.inv_cdf(1 - 1 / trials), NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    return math.sqrt(variance) * ((1 - EULER) * first + EULER * second)


def trial_variance(record: Shape, ratios: ArrayLike) -> float:
    """How much ratios vary over trials: their own variance, but not less than a worthless record's.

    Variants that resemble each other vary less than independent ones would by chance alone: they do not lower the
    hurdle. A handful of ratios says nothing about their variance and leaves the sampling variance, 1 / (bars - 1).

    Parameters
    ----------
    ratios
        Ratios of the known variants, a bar's.
    """
    known = np.asarray(ratios, dtype=np.float64)
    sampling = 1 / (record.bars - 1)
    return max(sampling, float(known.var(ddof=1))) if known.size >= KNOWN_TRIALS else sampling


def deflated(record: Shape, trials: int, variance: float) -> float:
    """Probability that the true ratio is above what the best of `trials` worthless ones would show."""
    return probabilistic(record, expected_maximum(trials, variance))


def minimum_track_record(record: Shape, confidence: float, benchmark: float = 0.0) -> float | None:
    """Bars needed until `probabilistic` reaches `confidence`. None if the ratio is not above the benchmark."""
    if record.ratio <= benchmark:
        return None
    return 1 + record.variance * (NORMAL.inv_cdf(confidence) / (record.ratio - benchmark)) ** 2


def counted_trials(declared: int, ledger: int, known: int = 1) -> int:
    """The number of trials that tests go by: the largest of those declared, recorded and at hand.

    Raises
    ------
    ValueError
        If fewer than one is declared.
    """
    if declared < 1:
        raise ValueError(f"declared trials must be at least 1, got {declared}")
    return max(declared, ledger, known)


def adjusted(p_value: float, trials: int) -> float:
    """P-value of the best of `trials` independent ones (Sidak); variants that resemble each other make it strict."""
    return -math.expm1(trials * math.log1p(-p_value)) if p_value < 1 else 1.0
