"""The optimiser's steps against torch's own AdamW, fed the same gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from grpo.advantages import group_advantages
from grpo.learner import Learner
from grpo.rollout import draw_uniforms
from grpo.schedule import random_generator

RATE, GROUP, PROMPTS = 1e-2, 4, 4


def updated(learner: Learner) -> list[dict[str, torch.Tensor]]:
    """One iteration of two steps; the gradients of each, by name."""
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(6, 64, (4 + n,), generator=generator) for n in range(PROMPTS)]
    uniforms = draw_uniforms(random_generator(1), PROMPTS * GROUP, 5)
    rollouts = learner.sampler(5).sample(prompts, GROUP, 5, uniforms)
    advantages = group_advantages(torch.randn(PROMPTS * GROUP, generator=generator), GROUP)
    gradients, step = [], learner.optimizer.step

    def watched() -> tuple:
        gradients.append({name: p.main_grad.clone() for name, p in learner.model.named_parameters()})
        return step()

    learner.optimizer.step = watched
    learner.update(rollouts, advantages, learner.reference_logprobs(rollouts), RATE)
    return gradients


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_are_those_of_adam_whose_weight_decay_leaves_the_norms_alone(
    make_learner: Callable[..., Learner], decay: float
) -> None:
    learner = make_learner(weight_decay=decay, grad_clip=1e9)
    plain = {name: p.detach().clone().requires_grad_() for name, p in learner.model.named_parameters()}
    gradients = updated(learner)
    assert len(gradients) == 2
    groups = [
        {"params": [p for p in plain.values() if p.dim() > 1], "weight_decay": decay},
        {"params": [p for p in plain.values() if p.dim() == 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=RATE)
    for step in gradients:
        for name, parameter in plain.items():
            parameter.grad = step[name]
        adam.step()
    for name, parameter in learner.model.named_parameters():
        # Two decays of a gain of about 1 would be 2e-3.
        assert float((parameter - plain[name]).detach().abs().max()) < 1e-5, name
