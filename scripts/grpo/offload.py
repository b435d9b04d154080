"""Adam whose float32 weights and moments lie in the host's memory, in megatron-core's frame for mixed precision.

Megatron's own offloading is part of its distributed optimiser, which cannot load its state again without
TransformerEngine's Adam. This one is torch's AdamW over copies on the host. The GPU keeps weights and gradients, and
clips them, so that the host reads each gradient once.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.optimizer import OptimizerConfig, _get_param_groups
from megatron.core.optimizer.clip_grads import get_grad_norm_fp32
from megatron.core.optimizer.optimizer import Float16OptimizerWithFloat16Params, MixedPrecisionOptimizer
from megatron.core.tensor_parallel import param_is_not_tensor_parallel_duplicate

HOST = torch.device("cpu")


class OffloadedAdam(Float16OptimizerWithFloat16Params):
    """Megatron's optimiser for 16 bits with what is in 32 bits on the host; float32 models have copies there, too.

    Parameters
    ----------
    ddp
        The wrapped model; its gradients are float32.
    config
        Of Adam; what it says of offloading is not read.
    """

    def __init__(self, ddp: torch.nn.Module, config: OptimizerConfig) -> None:
        groups = _get_param_groups([ddp], config, None)
        models = [group["params"] for group in groups]
        for group in groups:
            group["params"] = [
                on_host(weight.detach().to(HOST, torch.float32, copy=True)) for weight in group["params"]
            ]
        adam = torch.optim.AdamW(
            groups,
            lr=config.lr,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_eps,
            weight_decay=config.weight_decay,
            fused=True,  # one pass over memory; else a host takes several
        )
        MixedPrecisionOptimizer.__init__(self, adam, config, None, zero_moments)
        self.is_stub_optimizer = False
        self.grad_stats_parallel_group = parallel_state.get_model_parallel_group()
        self.float16_groups = models
        self.fp32_from_float16_groups = [group["params"] for group in adam.param_groups]
        self.fp32_from_fp32_groups = [[] for _ in groups]
        self.pairs = [
            (weight, master, on_host(torch.empty_like(master)))
            for weights, masters in zip(models, self.fp32_from_float16_groups, strict=True)
            for weight, master in zip(weights, masters, strict=True)
        ]

    def prepare_grads(self) -> bool:
        """Nothing yet: gradients are clipped where they are."""
        return False

    @torch.no_grad()
    def clip_grad_norm(self, clip_grad: float) -> float:
        """Norm over all of the model's parts, before gradients are scaled to `clip_grad` at most."""
        gradients = [weight.main_grad for weight, _, _ in self.pairs]
        own = [weight.main_grad for weight, _, _ in self.pairs if param_is_not_tensor_parallel_duplicate(weight)]
        norm = get_grad_norm_fp32(own, grad_stats_parallel_group=self.grad_stats_parallel_group)
        scale = clip_grad / (norm + 1e-6)
        if scale < 1:
            torch._foreach_mul_(gradients, scale)
        return norm

    @torch.no_grad()
    def step_with_ready_grads(self) -> bool:
        """Gradients to the host, a step there, weights back."""
        for weight, master, gradient in self.pairs:
            master.grad = gradient.copy_(weight.main_grad)
        return super().step_with_ready_grads()

    def _copy_main_params_to_model_params(self) -> None:
        for weight, master, _ in self.pairs:
            weight.copy_(master.to(weight.device))  # rounded there


def on_host(values: torch.Tensor) -> torch.Tensor:
    """In memory that a GPU copies from and to without a detour, where there is one."""
    return values.pin_memory() if torch.cuda.is_available() else values


def zero_moments(adam: torch.optim.Optimizer, config: Any = None) -> None:
    """State for a checkpoint to be loaded into."""
    for group in adam.param_groups:
        for master in group["params"]:
            if not adam.state[master]:
                adam.state[master].update(exp_avg=torch.zeros_like(master), exp_avg_sq=torch.zeros_like(master))
