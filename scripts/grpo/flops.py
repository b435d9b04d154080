"""Arithmetic of a training iteration, and the share of a GPU's peak that it reaches."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from common.datasheet import known
from grpo.shape import Qwen3Shape


def forward_flops(shape: Qwen3Shape, prompts: Sequence[int], answers: Sequence[int], group_size: int) -> float:
    """Multiplications and additions of one forward pass over packed groups, each prompt once.

    Two for each weight of a layer's matrices and each token; two for each of a head's numbers, query and key, and
    again for the values; and the output layer behind the answer tokens alone. Norms and the like are left out, as is
    usual for model FLOPs (Chowdhery et al. 2022, "PaLM", appendix B).

    Parameters
    ----------
    prompts
        Tokens of each prompt, N.
    answers
        Tokens of each answer, N * group_size, group by group.
    """
    width = shape.heads * shape.head_dim
    tokens = sum(prompts) + sum(answers)
    # Keys that queries see: a token of a sequence all up to itself.
    seen = sum(length * (length + 1) / 2 for length in prompts)
    for number, length in enumerate(answers):
        seen += length * prompts[number // group_size] + length * (length + 1) / 2
    return (
        2.0 * shape.matrix_weights * tokens
        + 4.0 * width * seen * shape.layers
        + 2.0 * shape.hidden * shape.vocabulary * sum(answers)
    )


def iteration_flops(forward: float, updated: bool, reference: bool = True) -> float:
    """FLOPs of an iteration: rollouts and reference a forward pass each, an update three (backward is two).

    Recomputed activations do not count: they are no work that the model asks for.
    """
    return forward * (1 + reference + 3 * updated)


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Peak FLOP/s of one device, None where it is not known (a CPU, a GPU that is not listed)."""
    if device.type != "cuda":
        return None
    gpu = known(torch.cuda.get_device_name(device))
    return getattr(gpu, precision) if gpu else None
