"""Attention on a CPU and on a GPU: the same numbers, and on a GPU what its fused kernels take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from grpo.attention import attention, for_each_head

GROUPS, HEADS, QUERIES, KEYS, WIDTH = 2, 6, 5, 12, 8
MASK = torch.ones(QUERIES, KEYS, dtype=torch.bool).tril(KEYS - QUERIES)[None, None]


def drawn(heads: int, length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(heads * length)
    return torch.randn(3, heads, length, WIDTH, generator=generator).requires_grad_()


@pytest.mark.parametrize("mask", [MASK, None], ids=["mask", "causal"])
def test_heads_of_their_own_give_what_shared_ones_give(mask: torch.Tensor | None) -> None:
    query, key, value = drawn(HEADS, QUERIES), drawn(GROUPS, KEYS), drawn(GROUPS, KEYS)
    shared = attention(query, key, value, mask, 0.3)
    keys, values = for_each_head(key, HEADS), for_each_head(value, HEADS)
    own = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, is_causal=mask is None, scale=0.3)
    torch.testing.assert_close(shared, own)
    gradients = (torch.autograd.grad(out.square().sum(), (query, key, value)) for out in (shared, own))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
    wrong = keys[:, [*range(HEADS // 2, HEADS), *range(HEADS // 2)]]  # the control: another group's keys
    other = F.scaled_dot_product_attention(query, wrong, values, attn_mask=mask, is_causal=mask is None, scale=0.3)
    assert not torch.allclose(shared, other, atol=1e-2)


class Asked(TorchFunctionMode):
    """Notes how torch's attention is called, and answers with the query."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            self.heads, self.enable_gqa = [x.shape[1] for x in args], kwargs["enable_gqa"]
            return args[0]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("device", "heads", "enable_gqa"), [("cuda", HEADS, False), ("cpu", GROUPS, True)])
def test_on_a_gpu_each_head_has_a_key_of_its_own(device: str, heads: int, enable_gqa: bool) -> None:
    with FakeTensorMode():  # without a GPU, tensors that say that they are on one
        query = torch.empty(3, HEADS, QUERIES, WIDTH, device=device)
        key = torch.empty(3, GROUPS, KEYS, WIDTH, device=device)
        with Asked() as asked:
            attention(query, key, key, None)
    assert (asked.heads, asked.enable_gqa) == ([HEADS, heads, heads], enable_gqa)
