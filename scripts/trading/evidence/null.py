"""The exposure-matched null: the model's own positions, moved in time, so that only their timing differs.

Two families of draws, because each keeps what the other breaks. Circular shifts keep the positions as they are,
clusters of them included, but there are only as many as bars. Permutations exchange the lengths of the runs of
equal position within each direction: as many draws as wanted, with the same shares long, short and flat, the same
holding lengths and the same number of trades, but clusters of short runs are dispersed. The test reports both
and counts the larger p-value.

A shift to earlier bars by no more than the look-back puts decisions on bars whose outcome they have seen: such a
trader knows the future, is no draw of chance, and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trading.evidence.draws import share_as_large, share_below

Directions = NDArray[np.int8]
Floats = NDArray[np.float64]

# Paths traded at once: enough to make the loop over bars cheap, few enough to stay in the cache.
CHUNK = 2048


@dataclass(frozen=True)
class Family:
    """What one family of draws earned.

    Attributes
    ----------
    values
        Statistic of each draw, shape (draws,).
    p_value
        Share of the draws that did at least as well, the observed one counted among them, so never 0.
    turnover
        Mean over the draws of the change of direction a bar (2 for a reversal, 1 for an entry).
    """

    values: Floats
    p_value: float
    turnover: float


@dataclass(frozen=True)
class Null:
    """Where the observed positions fall among their own rearrangements.

    Attributes
    ----------
    observed
        Statistic of the positions as they were.
    p_value
        The larger one of the two families' p-values; one-sided, small if the observed did better than chance.
    p_value_worse
        The same for doing worse than chance.
    percentile, percentile_shifts
        Share of the permutations and of the shifts that did worse, ties counted half, between 0 and 1.
    runs
        Runs of equal position.
    turnover
        Change of direction a bar of the observed positions.
    """

    observed: float
    shifts: Family
    permutations: Family
    p_value: float
    p_value_worse: float
    percentile: float
    percentile_shifts: float
    runs: int
    turnover: float


def exposure_matched_null(
    directions: NDArray,
    statistic: Callable[[Directions], Floats],
    draws: int,
    rng: np.random.Generator,
    look_back: int = 0,
    latency: int = 0,
) -> Null:
    """Compare `directions` with its circular shifts and with `draws` permutations of its runs.

    Parameters
    ----------
    directions
        Decision at every bar, shape (bars,): 1, -1 or 0. Positions that never change have p-value 1.
    statistic
        What paths of directions, shape (paths, bars), earn: larger is better; shape (paths,).
    draws
        Permutations.
    rng
        Source of the permutations.
    look_back
        Bars before its own that a decision may depend on: so many shifts are left out, half of them at most.
    latency
        Bars after which `statistic` fills a decision: the shifts that know the future begin as much later.

    Raises
    ------
    ValueError
        If there are fewer than two bars, no draws, or a look-back below 0.
    """
    directions = np.asarray(directions).astype(np.int8)
    if directions.ndim != 1 or directions.size < 2:
        raise ValueError(f"directions must be one row of at least two bars, got shape {directions.shape}")
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    if look_back < 0:
        raise ValueError(f"look_back must be at least 0, got {look_back}")
    observed = float(statistic(directions[np.newaxis])[0])
    shifted = circular_shifts(directions)
    unseen = np.ones(len(shifted), dtype=bool)
    unseen[latency : latency + min(look_back, len(shifted) // 2)] = False
    shifted = shifted[unseen] if look_back else shifted
    shifts = _family(_chunks(shifted), statistic, observed)
    permutations = _family(
        (run_permutations(directions, size, rng) for size in _sizes(draws)),
        statistic,
        observed,
    )
    families = (shifts, permutations)
    return Null(
        observed=observed,
        shifts=shifts,
        permutations=permutations,
        p_value=max(family.p_value for family in families),
        p_value_worse=max(share_as_large(-family.values, -observed) for family in families),
        percentile=share_below(permutations.values, observed),
        percentile_shifts=share_below(shifts.values, observed),
        runs=len(run_starts(directions)),
        turnover=float(turnover(directions[np.newaxis])[0]),
    )


def circular_shifts(directions: Directions) -> Directions:
    """Every rotation of `directions` but the one that changes nothing, shape (bars - 1, bars); not copied.

    Row k holds at each bar the decision of k + 1 bars later.
    """
    twice = np.concatenate([directions, directions[:-1]])
    return np.lib.stride_tricks.sliding_window_view(twice, directions.size)[1:]


def run_permutations(directions: Directions, draws: int, rng: np.random.Generator) -> Directions:
    """Exchange the lengths of runs of equal position among the runs of the same direction.

    Returns
    -------
    ndarray
        Shape (draws, bars). Each row has the order of directions, the shares and the holding lengths of
        `directions`.
    """
    starts = run_starts(directions)
    side = directions[starts]
    lengths = np.tile(np.diff(np.append(starts, directions.size)), (draws, 1))
    for value in np.unique(side):
        own = np.flatnonzero(side == value)
        lengths[:, own] = rng.permuted(lengths[:, own], axis=1)
    return np.repeat(np.tile(side, draws), lengths.ravel()).reshape(draws, directions.size)


def run_starts(directions: Directions) -> NDArray[np.intp]:
    """Index of the first bar of each run of equal position."""
    return np.append(0, np.flatnonzero(np.diff(directions)) + 1)


def turnover(directions: Directions) -> Floats:
    """Change of direction a bar, entry included; shape (paths, bars) to (paths,)."""
    change = np.abs(np.diff(directions, axis=-1)).sum(axis=-1, dtype=np.int64)
    return (change + np.abs(directions[..., 0])) / directions.shape[-1]


def _family(draws: Iterable[Directions], statistic: Callable[[Directions], Floats], observed: float) -> Family:
    values, turnovers = [], []
    for chunk in draws:
        values.append(statistic(chunk))
        turnovers.append(turnover(chunk))
    value = np.concatenate(values)
    return Family(value, share_as_large(value, observed), float(np.concatenate(turnovers).mean()))


def _sizes(draws: int) -> list[int]:
    return [min(CHUNK, draws - done) for done in range(0, draws, CHUNK)]


def _chunks(paths: Directions) -> Iterable[Directions]:
    return (paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK))
