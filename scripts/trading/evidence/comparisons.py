"""The tests of one strategy against others, and against other terms of trade, as evidence.json holds them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trading.costs import final_value, simulate
from trading.evidence.baselines import best_constant, random_with_exposure
from trading.evidence.bootstrap import TINY
from trading.evidence.case import CONSTANTS, Case
from trading.evidence.draws import share_as_large
from trading.evidence.null import circular_shifts
from trading.evidence.reality_check import reality_check
from trading.evidence.records import Record, interval
from trading.evidence.sensitivity import (
    break_even_cost,
    cost_latency_surface,
    liquidation_leverage,
    return_over_leverage,
)

Floats = NDArray[np.float64]

COSTS_BPS = tuple(x / 2 for x in range(0, 41))
LATENCIES = tuple(range(0, 13))
LEVERAGES = np.arange(0, 401) / 40
MOST_BPS, MOST_LEVERAGE = 1000.0, 200.0


def reality_record(case: Case, block: int) -> Record:
    """Hansen's and White's tests of all variants against the best constant position.

    There is no p-value for one variant alone, nor where each variant is that position.
    """
    settings = case.settings
    record: Record = {
        "statistic": None,
        "p_value": None,
        "interval": None,
        "method": "Hansen's test of superior predictive ability over all variants against the best constant exposure "
        "in hindsight, mean log growth a bar, stationary bootstrap; White's reality check beside it",
        "settings": {"draws": settings.reality_check, "block": block, "variants": len(case.variant_paths)},
        "seed": settings.seed,
        "p_value_white": None,
        "benchmark_exposure": None,
        "best": None,
    }
    if not case.variants:
        return record
    exposure, _ = best_constant(case.returns, case.leverage, case.execution)
    position = math.copysign(1.0, exposure) * np.ones(case.bars)
    benchmark = _log_growth(case, position, abs(exposure))
    logs = np.log(np.maximum([path.growth for path in case.variant_paths.values()], TINY))
    rng = settings.generator("reality_check")
    found = reality_check(benchmark, logs, block, settings.reality_check, rng)
    record["benchmark_exposure"] = exposure
    if found is None:
        return record
    return record | {
        "statistic": found.difference,
        "p_value": found.hansen,
        "p_value_white": found.white,
        "best": list(case.variant_paths)[found.best],
    }


def base_record(case: Case, differences: Record) -> Record:
    """The trained model against the one before training, and the spread over variants."""
    right = {key: case.paths[key].position * case.returns > 0 for key in ("trained", "base")}
    only_trained = int((right["trained"] & ~right["base"]).sum())
    only_base = int((right["base"] & ~right["trained"]).sum())
    ends = {name: float(path.growth.prod() - 1) for name, path in case.variant_paths.items()}
    spread = sorted(ends.values())
    return {
        "statistic": differences["base"]["statistic"],
        "p_value": differences["base"]["p_value"],
        "interval": differences["base"]["interval"],
        "method": "ratio of end capitals on the same hours, paired stationary bootstrap; hours in which only one "
        "of the two held the right side: exact binomial test (McNemar)",
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
        "p_value": share_as_large(ends - 1, observed),
        "interval": interval(ends - 1, settings.confidence),
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


def sensitivity_record(case: Case, asked_bps: float) -> Record:
    """Cost, latency, leverage; and who is ahead at `asked_bps`, basis points a side."""
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
        "at_cost": at_cost(case, asked_bps),
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


def at_cost(case: Case, asked_bps: float) -> Record:
    """Total returns at a cost: of the model, of the constant positions, and the median of the model's own shifts.

    A market that falls pays everybody who is short. An edge is what the model has beyond that.
    """
    execution = replace(case.execution, fee_bps=asked_bps, slippage_bps=0.0)
    shifts = circular_shifts(case.trained.astype(np.int8))
    total = {
        key: float(final_value(case.returns, case.sides[key], case.leverage, execution) - 1)
        for key in ("trained", *CONSTANTS)
    }
    median = float(np.median(final_value(case.returns, shifts, case.leverage, execution)) - 1)
    return {
        "cost_bps": asked_bps,
        "total_return": total,
        "median_shift": median,
        "ahead": total["trained"] > max(0.0, median, *(total[key] for key in CONSTANTS)),
    }


def binomial_tail(successes: int, trials: int) -> float:
    """Probability of at least so many heads of a fair coin, exactly; 1 without trials."""
    return sum(math.comb(trials, k) for k in range(successes, trials + 1)) / 2**trials


def _log_growth(case: Case, sides: Floats, leverage: float) -> Floats:
    return np.log(np.maximum(simulate(case.returns, sides, leverage, case.execution).growth, TINY))
