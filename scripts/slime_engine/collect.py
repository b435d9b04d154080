"""From slime's lines and the reward hook's journal to this project's metrics: one row an iteration."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpo.schedule import learning_rate
from grpo.shape import Qwen3Shape
from slime_engine.logs import Record
from slime_engine.speed import ROLLOUT, TRAIN, handover_seconds, iteration_seconds, model_flops

Values = dict[str, float]


@dataclass(frozen=True)
class Sizes:
    """What an iteration consists of, its learning rate, and what it runs on."""

    prompts: int
    group_size: int
    updates: int
    learning_rate: float
    warm_up: int
    decay: int
    kl: bool  # whether there is a reference to compare with
    validation: int = 0  # prompts of a validation, each answered once
    shape: Qwen3Shape | None = None
    peak: float | None = None  # FLOP/s of all GPUs together; None where it is not known

    @property
    def answers(self) -> int:
        """Answers of one iteration."""
        return self.prompts * self.group_size


@dataclass
class Parts:
    """What is known of one iteration so far."""

    steps: dict[int, Values] = field(default_factory=dict)
    rollout: Values = field(default_factory=dict)
    perf: Values = field(default_factory=dict)


class Collector:
    """Puts together what several processes print, in whatever order it comes.

    Parameters
    ----------
    journal
        The hook's judgements since this start of slime.

    Attributes
    ----------
    answers
        Of the last row's iteration, those that are to be shown, as lines.
    done
        Iterations whose rows were given.
    """

    def __init__(self, sizes: Sizes, journal: Path) -> None:
        self.sizes = sizes
        self.judgements = Judgements(journal)
        self.parts: dict[int, Parts] = {}
        self.done: set[int] = set()
        self.answers: list[str] = []

    def take(self, record: Record) -> None:
        """Add what one line says."""
        if record.kind == "eval":
            return  # the hook's journal says more
        number, step = divmod(record.number, self.sizes.updates) if record.kind == "step" else (record.number, 0)
        if number + 1 in self.done:
            return  # too late
        parts = self.parts.setdefault(number + 1, Parts())
        if record.kind == "step":
            parts.steps[step] = record.values
        else:
            # Two processes print a perf line each.
            (parts.perf if record.kind == "perf" else parts.rollout).update(record.values)

    def ready(self) -> Iterator[dict[str, Any]]:
        """Rows of the iterations of which everything is known, rising; each once.

        slime does one iteration after another: what is unknown of one when the next but one begins was lost on the
        way, and its row comes without it.
        """
        for iteration in sorted(self.parts):
            if not (self.whole(iteration) or max(self.parts) > iteration + 1):
                return
            yield from self.give(iteration)

    def rest(self) -> Iterator[dict[str, Any]]:
        """At the end of slime's output: rows of what is left, with what is known of it."""
        for iteration in sorted(self.parts):
            yield from self.give(iteration)

    def whole(self, iteration: int) -> bool:
        """Whether all lines of an iteration have come."""
        parts = self.parts[iteration]
        return len(parts.steps) == self.sizes.updates and parts.perf.keys() >= _WHOLE

    def began(self, iteration: int) -> bool:
        """Whether anything was said of an iteration."""
        return iteration in self.parts or iteration in self.done

    def give(self, iteration: int) -> Iterator[dict[str, Any]]:
        """The row of an iteration, of which nothing more is taken."""
        self.done.add(iteration)
        yield self.row(iteration, self.parts.pop(iteration))

    def row(self, iteration: int, parts: Parts) -> dict[str, Any]:
        """The metrics of an iteration, under the names that the other engine uses; None for what is not known.

        Its seconds are those of `speed.iteration_seconds`; ``step_seconds``, slime's own, count the checkpoint and the
        validation of the iteration before, too. FLOPs need all answers, and their share of the peak a listed GPU.
        """
        sizes, perf = self.sizes, parts.perf
        judged = self.judgements.of_iteration(iteration)
        self.answers = shown(judged)
        mean = {name: mean_of(parts.steps, f"train/{name}") for name in _STEP}
        seconds, flops = iteration_seconds(perf), self.flops(judged)
        tokens, speed = sum(row["tokens"] for row in judged), flops / seconds if flops and seconds else None
        return {
            "iteration": iteration,
            **reward_metrics(judged),
            "loss": mean["loss"],
            "kl": mean["kl_loss"] if sizes.kl else None,
            "entropy": mean["entropy_loss"],
            "update_loss": mean["loss"],
            "clip_fraction": mean["pg_clipfrac"],
            "grad_norm": mean["grad_norm"],
            "response_tokens": tokens / len(judged) if judged else None,
            "learning_rate": learning_rate(iteration, sizes.learning_rate, sizes.warm_up, sizes.decay),
            "skipped": False,
            "tokens_per_second": tokens / seconds if seconds else None,
            "model_flops_per_second": speed,
            "mfu": speed / sizes.peak if speed and sizes.peak else None,
            "seconds": seconds,
            "handover_seconds": handover_seconds(perf),
            "rollout_seconds": perf.get(ROLLOUT),
            "reference_seconds": perf.get("perf/ref_log_probs_time"),
            "update_seconds": perf.get(_UPDATE),
            "step_seconds": perf.get("perf/step_time"),
            # How far the trainer's probabilities are from those that SGLang sampled with.
            "rollout_logprob_difference": mean["train_rollout_logprob_abs_diff"],
            "answers_judged": len(judged),
            "incomplete": len(judged) < sizes.answers or len(parts.steps) < sizes.updates or not perf.keys() >= _WHOLE,
        }

    def flops(self, judged: Sequence[dict[str, Any]]) -> float | None:
        """FLOPs of an iteration; None if an answer is missing, or was written down without its prompt's length."""
        sizes = self.sizes
        whole = len(judged) == sizes.answers and all("prompt_tokens" in row for row in judged)
        return model_flops(judged, sizes.shape, sizes.group_size, sizes.kl) if sizes.shape and whole else None


_UPDATE = "perf/actor_train_time"
_WHOLE = frozenset({ROLLOUT, TRAIN, _UPDATE})
_STEP = ("loss", "kl_loss", "entropy_loss", "pg_clipfrac", "grad_norm", "train_rollout_logprob_abs_diff")


def mean_of(steps: dict[int, Values], name: str) -> float | None:
    """Mean over an iteration's optimiser steps; None if slime does not report it, NaN if one of them is."""
    values = [step[name] for step in steps.values() if name in step]
    return statistics.fmean(values) if values else None


def reward_metrics(judged: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread of the rewards, shares of BUY and of invalid answers, groups without a gradient."""
    if not judged:
        return {"reward": None, "reward_std": None, "buy": None, "invalid": None, "flat_groups": None}
    rewards = [row["reward"] for row in judged]
    groups: dict[int, set[float]] = {}
    for row in judged:
        groups.setdefault(row["group"], set()).add(row["reward"])
    return {
        "reward": statistics.fmean(rewards),
        "reward_std": statistics.pstdev(rewards),
        "buy": sum(row["buy"] for row in judged) / len(judged),
        "invalid": sum(row["invalid"] for row in judged) / len(judged),
        "flat_groups": sum(len(values) == 1 for values in groups.values()),
    }


class Judgements:
    """The hook's journal, read as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        self.train: dict[int, list[dict[str, Any]]] = {}
        self.validation: list[dict[str, Any]] = []

    def read(self) -> None:
        """Take in what is new; a line that is not whole yet waits."""
        if not self.path.exists():
            return
        with open(self.path, "rb") as handle:
            handle.seek(self.position)
            for line in handle:
                if not line.endswith(b"\n"):
                    break
                self.position += len(line)
                row = json.loads(line)
                if row["split"] == "train":
                    self.train.setdefault(row["iteration"], []).append(row)
                else:
                    self.validation.append(row)

    def of_iteration(self, iteration: int) -> list[dict[str, Any]]:
        """Judgements of an iteration's answers, which are forgotten then."""
        self.read()
        return sorted(self.train.pop(iteration, []), key=lambda row: (row["group"], row["number"]))

    def of_validation(self, answers: int, lost: int = 0) -> dict[str, float] | None:
        """Means over the next validation's answers; None if there are none.

        Parameters
        ----------
        answers
            Of one validation: where a line comes late, those of the next one are in the journal, too.
        lost
            Validations in between of which no line came.
        """
        self.read()
        waiting = self.validation[lost * answers :]
        judged, self.validation = waiting[:answers], waiting[answers:]
        if not judged:
            return None
        return {name: statistics.fmean(float(row[name]) for row in judged) for name in ("reward", "buy", "invalid")}


def shown(judged: Sequence[dict[str, Any]]) -> list[str]:
    """The answers that the hook kept for people, as the other engine prints them."""
    lines: list[str] = []
    asked = None
    for row in judged:
        if "said" not in row:
            continue
        if row["asked"] != asked:
            asked = row["asked"]
            lines.append(f"  asked: {' '.join(asked.split())}")
        lines.append(f"    {row['reward']:+.3f}  {' '.join(row['said'].split())}")
    return lines
