"""How a result depends on what it costs, how late it is filled and how much is borrowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trading.costs import Execution, delayed, final_value, is_liquidated

Floats = NDArray[np.float64]

GRID = 200


def cost_latency_surface(
    directions: NDArray,
    returns: Floats,
    leverage: float,
    execution: Execution,
    costs_bps: Sequence[float],
    latencies: Sequence[int],
) -> Floats:
    """Total return over cost and latency, in place of those of `execution`.

    Parameters
    ----------
    costs_bps
        Fee and slippage together, basis points a side.
    latencies
        Bars between decision and fill.

    Returns
    -------
    ndarray
        Shape (latencies, costs): fractions.
    """
    sides = np.array([delayed(np.asarray(directions), latency) for latency in latencies])
    terms = replace(execution, fee_bps=np.asarray(costs_bps, float), slippage_bps=0.0, latency=0)
    return final_value(returns, sides[:, np.newaxis], leverage, terms) - 1


def return_over_leverage(
    sides: NDArray, returns: Floats, leverages: Sequence[float] | Floats, execution: Execution
) -> Floats:
    """Total return of each strategy at each leverage, all at once.

    Parameters
    ----------
    sides
        Directions, shape (strategies, bars).

    Returns
    -------
    ndarray
        Shape (strategies, leverages): fractions.
    """
    ends = final_value(returns, np.asarray(sides)[:, np.newaxis], np.asarray(leverages, float), execution)
    return ends - 1


def break_even_cost(
    directions: NDArray, returns: Floats, leverage: float, execution: Execution, most_bps: float = 1000.0
) -> float | None:
    """Fee and slippage, basis points a side, at which nothing is earned; the other terms as they are.

    Returns
    -------
    float or None
        0 if nothing is earned without costs either; None if it still earns at `most_bps`.
    """
    low, high = 0.0, most_bps
    for _ in range(4):
        costs = np.linspace(low, high, GRID + 1)
        terms = replace(execution, fee_bps=costs, slippage_bps=0.0)
        losing = np.flatnonzero(final_value(returns, directions, leverage, terms) <= 1)
        if losing.size == 0:
            return None
        if losing[0] == 0:
            return 0.0
        low, high = float(costs[losing[0] - 1]), float(costs[losing[0]])
    return high


def liquidation_leverage(
    directions: NDArray, returns: Floats, execution: Execution, most: float = 200.0
) -> float | None:
    """Lowest leverage at which the account is liquidated.

    Returns
    -------
    float or None
        None if it is not at `most`.
    """
    low, high = 0.0, most
    for _ in range(4):
        leverages = np.linspace(low, high, GRID + 1)
        broken = np.flatnonzero(is_liquidated(returns, directions, leverages, execution))
        if broken.size == 0:
            return None
        if broken[0] == 0:
            return float(leverages[0])
        low, high = float(leverages[broken[0] - 1]), float(leverages[broken[0]])
    return high
