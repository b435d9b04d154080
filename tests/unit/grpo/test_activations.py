"""What the plan says that a layer keeps for its backward pass, against what autograd keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from grpo import qwen3
from grpo.attention import for_each_head
from grpo.packing import pack
from grpo.parallel import Ranks
from grpo.policy import hidden_states
from grpo.qwen3 import Qwen3Shape, build_model
from planning.machine import Task
from planning.memory import layer_activations, own_layer_activations

GROUPS = 3


class FusedNorm(torch.autograd.Function):
    """RMSNorm that keeps its input and a number for each row, as CUDA's kernel does."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        scale = (x.float().square().mean(-1, keepdim=True) + epsilon).rsqrt()
        context.save_for_backward(x, weight, scale)
        return (x.float() * scale).to(x.dtype) * weight


def as_on_cuda(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float | None = None
) -> torch.Tensor:
    """The branch of `grpo.attention.attention` for a GPU."""
    key, value = (for_each_head(x, query.shape[1]) for x in (key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale)


def kept(shape: Qwen3Shape, dtype: torch.dtype, task: Task) -> int:
    """Bytes, each storage once, that a forward pass keeps beside the weights."""
    model = build_model(shape, 1, dtype).to(dtype)
    prompts, answers = [torch.arange(task.prompt)] * GROUPS, GROUPS * task.group
    packed = pack(prompts, torch.zeros(answers * task.answer, dtype=torch.long), torch.full((answers,), task.answer), 4)
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    alive, sizes = [], {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        alive.append(tensor)
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden_states(model, packed)
    return sum(size for place, size in sizes.items() if place not in weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("prompt", "answer"), [(48, 8), (16, 40)], ids=["long prompts", "long answers"])
@pytest.mark.parametrize(
    ("hidden", "heads", "groups", "head_dim", "ffn"), [(64, 4, 2, 32, 160), (160, 8, 2, 16, 64), (32, 6, 2, 32, 512)]
)
def test_a_layer_keeps_what_is_planned(
    ranks: Ranks,
    monkeypatch: pytest.MonkeyPatch,
    hidden: int,
    heads: int,
    groups: int,
    head_dim: int,
    ffn: int,
    prompt: int,
    answer: int,
    dtype: torch.dtype,
) -> None:
    monkeypatch.setattr(qwen3, "attention", as_on_cuda)
    monkeypatch.setattr(F, "rms_norm", lambda x, _, weight, epsilon: FusedNorm.apply(x, weight, epsilon))
    task = Task(1, 1, 1, 1, 4 * GROUPS, 4, prompt, answer, 0, 0.0, 1)
    one, three = (
        kept(Qwen3Shape(layers, hidden, heads, groups, head_dim, ffn, 64, 1e4, 1e-6, True, 128), dtype, task)
        for layers in (1, 3)
    )
    measured = (three - one) / 2 / (GROUPS * (prompt + 4 * answer))
    shape, number = Qwen3Shape(1, hidden, heads, groups, head_dim, ffn, 64, 1e4, 1e-6, True, 128), dtype.itemsize
    assert own_layer_activations(shape, number, task) == pytest.approx(measured, rel=0.04)
    # The control: what fused layers would keep is far less.
    assert layer_activations(shape, number, 1) < 0.75 * measured
