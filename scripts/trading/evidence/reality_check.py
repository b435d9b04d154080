"""Data snooping: is the best of all variants that were run better than a benchmark, given that all were tried?

Hansen's test of superior predictive ability (2005) and White's reality check (2000), from arch. arch divides no
difference by its standard error: variances only decide which variants are too poor to matter.

A best difference that is not above 0 has p-value 1: Hansen's statistic is the largest difference or 0, of the sample as
of each draw, and all draws are at least as large as 0. arch counts draws that are larger than what was observed only;
here ties count as well, as in all tests (`trading.evidence.draws`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Mean log growths a bar that differ by no more are equal: sums of the same numbers in another order.
EQUAL = 1e-13


@dataclass(frozen=True)
class Snooping:
    """P-values for "no variant is better than the benchmark".

    Attributes
    ----------
    hansen
        With the consistent re-centring.
    white
        With all variants re-centred, the reality check: the largest one.
    best
        Index of the variant with the highest mean.
    difference
        Mean log growth a bar of that variant above the benchmark's.
    """

    hansen: float
    white: float
    best: int
    difference: float


def reality_check(
    benchmark: Floats, variants: Floats, block: int, draws: int, rng: np.random.Generator
) -> Snooping | None:
    """Compare all variants with one benchmark.

    Parameters
    ----------
    benchmark
        Log growth a bar, shape (bars,).
    variants
        Log growth a bar of each variant, shape (variants, bars).
    block
        Mean block length in bars.

    Returns
    -------
    Snooping or None
        None if no variant differs from the benchmark at any bar: there is nothing to test.

    Raises
    ------
    ValueError
        If the lengths differ or a value is not finite.
    """
    from arch.bootstrap import SPA  # takes seconds to import

    if variants.ndim != 2 or benchmark.shape != variants.shape[1:]:
        raise ValueError(f"variants {variants.shape} and a benchmark of {benchmark.shape} are not on the same bars")
    if not (np.isfinite(benchmark).all() and np.isfinite(variants).all()):
        raise ValueError("log growth must be finite")
    differences = variants - benchmark
    if (np.abs(differences) <= EQUAL).all():
        return None
    means = differences.mean(axis=1)
    best = int(np.argmax(means))
    if means[best] <= EQUAL:
        return Snooping(1.0, 1.0, best, float(means[best]))
    # Losses: the negative of what is earned. A benchmark that is better by nothing to speak of lowers what is observed
    # and leaves the draws, which are centred, as they are: so ties are counted, too. arch's p-values have no 1 of the
    # observed one: it is added here.
    test = SPA(-benchmark - EQUAL, -variants.T, block_size=block, reps=draws, seed=rng)
    test.compute()
    hansen, white = ((1 + draws * float(test.pvalues[name])) / (1 + draws) for name in ("consistent", "upper"))
    return Snooping(hansen, white, best, float(means[best]))
