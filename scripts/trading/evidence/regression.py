"""Regression of a strategy's returns on the market's with errors that bear autocorrelation (Newey and West 1987).

Two models: ``strategy = intercept + beta * market`` and, with a timing term (Henriksson and Merton 1981),
``strategy = intercept + beta * market + timing * max(0, -market)``: the exposure is beta when the market rises and
beta - timing when it falls. Short, so that statsmodels (two seconds of import) is only needed to test it.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Share of a strategy's variance that rounding leaves behind when the market explains all of it.
EXACT = 1e-18
ROUNDING = 1e-12


@dataclass(frozen=True)
class Coefficient:
    """An estimate, its HAC standard error and its one-sided p-value (small if clearly above 0)."""

    estimate: float
    error: float
    p_value: float

    @property
    def t(self) -> float | None:
        """Estimate over error; None without an error."""
        return self.estimate / self.error if self.error > 0 else None

    def interval(self, confidence: float) -> tuple[float, float]:
        """Symmetric interval of a normal estimate."""
        reach = NormalDist().inv_cdf((1 + confidence) / 2) * self.error
        return self.estimate - reach, self.estimate + reach


@dataclass(frozen=True)
class Regression:
    """Coefficients in the order of the regressors, the number of lags of the errors, and R squared."""

    coefficients: tuple[Coefficient, ...]
    lags: int
    r_squared: float


def market_regression(strategy: Floats, market: Floats) -> Regression | None:
    """Intercept and beta. None if the market does not vary.

    Parameters
    ----------
    strategy, market
        Simple returns, shape (bars,), of the same bars.

    Raises
    ------
    ValueError
        If the lengths differ or a value is not finite.
    """
    _check(strategy, market)
    return least_squares(strategy, np.column_stack([np.ones(market.size), market]))


def timing_regression(strategy: Floats, market: Floats) -> Regression | None:
    """Intercept, beta and the Henriksson-Merton timing term. None if the market never fell or never rose."""
    _check(strategy, market)
    return least_squares(strategy, np.column_stack([np.ones(market.size), market, np.maximum(-market, 0)]))


def newey_west_lags(bars: int) -> int:
    """The usual rule, ``floor(4 (n / 100)^(2/9))`` (Newey and West 1994)."""
    return int(4 * (bars / 100) ** (2 / 9))


def least_squares(y: Floats, x: Floats, lags: int | None = None) -> Regression | None:
    """Ordinary least squares with Bartlett-weighted HAC errors, corrected for the degrees of freedom.

    A strategy that the regressors explain exactly (a constant position) has no errors: p-values are 1, and
    coefficients that are no more than rounding count as 0.

    Parameters
    ----------
    y
        Shape (bars,).
    x
        Regressors, the constant among them, shape (bars, k).
    lags
        Lags of the errors; by default `newey_west_lags`.

    Returns
    -------
    Regression or None
        None if the regressors are collinear.
    """
    bars, count = x.shape
    # Scaled, so that returns of a tenth of a per cent do not look like nothing beside the constant.
    scale = np.sqrt((x**2).mean(axis=0))
    if not (scale > 0).all() or bars <= count:
        return None
    scaled = x / scale
    gram = scaled.T @ scaled / bars
    if np.linalg.cond(gram) > 1e12:
        return None
    inverse = np.linalg.inv(gram)
    estimate = inverse @ (scaled.T @ y / bars)
    residual = y - scaled @ estimate
    lags = newey_west_lags(bars) if lags is None else lags
    total = float(((y - y.mean()) ** 2).sum())
    unexplained = float((residual**2).sum())
    if unexplained <= EXACT * float((y**2).sum()):
        found = estimate / scale
        found = np.where(np.abs(found) > ROUNDING, found, 0.0)
        return Regression(tuple(Coefficient(float(b), 0.0, 1.0) for b in found), lags, 1.0 if total > 0 else 0.0)
    score = scaled * residual[:, np.newaxis]
    meat = score.T @ score / bars
    for lag in range(1, min(lags, bars - 1) + 1):
        cross = score[lag:].T @ score[:-lag] / bars
        meat += (1 - lag / (lags + 1)) * (cross + cross.T)
    variance = np.diag(inverse @ meat @ inverse) / (bars - count)
    errors = np.sqrt(np.maximum(variance, 0)) / scale
    return Regression(
        tuple(_coefficient(float(b), float(e)) for b, e in zip(estimate / scale, errors, strict=True)),
        lags,
        1 - unexplained / total if total > 0 else 0.0,
    )


def _coefficient(estimate: float, error: float) -> Coefficient:
    p_value = NormalDist().cdf(-estimate / error) if error > 0 else 1.0
    return Coefficient(estimate, error, p_value)


def _check(strategy: Floats, market: Floats) -> None:
    if strategy.shape != market.shape or strategy.ndim != 1:
        raise ValueError(
            f"a strategy of {strategy.shape} returns cannot be compared with a market of {market.shape}: "
            "both need the same bars"
        )
    if not (np.isfinite(strategy).all() and np.isfinite(market).all()):
        raise ValueError("returns must be finite")
