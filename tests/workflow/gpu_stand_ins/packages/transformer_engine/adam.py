"""TransformerEngine's Adam, whose step count is a group's, and the functions on lists of tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class FusedAdam(torch.optim.Optimizer):
    """Adam with decoupled weight decay, https://arxiv.org/abs/1711.05101, algorithm 2."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        **_: Any,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            if not group["params"]:
                continue
            group["step"] = steps = group.get("step", 0) + 1
            (first, second), rate = group["betas"], group["lr"]
            for weight in group["params"]:
                state, gradient = self.state[weight], weight.grad.float()
                if not state:
                    state |= {name: torch.zeros_like(gradient) for name in ("exp_avg", "exp_avg_sq")}
                weight.mul_(1 - rate * group["weight_decay"])
                state["exp_avg"].lerp_(gradient, 1 - first)
                state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
                size = (state["exp_avg_sq"] / (1 - second**steps)).sqrt() + group["eps"]
                weight.addcdiv_(state["exp_avg"] / (1 - first**steps), size, value=-rate)


class FusedSGD(torch.optim.SGD):
    """Imported with Adam, never used."""


def multi_tensor_applier(function: Any, overflow: Tensor, lists: list[list[Tensor]], *more: Any) -> Any:
    return function(0, overflow, lists, *more)


def multi_tensor_l2norm(_: int, __: Tensor, lists: list[list[Tensor]], *___: Any) -> tuple[Tensor, None]:
    return torch.stack([one.float().norm() for one in lists[0]]).norm()[None], None


def multi_tensor_scale(_: int, __: Tensor, lists: list[list[Tensor]], scale: Any) -> None:
    for source, target in zip(*lists, strict=True):
        target.copy_(source * scale)
