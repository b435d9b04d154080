"""The tests of one strategy, each as the JSON object that evidence.json holds: statistic, p-value or interval, how."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.costs import final_value
from trading.evidence import bootstrap, regression, sharpe
from trading.evidence.case import LEAST_HOURS, Case
from trading.evidence.null import Null, exposure_matched_null

Floats = NDArray[np.float64]
Record = dict[str, Any]

BINS = 120


def null_record(case: Case) -> Record:
    """Exposure-matched null."""
    settings = case.settings
    found = exposure_matched_null(
        case.trained,
        lambda sides: final_value(case.returns, sides, case.leverage, case.execution) - 1,
        settings.permutations,
        settings.generator("exposure_matched_null"),
        case.look_back,
        case.execution.latency,
    )
    tail = 1 - settings.confidence
    return {
        "statistic": found.observed,
        "p_value": found.p_value,
        "interval": np.quantile(found.permutations.values, [tail / 2, 1 - tail / 2]).tolist(),
        "method": "total return after costs against circular shifts of the positions, but those to bars that a "
        "decision has seen, and against permutations of their runs within each direction; the larger one-sided "
        "p-value; the interval is that of the permutations",
        "settings": {
            "permutations": settings.permutations,
            "shifts": len(found.shifts.values),
            "look_back": case.look_back,
            "confidence": settings.confidence,
        },
        "seed": settings.seed,
        "p_value_shifts": found.shifts.p_value,
        "p_value_permutations": found.permutations.p_value,
        "p_value_worse": found.p_value_worse,
        "percentile": found.percentile,
        "percentile_shifts": found.percentile_shifts,
        "median": float(np.median(found.permutations.values)),
        "runs": found.runs,
        "turnover": {
            "observed": found.turnover,
            "shifts": found.shifts.turnover,
            "permutations": found.permutations.turnover,
        },
        "histogram": _histogram(found),
    }


def regression_record(case: Case) -> Record:
    """Intercept and beta, with HAC errors."""
    found = regression.market_regression(case.paths["trained"].growth - 1, case.returns)
    method = "strategy = intercept + beta * market, returns of a bar; Newey-West errors, normal one-sided p-value"
    return _regression("intercept, a bar", found, 0, method, case)


def timing_record(case: Case) -> Record:
    """Henriksson and Merton's timing term."""
    found = regression.timing_regression(case.paths["trained"].growth - 1, case.returns)
    method = "strategy = intercept + beta * market + timing * max(0, -market); Newey-West errors, normal p-value"
    return _regression("timing", found, 2, method, case)


def bootstrap_record(case: Case) -> tuple[Record, dict[str, float]]:
    """Intervals of the result and of its distance to the others; and the p-value of each lead by key."""
    settings = case.settings
    growth = np.array([path.growth for path in case.paths.values()])
    blocks = bootstrap.block_length(growth[0] - 1, case.returns)
    drawn = bootstrap.resample(growth, blocks.length, settings.bootstrap, settings.generator("bootstrap"))
    year = math.sqrt(case.bars_per_year)
    shape = sharpe.shape(growth[0] - 1)
    log_growth = np.log(np.maximum(growth, bootstrap.TINY)).sum(axis=1)
    curve = np.cumprod(np.append(1.0, growth[0]))
    differences = {}
    for row, key in enumerate(case.paths):
        if key == "trained":
            continue
        distance, observed = drawn.log_value[:, 0] - drawn.log_value[:, row], float(log_growth[0] - log_growth[row])
        differences[key] = {
            "label": case.labels[key],
            "statistic": math.exp(observed),
            "interval": interval(np.exp(distance), settings.confidence),
            "p_value": bootstrap.superiority(distance, observed),
        }
    record = {
        "statistic": case.total_return("trained"),
        "p_value": bootstrap.superiority(drawn.log_value[:, 0], float(log_growth[0])),
        "interval": interval(np.expm1(drawn.log_value[:, 0]), settings.confidence),
        "method": "stationary block bootstrap of bars, all strategies together, percentile intervals; p-values "
        "one-sided, of log end capital above 0 or above the other's, centred; differences are ratios of end capitals",
        "settings": {
            "paths": settings.bootstrap,
            "block": blocks.length,
            "block_automatic": blocks.automatic,
            "block_floor": blocks.floor,
            "confidence": settings.confidence,
        },
        "seed": settings.seed,
        "sharpe": {
            "statistic": shape.ratio * year if shape else None,
            "interval": interval(drawn.sharpe * year, settings.confidence),
        },
        "max_drawdown": {
            "statistic": float((curve / np.maximum.accumulate(curve) - 1).min()),
            "interval": interval(drawn.drawdown, settings.confidence),
        },
        "differences": differences,
        "fan": {
            "percentiles": list(bootstrap.FAN_PERCENTILES),
            "bars": drawn.fan_bars.tolist(),
            "value": drawn.fan.tolist(),
            "observed": curve[drawn.fan_bars].tolist(),
        },
    }
    return record, {key: value["p_value"] for key, value in differences.items()}


def sharpe_record(case: Case, declared: int, ledger: int) -> Record:
    """Probabilistic and deflated Sharpe ratio, and how long a record would have to be."""
    shapes = [sharpe.shape(path.growth - 1) for path in case.variant_paths.values()]
    trials = sharpe.counted_trials(declared, ledger, len(shapes))
    counts = {"declared": declared, "ledger": ledger, "at_hand": len(shapes), "used": trials}
    record: Record = {
        "statistic": None,
        "p_value": 1.0,
        "interval": None,
        "method": "Bailey and Lopez de Prado's probabilistic Sharpe ratio against 0 (p-value: 1 minus it), and against "
        "the largest to be expected among the trials (deflated); ratios are annual",
        "settings": {"trials": counts, "bars_per_year": case.bars_per_year, "confidence": case.settings.confidence},
        "seed": None,
        "probabilistic": None,
        "deflated": None,
        "expected_maximum": None,
        "minimum_track_record": None,
        "skewness": None,
        "kurtosis": None,
    }
    shape = shapes[0]
    if shape is None or case.active < LEAST_HOURS:
        return record
    year, confidence = math.sqrt(case.bars_per_year), case.settings.confidence
    variance = sharpe.trial_variance(shape, [other.ratio for other in shapes if other])
    reach = sharpe.NORMAL.inv_cdf((1 + confidence) / 2) * math.sqrt(shape.variance / (shape.bars - 1))
    probabilistic = sharpe.probabilistic(shape)
    return record | {
        "statistic": shape.ratio * year,
        "p_value": 1 - probabilistic,
        "interval": [(shape.ratio - reach) * year, (shape.ratio + reach) * year],
        "probabilistic": probabilistic,
        "deflated": sharpe.deflated(shape, trials, variance),
        "expected_maximum": sharpe.expected_maximum(trials, variance) * year,
        "minimum_track_record": sharpe.minimum_track_record(shape, confidence),
        "skewness": shape.skewness,
        "kurtosis": shape.kurtosis,
    }


def _regression(name: str, found: regression.Regression | None, row: int, method: str, case: Case) -> Record:
    settings = {"coefficient": name, "lags": found.lags if found else None, "confidence": case.settings.confidence}
    record: Record = {
        "statistic": None,
        "p_value": 1.0,
        "interval": None,
        "method": method,
        "settings": settings,
        "seed": None,
        "beta": None,
        "r_squared": None,
    }
    if found is None or 0 < case.unusual < LEAST_HOURS:
        return record
    main, beta = found.coefficients[row], found.coefficients[1]
    return record | {
        "statistic": main.estimate,
        "p_value": main.p_value,
        "interval": list(main.interval(case.settings.confidence)),
        "beta": {"estimate": beta.estimate, "interval": list(beta.interval(case.settings.confidence))},
        "r_squared": found.r_squared,
    }


def _histogram(found: Null) -> Record:
    """Draws by log end capital, on common bins; the edges are total returns."""
    both = [found.permutations.values, found.shifts.values]
    logs = [np.log(np.maximum(1 + values, bootstrap.TINY)) for values in both]
    low, high = min(x.min() for x in logs), max(x.max() for x in logs)
    if high - low < bootstrap.TINY:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    # linspace may fall short of its own end by rounding, and the largest draw with it.
    edges[0], edges[-1] = low, high
    counts = [np.histogram(x, edges)[0].tolist() for x in logs]
    return {"edges": np.expm1(edges).tolist(), "permutations": counts[0], "shifts": counts[1]}


def interval(values: Floats, confidence: float) -> list[float] | None:
    found = bootstrap.interval(values, confidence)
    return list(found) if found else None
