"""slime while it runs: its output is written down, understood and watched, its checkpoints pruned."""

from __future__ import annotations

import argparse
import collections
import itertools
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.datasheet import known
from common.errors import InputError
from common.journal import Journal
from common.progress import Progress
from grpo.metrics import describe, finite, merged_metrics
from grpo.shape import Qwen3Shape
from slime_engine import checkpoints, cluster, processes
from slime_engine.collect import Collector, Parts, Sizes
from slime_engine.layout import Layout
from slime_engine.logs import parse_line, said
from slime_engine.watch import Limits, Watch

SAVE = "slime"  # folder of its checkpoints
LAST_LINES = 40  # of slime's output, searched for the error where it fails


def fill(journal: Journal, collector: Collector, done: int) -> None:
    """Add rows for iterations that a checkpoint holds but the journal does not know, because slime was killed.

    They hold what the hook wrote down, if anything, null for the rest, and are marked as incomplete.
    """
    known = {row["iteration"] for row in journal.rows}
    lost = [iteration for iteration in range(1, done + 1) if iteration not in known]
    for iteration in lost:
        row = collector.row(iteration, Parts()) | {"spike": None, "slowest_over_median": None}
        journal.append([{name: finite(value) for name, value in row.items()}])
    if lost:
        print(
            f"metrics of {len(lost)} iterations were lost, the first is {lost[0]}: their rows are incomplete",
            flush=True,
        )


class Run:
    """slime's output, line by line: written down, understood, watched.

    Parameters
    ----------
    done
        Iterations that an earlier start finished.
    """

    def __init__(
        self, settings: argparse.Namespace, folder: Path, journal: Journal, collector: Collector, done: int
    ) -> None:
        self.settings, self.folder, self.journal, self.collector = settings, folder, journal, collector
        self.progress = Progress(settings.iterations, "iteration", done=done, starts=True)
        rows = merged_metrics(journal.rows, done)
        losses = [row["loss"] for row in rows if row["loss"] is not None]
        spikes = len(list(itertools.takewhile(lambda row: row["spike"], reversed(rows))))
        self.watch = Watch(limits_of(settings), losses[-1] if losses else None, spikes=spikes)
        self.validations: dict[int, dict[str, float]] = {}  # by iteration
        self.heard_of = 0  # the last of them
        self.last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self.first_error: str | None = None  # since the last metrics: tracebacks of many processes may follow
        self.whole = done
        self.heard = time.monotonic()

    def follow(self, command: list[str], variables: Mapping[str, str], ray: cluster.Ray) -> None:
        """Run slime to its end.

        Raises
        ------
        InputError
            If it fails, or too much stands out.
        """
        with (
            open(self.folder / "slime.log", "ab") as log,
            processes.process(command, variables, subprocess.PIPE, self.folder) as slime,
        ):
            assert slime.stdout is not None
            for raw in processes.lines(slime.stdout):
                if raw is None:
                    ray.check()
                    self.check_progress()
                    continue
                log.write(raw + b"\n")
                log.flush()
                self.line(raw.decode(errors="replace"))
            code = slime.wait()
        if not code:
            self.finish()
        if code:
            raise InputError(f"slime: ended with exit code {code} ({self.error()}); {self.hint()}")

    def line(self, line: str) -> None:
        """Take in one line of output."""
        record = parse_line(line)
        if record is None:
            self.last.append(line)
            if self.first_error is None and is_error(said(line)):
                self.first_error = said(line)
            return
        self.first_error = None  # it went on
        self.heard = time.monotonic()
        if record.kind == "eval":
            self.validated(record.number + 1)
            return
        self.collector.take(record)
        for row in self.collector.ready():
            self.take(row)

    def take(self, row: dict[str, Any]) -> None:
        """One iteration is done: judge its loss and its time, write its row."""
        iteration, loss = row["iteration"], row["loss"]
        row = self.record(row)
        for message in self.watch.messages(iteration, loss, row["slowest_over_median"]):
            print(message, flush=True)
        if self.collector.answers:
            print("\n".join([f"answers of iteration {iteration}:", *self.collector.answers]), flush=True)
        words = "slime's metrics are incomplete" if row["incomplete"] else describe(row, self.collector.sizes.kl)
        self.progress.update(iteration, words)
        saved = [number for number in checkpoints.whole_iterations(self.folder / SAVE) if number <= iteration]
        self.watch.check(iteration, loss, str(self.folder / SAVE), saved)
        self.prune(iteration)

    def record(self, row: dict[str, Any]) -> dict[str, Any]:
        """Write a row, at once: slime saves before it validates, and may be ended in between."""
        row["spike"], ratio = self.watch.see(row["loss"], row["seconds"])
        # The time over the median of the iterations before; slime says nothing of single ranks.
        row["slowest_over_median"] = ratio
        if row["iteration"] in self.validations:
            row["validation"] = self.validations[row["iteration"]]
        # JSON has no NaN: what is not finite (a spike) is null.
        row = {name: finite(value) for name, value in row.items()}
        self.journal.append([row])
        return row

    def validated(self, iteration: int) -> None:
        """slime has asked the validation prompts; before the first iteration it does so, too."""
        lost = max((iteration - self.heard_of) // self.settings.validate_every - 1, 0) if self.heard_of else 0
        means = self.collector.judgements.of_validation(self.collector.sizes.validation, lost)
        if not means:
            return
        if iteration == 1 and not self.collector.began(1):
            print(f"before training: validation reward {means['reward']:+.3f}", flush=True)
            return
        print(f"after iteration {iteration}: validation reward {means['reward']:+.3f}", flush=True)
        self.validations[iteration], self.heard_of = means, iteration
        if iteration in self.collector.done:  # its row again, of which the later one counts
            row = next(row for row in reversed(self.journal.rows) if row["iteration"] == iteration)
            self.journal.append([row | {"validation": means}])

    def finish(self) -> None:
        """slime has ended well: what it said last may have been lost on the way."""
        for row in self.collector.rest():
            self.take(row)
        last, every = self.settings.iterations, self.settings.validate_every
        if every and last % every == 0 and last not in self.validations:
            self.validated(last)
        self.prune(last)

    def leave(self) -> None:
        """Write what is known of iterations whose rows still waited for a line, however slime ended."""
        for row in self.collector.rest():
            self.record(row)

    def prune(self, iteration: int) -> None:
        """Delete old checkpoints when there is a new one; the newest one before spikes in a row stays while they last.

        Parameters
        ----------
        iteration
            The one that the watch saw last: what is newer deletes nothing yet.
        """
        save = self.folder / SAVE
        whole = [number for number in checkpoints.whole_iterations(save) if number <= iteration]
        if whole and whole[-1] > self.whole:
            self.whole = whole[-1]
            self.journal.sync()
            good = self.watch.good(iteration, whole) if self.watch.spikes else None
            checkpoints.prune(save, self.settings.keep, self.whole, good)

    def check_progress(self) -> None:
        """Raise InputError if no metrics came for too long, whatever else slime says: it may wait for ever."""
        silent = time.monotonic() - self.heard
        if silent > self.settings.slime_timeout_s:
            raise InputError(f"slime: no metrics for {silent:.0f} s (train.slime.timeout_s); {self.hint()}")

    def error(self) -> str:
        """The lines of slime's output that most likely say why it failed: the first error and the last one."""
        lines = [text for text in map(said, self.last) if text]
        last = (list(filter(is_error, lines)) or lines or ["no output"])[-1][:300]
        if self.first_error is None or self.first_error[:300] == last:
            return last
        return f"first {self.first_error[:300]}; last {last}"

    def hint(self) -> str:
        """Where to look, and where it goes on."""
        whole = checkpoints.whole_iterations(self.folder / SAVE)
        where = f"run again to go on from iteration {whole[-1]}" if whole else "no checkpoint was written yet"
        return f"all it said is in {self.folder / 'slime.log'}; {where}."


def is_error(text: str) -> bool:
    """Whether a line ends a traceback: it names an exception."""
    return "Error" in text.partition(":")[0]


def sizes_of(settings: argparse.Namespace, validation: int, shape: Mapping[str, Any], gpu: str) -> Sizes:
    """What an iteration of these settings consists of, how many prompts a validation has, and what all runs on.

    Parameters
    ----------
    shape
        The fields of `grpo.shape.Qwen3Shape`.
    gpu
        A GPU's name, as CUDA and nvidia-smi give it.
    """
    listed = known(gpu)
    return Sizes(
        settings.prompts_per_iteration,
        settings.group_size,
        settings.updates_per_iteration,
        settings.learning_rate,
        settings.warm_up_iterations,
        settings.decay_iterations,
        settings.kl_beta > 0,
        validation,
        Qwen3Shape(**shape),
        listed.bf16 * Layout.of(settings).gpus if listed else None,
    )


def limits_of(settings: argparse.Namespace) -> Limits:
    """When these settings stop a training."""
    return Limits(
        settings.spike_threshold,
        settings.spike_floor,
        settings.spike_action,
        settings.spike_limit,
        settings.straggler_ratio,
        settings.slime_straggler_window,
        settings.slime_straggler_limit,
    )
