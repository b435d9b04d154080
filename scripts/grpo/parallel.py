"""Process groups: one process, or tensor x data ranks under torchrun."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from common.errors import InputError
from grpo.cpu import megatron_on_cpu


@dataclass(frozen=True)
class Ranks:
    """Where this process stands among the others."""

    rank: int
    tensor_rank: int
    tensor: int
    data_rank: int
    data: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0


def start(device: str, tensor: int = 1, data: int = 1, seed: int = 0, timeout_s: float = 600) -> Ranks:
    """Initialise torch.distributed and Megatron's groups.

    Parameters
    ----------
    device
        ``cpu`` (gloo; GPUs must be hidden: Megatron would use one that it sees) or ``cuda`` (NCCL, one GPU a process).
    tensor, data
        Ranks that share a model, and copies of the model. Their product must be the number of
        processes that torchrun started (one without torchrun).

    Raises
    ------
    InputError
        If CUDA is asked for and absent, or not asked for and there; or the processes are not ``tensor * data``.
    """
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device: cuda was asked for, but torch sees no GPU. Set device: cpu, or fix the driver.")
    if device == "cpu" and torch.cuda.is_available():
        raise InputError('device: cpu was asked for, but torch sees a GPU. Hide it: CUDA_VISIBLE_DEVICES="".')
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world != tensor * data:
        raise InputError(
            f"train: tensor {tensor} x data {data} needs {tensor * data} processes, {world} started. "
            f"Start with: torchrun --standalone --nproc-per-node {tensor * data} scripts/train.py ..."
        )
    backend = "nccl" if device == "cuda" else "gloo"
    timeout = timedelta(seconds=timeout_s)
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if world == 1:
        # No rendezvous, so no port that could be taken.
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1, timeout=timeout)
    else:
        dist.init_process_group(backend, timeout=timeout)
    with megatron_on_cpu():
        parallel_state.initialize_model_parallel(tensor_model_parallel_size=tensor)
        torch.manual_seed(seed)
        model_parallel_cuda_manual_seed(seed)
    return Ranks(
        rank=dist.get_rank(),
        tensor_rank=parallel_state.get_tensor_model_parallel_rank(),
        tensor=tensor,
        data_rank=parallel_state.get_data_parallel_rank(),
        data=data,
        device=torch.device("cuda", torch.cuda.current_device()) if device == "cuda" else torch.device("cpu"),
    )


def stop() -> None:
    """Leave together: a rank that is first out would break the others' last collective."""
    from megatron.core import parallel_state

    if not dist.is_initialized():
        return
    dist.barrier()
    parallel_state.destroy_model_parallel()
    dist.destroy_process_group()
