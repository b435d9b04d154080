"""Let megatron-core 0.16 run on a CPU with gloo; do nothing where CUDA is present.

Megatron-core has no CPU switch for training. What stands in its way are calls of four kinds:
``torch.cuda.current_device()`` as a device, the literal ``device="cuda"`` in factories,
``tensor.cuda()`` or a comparison with ``"torch.cuda.FloatTensor"``, and CUDA's random state and
synchronisation. Inside ``with megatron_on_cpu():`` each of them means the CPU. Nothing of Megatron's
arithmetic is replaced. This is the one place where CPU and GPU runs differ.
"""

from __future__ import annotations

import contextlib
import unittest.mock
from collections.abc import Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_CPU = torch.device("cpu")


class _CudaMeansCpu(TorchFunctionMode):
    """Send every tensor that is asked for on a CUDA device to the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if isinstance(device, (str, torch.device)) and torch.device(device).type == "cuda":
            kwargs = {**kwargs, "device": _CPU}
        elif func is torch.Tensor.cuda:
            return args[0]
        elif func is torch.Tensor.type and len(args) == 1 and not kwargs:
            # Megatron sorts gradients by type name and knows the CUDA names only.
            return func(args[0]).replace("torch.", "torch.cuda.", 1)
        return func(*args, **kwargs)


@contextlib.contextmanager
def megatron_on_cpu() -> Iterator[None]:
    """Scope in which megatron-core's CUDA calls mean the CPU. A no-op where CUDA is present."""
    if torch.cuda.is_available():
        yield
        return
    import megatron.core.tensor_parallel.random as megatron_random

    def nothing(*args: Any, **kwargs: Any) -> None:
        return None

    def get_state(*args: Any, **kwargs: Any) -> torch.Tensor:
        return torch.get_rng_state()

    def set_state(state: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        torch.set_rng_state(state)

    replaced = [
        (torch.cuda, "current_device", lambda: _CPU),
        (torch.cuda, "synchronize", nothing),
        (torch.cuda, "empty_cache", nothing),
        (torch.cuda, "manual_seed", nothing),
        (torch.cuda, "get_rng_state", get_state),
        (torch.cuda, "set_rng_state", set_state),
        (megatron_random, "_get_cuda_rng_state", get_state),
        (megatron_random, "_set_cuda_rng_state", set_state),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, substitute in replaced:
            stack.enter_context(unittest.mock.patch.object(owner, name, substitute))
        stack.enter_context(_CudaMeansCpu())
        yield
