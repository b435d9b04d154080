"""A task that a tiny model learns in a minute, and the settings it is trained with."""

from __future__ import annotations

from collections.abc import Callable

import torch

from grpo.learner import Learner, full_weights
from grpo.loop import LoopSettings
from grpo.task import Judgement, Task
from tensor_sums import checksum

STOP = 5


def task(reward: Callable[[int, str], float] | None = None) -> Task:
    """Say small even numbers: the reward is the share of them in the answer."""

    def judge(number: int, text: str, truncated: bool) -> Judgement:
        words = text.split()
        value = reward(number, text) if reward else sum(int(w) % 2 == 0 for w in words) / len(words)
        return Judgement(value, {"buy": float(words[0] == "6"), "invalid": float(truncated)})

    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(6, 64, (4 + n % 3,), generator=generator) for n in range(12)]
    return Task(
        prompts=prompts,
        strata=[list(range(6)), list(range(6, 12))],
        judge=judge,
        decode=lambda answers: [" ".join(map(str, a)) for a in answers],
        stop=STOP,
        validation_prompts=prompts[:5],
        validation_judge=judge,
    )


def settings(**changes: object) -> LoopSettings:
    values: dict[str, object] = {
        "iterations": 6,
        "prompts_per_iteration": 4,
        "group_size": 4,
        "max_new_tokens": 5,
        "learning_rate": 3e-3,
        "save_every": 2,
        "keep": 2,
        "seed": 1,
    }
    return LoopSettings(**{**values, **changes})


def quiet(_: str) -> None:
    return None


def weights_of(learner: Learner) -> str:
    return checksum({name: p.detach() for name, p in full_weights(learner.model).items()})
