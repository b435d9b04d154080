"""What is learned: prompts, and who judges the answers to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Judgement:
    """What a judge says of one answer: its reward, and shares to average ("buy": 1.0, "invalid": 0.0)."""

    reward: float
    shares: dict[str, float]


# Number of the prompt, text of the answer, whether it was cut by the token limit.
Judge = Callable[[int, str, bool], Judgement]


@dataclass(frozen=True)
class Task:
    """What is learned: prompts, who judges the answers, and how to read them."""

    prompts: Sequence[torch.Tensor]
    strata: Sequence[Sequence[int]]
    judge: Judge
    decode: Callable[[list[list[int]]], list[str]]
    stop: int
    validation_prompts: Sequence[torch.Tensor] = ()
    validation_judge: Judge | None = None
