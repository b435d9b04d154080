"""Time of a training and of the questions: operations and bytes, divided by what GPUs reach of their peak."""

from __future__ import annotations

import math
from dataclasses import dataclass

from common.datasheet import Gpu
from grpo.shape import Qwen3Shape
from planning.machine import Engine, Task
from planning.model import cache_bytes, forward_flops, weights

# Shares of the peak that public runs reach, the second chosen by one of them: tests/unit/test_planning_published.py.
UTILISATION = 0.35  # of operations, in updates
BANDWIDTH_SHARE = 0.5  # of memory bandwidth, while answers grow
# Loading, releasing and sending weights, between the two phases of an iteration with a server; a guess: the step times
# of the run that chose the above leave 27 s, its evaluations among them.
HANDOVER_S = 15.0
# Published step times lie within this factor of the estimate either way.
FACTOR = 2
# Below, a GPU waits for kernels to be launched: the demo's model was 40 (updates) to 370 times (sampling) slower on an
# H100 than what follows from its peaks.
LEAST_WEIGHTS = 100_000_000


@dataclass(frozen=True)
class Pace:
    """Seconds of one iteration, if every answer runs to its limit; validations and checkpoints come on top."""

    rollout: float
    update: float
    handover: float
    tokens: int  # of an iteration's answers

    @property
    def tokens_per_second(self) -> float:
        """As `metrics.jsonl` counts them (`slime_engine.collect`, `grpo.loop`): of answers alone, on all GPUs."""
        return self.tokens / self.iteration

    @property
    def iteration(self) -> float:
        """All of it."""
        return self.rollout + self.update + self.handover


def pace(shape: Qwen3Shape, engine: Engine, task: Task, gpu: Gpu, at_once: int | None) -> Pace | None:
    """Time of an iteration; None for a model too small to say.

    Parameters
    ----------
    at_once
        Answers that a server can hold for each of its GPUs, from `planning.memory.footprint`; None for all.
    """
    if weights(shape) < LEAST_WEIGHTS:
        return None
    # Ranks of the own loop that share a model all sample the same; a server's GPUs share the reading.
    ranks, together = (task.gpus // task.server_gpus, task.server_gpus) if engine.server else (task.data, 1)
    answers = math.ceil(task.samples / ranks)
    held = max(1, at_once) * together if at_once is not None else answers
    rollout = sampling_seconds(shape, gpu, answers, held, task.prompt, task.answer, engine.number, together)
    update = update_seconds(shape, engine, task, gpu)
    handover = HANDOVER_S if engine.server else 0.0
    return Pace(rollout, update, handover, task.samples * task.answer)


def sampling_seconds(
    shape: Qwen3Shape, gpu: Gpu, answers: int, at_once: int, prompt: int, answer: int, number: int = 2, gpus: int = 1
) -> float:
    """Seconds in which `gpus` that share a model give `answers` of `answer` tokens each, `at_once` at a time.

    A step reads all weights once and every answer's cache, which is half grown on average, or is bound by the
    operations of its tokens where they are many (Pope et al. 2022, arXiv 2211.05102).
    """
    batch = min(answers, at_once)
    grown = prompt + answer / 2
    read = weights(shape) * number + batch * grown * cache_bytes(shape, number)
    speed = gpu.bf16 if number == 2 else gpu.fp32
    step = max(read / (gpu.bandwidth * BANDWIDTH_SHARE), batch * forward_flops(shape, grown) / (speed * UTILISATION))
    return answer * step / gpus * answers / batch


def update_seconds(shape: Qwen3Shape, engine: Engine, task: Task, gpu: Gpu) -> float:
    """Seconds of reference, old log-probabilities, forward and backward passes of a batch.

    A backward pass is two forward ones, recomputation one more. The own loop has old log-probabilities from its
    sampler.
    """
    forwards = 1 + (1 if engine.server else 0) + 3 + (1 if engine.recompute else 0)
    tokens = task.samples * task.length
    if engine.groups_whole:
        tokens = task.samples * (task.answer + task.prompt / task.group)
    speed = gpu.bf16 if engine.number == 2 else gpu.fp32
    return forwards * tokens * forward_flops(shape, task.length) / (task.gpus * speed * UTILISATION)
