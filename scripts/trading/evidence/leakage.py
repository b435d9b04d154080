"""Leakage: no bar that a test prompt looks back on may belong to a training or validation sample.

That features use the past only is held by property tests. What lies between the splits is checked on the very
files that were trained and tested on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import read_jsonl
from trading.samples import HORIZON

Record = dict[str, Any]


def read_times(path: Path) -> list[str]:
    """Decision times of a sample file; a validation split may be empty.

    Raises
    ------
    InputError
        If the file is missing or a line is not a sample.
    """
    if path.is_file() and path.stat().st_size == 0:
        return []
    times = []
    for number, row in enumerate(read_jsonl(path), start=1):
        sample = row.get("metadata")
        time = sample.get("timestamp") if isinstance(sample, dict) else None
        if not isinstance(time, str):
            raise InputError(f"{path}, line {number}: no metadata.timestamp. Run samples again.")
        times.append(time)
    return times


def leakage_record(
    bars: Sequence[str], splits: Mapping[str, Sequence[str]], look_back: int, probe: Mapping[str, Any] | None = None
) -> Record:
    """What evidence.json says of leakage.

    Parameters
    ----------
    bars
        Times of all bars.
    splits
        Decision times of train, validation and test, in this order; an empty split is left out.
    look_back
        Bars before the decision that a prompt depends on.
    probe
        What the leakage probe found, if it ran.

    Returns
    -------
    dict
        The statistic is the number of bars between the last one that an earlier split's results come from and
        the first one that a later split's prompts depend on, the smallest over all pairs of neighbours.

    Raises
    ------
    ValueError
        If a time is not a bar's, or two splits share a bar: nothing may then be said of the result.
    """
    index = {time: number for number, time in enumerate(bars)}
    names = [name for name, times in splits.items() if times]
    for name in names:
        missing = next((time for time in splits[name] if time not in index), None)
        if missing is not None:
            raise ValueError(f"the {name} samples decide at {missing}, which the bars do not have")
    ends = {name: (index[splits[name][0]] - look_back, index[splits[name][-1]] + HORIZON) for name in names}
    distances = {}
    for earlier, later in pairwise(names):
        distances[f"{earlier} to {later}"] = free = ends[later][0] - ends[earlier][1] - 1
        if free < 0:
            raise ValueError(f"the {later} samples look back on {-free} bars of the {earlier} samples")
    return {
        "statistic": min(distances.values(), default=None),
        "p_value": None,
        "interval": None,
        "method": "bars that belong to neither of two neighbouring splits, looking back and results included; "
        "evaluate stops where two splits share one",
        "settings": {"look_back": look_back, "horizon": HORIZON},
        "seed": None,
        "free_bars": distances,
        "probe": dict(probe) if probe else None,
        "verdict": "passed" if distances else "not applicable",
    }


def probe_summary(probe: Mapping[str, Any]) -> Record:
    """What the evidence keeps of the leakage probe: all but where it comes from."""
    return {key: value for key, value in probe.items() if key not in ("parameters", "inputs", "versions")}
