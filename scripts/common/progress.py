"""Progress on long work: a line now and then, readable in a terminal and in a log file."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Print how far the work is and how long it will take, at most every few seconds.

    Plain lines, not a moving bar: the same stream goes to a terminal and to the rule's log.

    Parameters
    ----------
    total
        Units of work in all.
    unit
        What is counted ("iteration", "sample").
    done
        Units that an earlier run already did; they count as done, not for the speed.
    every
        Seconds between lines, at least.
    starts
        Whether something starts before the first units, which takes its time once: the estimate leaves it out.
    """

    def __init__(
        self,
        total: int,
        unit: str,
        done: int = 0,
        every: float = 5.0,
        stream: TextIO | None = None,
        starts: bool = False,
    ) -> None:
        self.total, self.unit, self.every, self.starts = total, unit, every, starts
        self.stream = stream or sys.stderr
        self.first = done
        self.start = time.monotonic()
        self.speed_from: tuple[float, int] | None = None  # when the first units were done, and how many
        self.last = float("-inf")

    def update(self, done: int, message: str = "") -> None:
        """Say that `done` units are finished; `message` is printed behind the estimate."""
        now = time.monotonic()
        since, before = self.speed_from or (self.start, self.first)
        if self.starts and self.speed_from is None and done > self.first:
            self.speed_from = now, done
        if done < self.total and now - self.last < self.every:
            return
        self.last = now
        elapsed, fresh = now - self.start, done - before
        left = duration((now - since) / fresh * (self.total - done)) if fresh else "unknown"
        share = 100 * done / self.total if self.total else 100
        line = f"{self.unit} {done}/{self.total} ({share:.0f}%), {duration(elapsed)} elapsed, {left} left"
        print(line + (f" | {message}" if message else ""), file=self.stream, flush=True)


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
