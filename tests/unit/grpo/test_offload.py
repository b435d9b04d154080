"""Adam on the host takes the steps of Megatron's plain optimiser, with its state there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from test_learner import updated

from grpo.learner import ComputeSettings, Learner
from grpo.offload import HOST

MakeLearner = Callable[..., Learner]


def stepped(make_learner: MakeLearner, compute: ComputeSettings, clip: float, decay: float = 0.1) -> Learner:
    """A learner after one iteration of two steps."""
    learner = make_learner(compute, weight_decay=decay, grad_clip=clip)
    updated(learner)
    return learner


def farthest(one: Learner, other: Learner) -> float:
    weights = zip(one.model.parameters(), other.model.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in weights)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("clip", [1e9, 0.01], ids=["unclipped", "clipped"])
def test_steps_are_those_of_the_plain_optimiser(
    make_learner: MakeLearner, precision: str, clip: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = stepped(make_learner, ComputeSettings(precision), clip)
    offloaded = ComputeSettings(precision, optimizer="offloaded")
    host = stepped(make_learner, offloaded, clip)
    # Two steps move a weight by 0.02; a bfloat16 below 2 is rounded by 2**-8 at most.
    assert farthest(host, plain) <= (1e-5 if precision == "fp32" else 2.0**-7)
    assert farthest(stepped(make_learner, offloaded, clip, decay=1.0), plain) > 2.0**-7  # the control
    adam = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, fused, **more: adam(groups, **more))
    assert farthest(stepped(make_learner, offloaded, clip), plain) == 0  # but for torch's fused kernel, the same bits


def test_what_adam_keeps_is_float32_on_the_host_and_shares_no_memory_with_the_model(make_learner: MakeLearner) -> None:
    for precision in ("fp32", "bf16"):
        learner = stepped(make_learner, ComputeSettings(precision, optimizer="offloaded"), 1.0)
        masters = [master for group in learner.optimizer.param_groups for master in group["params"]]
        kept = [
            *masters,
            *(learner.optimizer.optimizer.state[m][n] for m in masters for n in ("exp_avg", "exp_avg_sq")),
        ]
        assert {(value.device, value.dtype) for value in kept} == {(HOST, torch.float32)}
        assert not {m.data_ptr() for m in kept} & {weight.data_ptr() for weight in learner.model.parameters()}
