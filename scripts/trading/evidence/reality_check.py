"""Data snooping: is the best of all variants that were run better than a benchmark, given that all were tried?

Hansen's test of superior predictive ability (2005) and White's reality check (2000), from arch. arch divides no
difference by its standard error: variances only decide which variants are too poor to matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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


def reality_check(benchmark: Floats, variants: Floats, block: int, draws: int, rng: np.random.Generator) -> Snooping:
    """Compare all variants with one benchmark.

    Parameters
    ----------
    benchmark
        Log growth a bar, shape (bars,).
    variants
        Log growth a bar of each variant, shape (variants, bars).
    block
        Mean block length in bars.

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
    means = (variants - benchmark).mean(axis=1)
    best = int(np.argmax(means))
    # Losses: the negative of what is earned. arch's p-values have no 1 of the observed one: it is added here.
    test = SPA(-benchmark, -variants.T, block_size=block, reps=draws, seed=rng)
    test.compute()
    hansen, white = ((1 + draws * float(test.pvalues[name])) / (1 + draws) for name in ("consistent", "upper"))
    return Snooping(hansen, white, best, float(means[best]))
