"""The policy that is trained, its frozen reference, and one iteration's optimiser steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer

from grpo.checkpoint import load_weights
from grpo.cpu import megatron_on_cpu
from grpo.loss import LossSettings, token_losses
from grpo.offload import OffloadedAdam
from grpo.packing import PackedGroups, pack
from grpo.parallel import Ranks
from grpo.policy import answer_statistics
from grpo.qwen3 import Qwen3Shape, build_model
from grpo.rollout import Rollouts, Sampler
from grpo.stored_weights import local_name


@dataclass(frozen=True)
class UpdateSettings:
    """How a batch of rollouts becomes optimiser steps."""

    loss: LossSettings
    group_size: int
    updates: int = 2
    temperature: float = 1.0
    grad_clip: float = 1.0
    weight_decay: float = 0.0
    tokens_per_micro_batch: int = 16384


@dataclass(frozen=True)
class ComputeSettings:
    """How the same steps are computed.

    precision
        Of weights, activations and rollouts: ``fp32``, or ``bf16`` with float32 master weights, gradient sums and
        optimiser state.
    recompute
        Whether the backward pass computes each layer's activations again instead of keeping them.
    optimizer
        Where Adam's state lies: ``replicated`` on every data rank, ``distributed`` over them (which cannot be resumed
        without TransformerEngine), or ``offloaded``, on every data rank's host.
    """

    precision: str = "fp32"
    recompute: bool = False
    optimizer: str = "replicated"

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[self.precision]


class Learner:
    """A Megatron model with its optimiser.

    Parameters
    ----------
    weights
        Folder of a Megatron checkpoint without optimiser: what training starts from, and what the
        KL divergence refers to.
    """

    def __init__(
        self,
        shape: Qwen3Shape,
        weights: Path,
        ranks: Ranks,
        settings: UpdateSettings,
        compute: ComputeSettings | None = None,
    ) -> None:
        self.shape, self.ranks, self.settings = shape, ranks, settings
        self.compute = compute or ComputeSettings()
        dtype = self.compute.dtype
        self.model = build_model(shape, ranks.tensor, dtype, recompute=self.compute.recompute).to(ranks.device, dtype)
        load_weights(self.model, weights)
        self.reference = build_model(shape, ranks.tensor, dtype).to(ranks.device, dtype).requires_grad_(False)
        self.reference.load_state_dict(self.model.state_dict())
        distributed = self.compute.optimizer == "distributed"
        with megatron_on_cpu():
            self.ddp = DistributedDataParallel(
                self.model.config,
                DistributedDataParallelConfig(grad_reduce_in_fp32=True, use_distributed_optimizer=distributed),
                self.model,
            )
            config = OptimizerConfig(
                optimizer="adam",
                lr=0.0,  # set for every iteration
                weight_decay=settings.weight_decay,
                clip_grad=settings.grad_clip,
                params_dtype=dtype,
                bf16=dtype is torch.bfloat16,
                use_distributed_optimizer=distributed,
            )
            self.optimizer = (
                OffloadedAdam(self.ddp, config)
                if self.compute.optimizer == "offloaded"
                else get_megatron_optimizer(config, [self.ddp])
            )

    def sampler(self, stop: int) -> Sampler:
        """A sampler over the current weights. On one tensor rank it follows them without a copy."""
        return Sampler(full_weights(self.model), self.shape, stop)

    @torch.no_grad()
    def reference_logprobs(self, rollouts: Rollouts) -> torch.Tensor:
        """Log-probability of each sampled token under the frozen reference, ``[A]``."""
        return torch.cat(
            [
                answer_statistics(self.reference, packed, self.settings.temperature)[0]
                for packed, _ in self._micro_batches(rollouts)
            ]
        )

    def update(
        self, rollouts: Rollouts, advantages: torch.Tensor, reference: torch.Tensor, learning_rate: float
    ) -> dict[str, float]:
        """Take the iteration's optimiser steps, one for each minibatch of whole groups.

        Parameters
        ----------
        advantages
            Of each answer, ``[B]``.
        reference
            Log-probabilities under the reference, ``[A]``.

        Returns
        -------
        dict
            Means over the answer tokens of all ranks: update_loss, kl, entropy, clip_fraction; and
            the mean gradient norm before clipping.
        """
        settings = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
            # As Megatron's own schedule does it, which this takes the place of: none on the norms.
            group["weight_decay"] = settings.weight_decay * group.get("wd_mult", 1.0)
        groups_each = len(rollouts.prompts) // settings.updates
        sums: dict[str, float] = {"update_loss": 0.0, "kl": 0.0, "entropy": 0.0, "clip_fraction": 0.0}
        tokens, norms = 0.0, []
        for step in range(settings.updates):
            part, span = select_groups(rollouts, step * groups_each, (step + 1) * groups_each, settings.group_size)
            answers = slice(step * groups_each * settings.group_size, (step + 1) * groups_each * settings.group_size)
            partial = self._accumulate(part, advantages[answers], reference[span])
            count = torch.tensor(float(len(part.tokens)), device=self.ranks.device)
            with megatron_on_cpu():
                finalize_model_grads([self.ddp], num_tokens=count)  # also sums the count over the data ranks
                _, norm, _ = self.optimizer.step()
            norms.append(float(norm))
            tokens += float(count)
            for name, value in partial.items():
                sums[name] += value
        return {name: value / tokens for name, value in self.sum_over_data(sums).items()} | {
            "grad_norm": sum(norms) / len(norms)
        }

    def _accumulate(self, part: Rollouts, advantages: torch.Tensor, reference: torch.Tensor) -> dict[str, float]:
        """Add the minibatch's gradients, summed over its tokens, and return the sums to report."""
        self.ddp.zero_grad_buffer()
        self.optimizer.zero_grad()
        sums: dict[str, float] = {}
        for packed, (answers, span) in self._micro_batches(part):
            logprob, entropy = answer_statistics(self.model, packed, self.settings.temperature)
            loss, parts = token_losses(
                logprob,
                entropy,
                part.logprobs[span],
                reference[span],
                advantages[answers][packed.answer_of_token],
                self.settings.loss,
            )
            self._backward(loss.sum())
            for name, value in {"update_loss": loss.detach(), **parts}.items():
                sums[name] = sums.get(name, 0.0) + float(value.sum())
        return sums

    def _backward(self, loss: torch.Tensor) -> None:
        # Only what is computed again asks Megatron for a device.
        with megatron_on_cpu() if self.compute.recompute else contextlib.nullcontext():
            loss.backward()

    def sum_over_data(self, values: dict[str, float]) -> dict[str, float]:
        """Sum each value over the data ranks."""
        if self.ranks.data == 1:
            return values
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=self.ranks.device)
        dist.all_reduce(total, group=parallel_state.get_data_parallel_group())
        return dict(zip(values, total.tolist(), strict=True))

    def _micro_batches(self, rollouts: Rollouts) -> Iterator[tuple[PackedGroups, tuple[slice, slice]]]:
        """Whole groups of at most `tokens_per_micro_batch` tokens, packed; with their answers and tokens."""
        size = self.settings.group_size
        answer_tokens = rollouts.lengths.view(-1, size).sum(1).tolist()
        first, used = 0, 0
        for group, prompt in enumerate(rollouts.prompts):
            tokens = len(prompt) + answer_tokens[group]
            if used and used + tokens > self.settings.tokens_per_micro_batch:
                yield self._pack(rollouts, first, group)
                first, used = group, 0
            used += tokens
        yield self._pack(rollouts, first, len(rollouts.prompts))

    def _pack(self, rollouts: Rollouts, first: int, last: int) -> tuple[PackedGroups, tuple[slice, slice]]:
        size = self.settings.group_size
        part, span = select_groups(rollouts, first, last, size)
        return pack(part.prompts, part.tokens, part.lengths, size), (slice(first * size, last * size), span)


def select_groups(rollouts: Rollouts, first: int, last: int, group_size: int) -> tuple[Rollouts, slice]:
    """Groups `first` to `last` (excluded) of a batch, and the span of their answer tokens."""
    answers = slice(first * group_size, last * group_size)
    start = int(rollouts.lengths[: answers.start].sum())
    span = slice(start, start + int(rollouts.lengths[answers].sum()))
    return (
        Rollouts(
            rollouts.prompts[first:last],
            rollouts.tokens[span],
            rollouts.lengths[answers],
            rollouts.logprobs[span],
            rollouts.entropies[span],
            rollouts.truncated[answers],
        ),
        span,
    )


def full_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Megatron's weights by name; on one tensor rank the parameters themselves, else gathered."""
    parameters = {local_name(name): weight for name, weight in model.named_parameters()}
    if parallel_state.get_tensor_model_parallel_world_size() == 1:
        return parameters
    return {name: gathered(name, weight, weight.detach()) for name, weight in parameters.items()}


def gathered(name: str, weight: torch.nn.Parameter, values: torch.Tensor) -> torch.Tensor:
    """The whole of a parameter's values (weights or gradients) from the tensor ranks' parts."""
    tensor = parallel_state.get_tensor_model_parallel_world_size()
    if tensor == 1 or not getattr(weight, "tensor_model_parallel", False):
        return values
    parts = [torch.empty_like(values) for _ in range(tensor)]
    dist.all_gather(parts, values.contiguous(), group=parallel_state.get_tensor_model_parallel_group())
    if name.endswith("mlp.linear_fc1.weight"):
        # Each rank holds its part of the gate above its part of the up projection.
        halves = [part.chunk(2) for part in parts]
        return torch.cat([gate for gate, _ in halves] + [up for _, up in halves])
    return torch.cat(parts, dim=weight.partition_dim)
