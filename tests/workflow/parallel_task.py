"""The small task that parallel_driver.py trains on."""

from __future__ import annotations

import time

import torch

from grpo.loop import LoopSettings
from grpo.qwen3 import Qwen3Shape
from grpo.task import Judgement, Task

SHAPE = Qwen3Shape(2, 32, 4, 2, 8, 48, 64, 1e6, 1e-6, True, 128)
ITERATIONS, PROMPTS, GROUP, UPDATES = 20, 8, 4, 2


def settings() -> LoopSettings:
    return LoopSettings(
        iterations=ITERATIONS,
        prompts_per_iteration=PROMPTS,
        group_size=GROUP,
        max_new_tokens=6,
        learning_rate=1e-3,
    )


def task(slow: bool = False, device: torch.device | None = None, validation: int = 0) -> Task:
    def judge(number: int, text: str, truncated: bool) -> Judgement:
        if slow:
            time.sleep(0.02)
        words = [int(word) for word in text.split()]
        return Judgement(sum(word % 2 == 0 for word in words) / len(words), {"long": float(truncated)})

    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(6, 64, (4 + n % 3,), generator=generator).to(device) for n in range(24)]
    return Task(
        prompts=prompts,
        strata=[list(range(24))],
        judge=judge,
        decode=lambda answers: [" ".join(map(str, a)) for a in answers],
        stop=5,
        validation_prompts=prompts[:validation],
        validation_judge=judge,
    )
