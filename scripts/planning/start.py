"""At the start of a job: whether its training fits the GPUs that it was given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError
from grpo.shape import read_shape
from planning.machine import Task, engine_of
from planning.memory import footprint
from planning.refusal import MEMORY_ERROR, refusals


def checked(model: Path, training: Mapping[str, Any], name: str, memory_mb: int, where: str) -> str:
    """What a training takes by its size; refuse what cannot fit, allowing for the estimate's error.

    Parameters
    ----------
    model
        Hugging Face folder; its config.json is read.
    training
        ``engine`` and ``task``: arguments of `planning.machine.engine_of` and `planning.machine.Task`.
    name, memory_mb
        The smallest of the GPUs, and its memory in MB.
    where
        The machine, for the message.

    Raises
    ------
    InputError
        Names the machine, the largest part, and what would lower it.
    """
    shape, task, memory = read_shape(model), Task(**training["task"]), memory_mb * 1e6
    needed = footprint(shape, engine_of(**training["engine"]), task, memory)
    allowed = f"{name}, with {100 * MEMORY_ERROR:.0f}% for the estimate's error,"
    if lines := refusals(shape, task, needed, allowed, memory * (1 + MEMORY_ERROR)):
        raise InputError(f"{where}: {lines[0]}")
    update, sampling = (sum(parts.values()) / 1e9 for parts in (needed.training, needed.sampling))
    return f"by its size the training takes {update:.0f} GB of a GPU in an update, {sampling:.0f} GB while sampling"
