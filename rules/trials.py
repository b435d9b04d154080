"""Later trials: what the ledger holds by other runs on this run's test hours, so that an evaluation learns of them."""

from __future__ import annotations

import csv
import functools
import json
import sys
from datetime import datetime
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from common.errors import InputError
from trading.evidence.trials import Window, of_other_runs, window_of


def trials_elsewhere(results: Path, ledger: Path) -> int:
    """Variants of other runs on hours of the same market that overlap the test hours.

    It changes when another run evaluates something on these hours, and not when this one does: as a parameter of
    evaluate it has the tests made again where their number of trials is out of date, once.

    Parameters
    ----------
    results
        results/<run>; before there are test hours in it the number is 0.
    ledger
        results/ledger.
    """
    samples, bars = results / "samples" / "test.jsonl", results / "market" / "bars.csv"
    try:
        hours = _test_hours(samples, bars, samples.stat().st_mtime_ns, bars.stat().st_mtime_ns)
        return of_other_runs(ledger, hours, results.name)
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return 0  # not there yet, or broken: evaluate says what is wrong


@functools.lru_cache(maxsize=1)
def _test_hours(samples: Path, bars: Path, *changed: int) -> Window:
    """The hours of the test samples; read again when a file has changed, and not for each leverage."""
    with open(samples, encoding="utf-8") as handle:
        first, *_, last = [json.loads(line)["metadata"]["timestamp"] for line in handle]
    with open(bars, encoding="utf-8", newline="") as handle:
        rows = [(row["timestamp"], float(row["close"])) for row in csv.DictReader(handle)]
    times = [time for time, _ in rows]
    span = slice(times.index(first), times.index(last) + 2)
    seconds = [int(datetime.fromisoformat(time).timestamp()) for time in times[span]]
    return window_of(seconds, [close for _, close in rows[span]])
