"""The tests on one case, each as the JSON object that evidence.json holds: statistic, p-value or interval, how."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trading.costs import final_value, simulate
from trading.evidence import bootstrap, regression, sharpe
from trading.evidence.baselines import best_constant, random_with_exposure
from trading.evidence.case import Case
from trading.evidence.null import Null, exposure_matched_null
from trading.evidence.reality_check import reality_check
from trading.evidence.sensitivity import (
    break_even_cost,
    cost_latency_surface,
    liquidation_leverage,
    return_over_leverage,
)

Floats = NDArray[np.float64]
Record = dict[str, Any]

BINS = 60
COSTS_BPS = tuple(x / 2 for x in range(0, 41))
LATENCIES = tuple(range(0, 13))
LEVERAGES = np.arange(0, 401) / 40
MOST_BPS, MOST_LEVERAGE = 1000.0, 200.0


def null_record(case: Case) -> Record:
    """Exposure-matched null."""
    settings = case.settings
    found = exposure_matched_null(
        case.trained,
        lambda sides: final_value(case.returns, sides, case.leverage, case.execution) - 1,
        settings.permutations,
        settings.generator("exposure_matched_null"),
    )
    tail = 1 - settings.confidence
    return {
        "statistic": found.observed,
        "p_value": found.p_value,
        "interval": list(np.quantile(found.permutations.values, [tail / 2, 1 - tail / 2]).tolist()),
        "method": "total return after costs against all circular shifts of the positions and against permutations "
        "of their runs within each direction; the larger one-sided p-value; the interval is that of the permutations",
        "settings": {
            "permutations": settings.permutations,
            "shifts": len(found.shifts.values),
            "confidence": settings.confidence,
        },
        "seed": settings.seed,
        "p_value_shifts": found.shifts.p_value,
        "p_value_permutations": found.permutations.p_value,
        "p_value_worse": found.p_value_worse,
        "percentile": found.percentile,
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
            "interval": _interval(np.exp(distance), settings.confidence),
            "p_value": bootstrap.superiority(distance, observed),
        }
    record = {
        "statistic": case.total_return("trained"),
        "p_value": bootstrap.superiority(drawn.log_value[:, 0], float(log_growth[0])),
        "interval": _interval(np.expm1(drawn.log_value[:, 0]), settings.confidence),
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
            "interval": _interval(drawn.sharpe * year, settings.confidence),
        },
        "max_drawdown": {
            "statistic": float((curve / np.maximum.accumulate(curve) - 1).min()),
            "interval": _interval(drawn.drawdown, settings.confidence),
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
    if shape is None:
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


def reality_record(case: Case, block: int) -> Record | None:
    """Hansen's and White's tests of all variants against the best constant position; None for a single variant."""
    if not case.variants:
        return None
    settings = case.settings
    exposure, _ = best_constant(case.returns, case.leverage, case.execution)
    position = math.copysign(1.0, exposure) * np.ones(case.bars)
    benchmark = _log_growth(case, position, abs(exposure))
    logs = np.log(np.maximum([path.growth for path in case.variant_paths.values()], bootstrap.TINY))
    rng = settings.generator("reality_check")
    found = reality_check(benchmark, logs, block, settings.reality_check, rng)
    return {
        "statistic": found.difference,
        "p_value": found.hansen,
        "interval": None,
        "method": "Hansen's test of superior predictive ability over all variants against the best constant exposure "
        "in hindsight, mean log growth a bar, stationary bootstrap; White's reality check beside it",
        "settings": {
            "draws": settings.reality_check,
            "block": block,
            "variants": len(logs),
            "benchmark_exposure": exposure,
        },
        "seed": settings.seed,
        "p_value_white": found.white,
        "best": list(case.variant_paths)[found.best],
    }


def base_record(case: Case, differences: Record) -> Record:
    """The trained model against the one before training, and the spread over variants."""
    right = {key: case.sides[key] * case.returns > 0 for key in ("trained", "base")}
    only_trained = int((right["trained"] & ~right["base"]).sum())
    only_base = int((right["base"] & ~right["trained"]).sum())
    ends = {name: float(path.growth.prod() - 1) for name, path in case.variant_paths.items()}
    spread = sorted(ends.values())
    return {
        "statistic": differences["base"]["statistic"],
        "p_value": differences["base"]["p_value"],
        "interval": differences["base"]["interval"],
        "method": "ratio of end capitals on the same hours, paired stationary bootstrap; hours in which only one "
        "of the two was right: exact binomial test (McNemar)",
        "settings": {"paths": case.settings.bootstrap, "confidence": case.settings.confidence},
        "seed": case.settings.seed,
        "trained_only_right": only_trained,
        "base_only_right": only_base,
        "p_value_hours": binomial_tail(only_trained, only_trained + only_base),
        "variants": {
            "total_return": ends,
            "lowest": spread[0],
            "median": float(np.median(spread)),
            "highest": spread[-1],
        },
    }


def baselines_record(case: Case) -> Record:
    """Simple rules, random positions with the model's exposure, and the best constant in hindsight."""
    settings = case.settings
    ends = random_with_exposure(
        case.trained, case.returns, case.leverage, case.execution, settings.permutations, settings.generator("random")
    )
    observed = case.total_return("trained")
    exposure, best = best_constant(case.returns, case.leverage, case.execution)
    rules = [
        {"key": key, "label": case.labels[key], "total_return": case.total_return(key)}
        for key in ("always_buy", "always_sell", "momentum", "crossover", "base")
    ]
    return {
        "statistic": observed,
        "p_value": float((1 + np.count_nonzero(ends - 1 >= observed)) / (1 + ends.size)),
        "interval": _interval(ends - 1, settings.confidence),
        "method": "total return against traders that draw each hour's side at random, long, short and flat as often "
        "as the model; beside it simple rules and the constant exposure that was best in hindsight",
        "settings": {
            "draws": settings.permutations,
            "momentum": settings.momentum,
            "fast": settings.fast,
            "slow": settings.slow,
            "confidence": settings.confidence,
        },
        "seed": settings.seed,
        "random_median": float(np.median(ends) - 1),
        "strategies": rules,
        "best_constant": {"exposure": exposure, "total_return": best - 1},
    }


def sensitivity_record(case: Case) -> Record:
    """Cost, latency, leverage."""
    terms = (case.trained, case.returns, case.leverage, case.execution)
    keys = ("trained", "base", "always_buy", "always_sell")
    curves = return_over_leverage(np.array([case.sides[key] for key in keys]), case.returns, LEVERAGES, case.execution)
    break_even = break_even_cost(*terms, most_bps=MOST_BPS)
    return {
        "statistic": break_even,
        "p_value": None,
        "interval": None,
        "method": "the same decisions traded at other costs, latencies and leverages; the statistic is the fee and "
        "slippage, basis points a side, at which the total return is 0 (null: beyond the largest that was tried)",
        "settings": {"most_bps": MOST_BPS, "most_leverage": MOST_LEVERAGE},
        "seed": None,
        "break_even_bps": break_even,
        "liquidation_leverage": liquidation_leverage(case.trained, case.returns, case.execution, MOST_LEVERAGE),
        "surface": {
            "cost_bps": list(COSTS_BPS),
            "latency": list(LATENCIES),
            "total_return": cost_latency_surface(*terms, COSTS_BPS, LATENCIES).tolist(),
        },
        "leverage": {
            "values": LEVERAGES.tolist(),
            "total_return": {key: row.tolist() for key, row in zip(keys, curves, strict=True)},
        },
    }


def binomial_tail(successes: int, trials: int) -> float:
    """Probability of at least so many heads of a fair coin, exactly; 1 without trials."""
    return sum(math.comb(trials, k) for k in range(successes, trials + 1)) / 2**trials


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
    if found is None:
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


def _log_growth(case: Case, sides: Floats, leverage: float) -> Floats:
    return np.log(np.maximum(simulate(case.returns, sides, leverage, case.execution).growth, bootstrap.TINY))


def _interval(values: Floats, confidence: float) -> list[float] | None:
    found = bootstrap.interval(values, confidence)
    return list(found) if found else None
