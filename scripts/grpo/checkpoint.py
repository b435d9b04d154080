"""Checkpoints in Megatron's torch_dist format, safe to kill, and the key they lie under.

``<checkpoints>/<key>/iter_0000500`` holds the state after 500 iterations. A folder appears under that
name only when it is complete. Nothing in it depends on how many ranks wrote it.
"""

from __future__ import annotations

import hashlib
import queue
import re
import shutil
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from common.files import dump, written_whole
from grpo.checkpoint_files import no_crc32, quiet, readable, writable
from grpo.cpu import megatron_on_cpu
from grpo.stored_weights import TRACKER, folder_name

__all__ = ["folder_name", "iterations_in", "key_of", "load", "load_weights", "prune", "save"]


def key_of(determinants: dict[str, Any]) -> str:
    """Short name for everything that determines a training: the first 16 digits of its SHA-256."""
    text = dump({name: determinants[name] for name in sorted(determinants)})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def iterations_in(root: Path) -> list[int]:
    """Iterations of the complete checkpoints below `root`, rising."""
    found = (re.fullmatch(r"iter_(\d{7})", path.name) for path in root.glob("iter_*"))
    return sorted(int(match[1]) for match in found if match)


def save(root: Path, iteration: int, model: Any, optimizer: Any = None, common: dict[str, Any] | None = None) -> Path:
    """Write a checkpoint; every rank calls it.

    Parameters
    ----------
    common
        Small values that are the same on every rank.

    Raises
    ------
    InputError
        If it cannot be written, on a full disk for example.
    """
    from megatron.core import dist_checkpointing
    from megatron.core.dist_checkpointing.strategies import filesystem_async

    target = root / folder_name(iteration)
    if target.exists():
        return target
    partial = root / f".{target.name}.partial"
    if dist.get_rank() == 0:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    dist.barrier()
    # Megatron's queue for the writers' results lives in a process of its own, which asynchronous saving needs.
    # This save waits for its writers: a queue in this process does, and a kill leaves no process behind.
    results = unittest.mock.patch.object(filesystem_async, "_results_queue", queue.Queue())
    with quiet(), no_crc32(), megatron_on_cpu(), results:
        state = _sharded_state(model, optimizer, loading=False)
        state |= {"iteration": iteration, "checkpoint_version": 3.0, **(common or {})}
        with writable(target, partial):
            dist_checkpointing.save(state, str(partial))
    dist.barrier()
    if dist.get_rank() == 0:
        partial.rename(target)
        with written_whole(root / TRACKER) as tracker:
            tracker.write_text(str(iteration))
    dist.barrier()
    return target


def load(path: Path, model: Any, optimizer: Any) -> dict[str, Any]:
    """Load weights and optimiser; return the common values. Every rank calls it.

    Raises
    ------
    InputError
        If the checkpoint cannot be read.
    """
    from megatron.core import dist_checkpointing

    with readable(path), quiet(), megatron_on_cpu():
        state = dist_checkpointing.load(_sharded_state(model, optimizer, loading=True), str(path))
        model.load_state_dict(state["model"], strict=False)
        if optimizer is not None:
            optimizer.load_state_dict(state["optimizer"])
    return state


def load_weights(model: Any, path: Path) -> None:
    """Load the weights alone."""
    load(path, model, None)


def prune(root: Path, keep: int, newest: int, regular: Callable[[int], bool]) -> None:
    """Delete checkpoints up to `newest`: all but itself and the last `keep` regular ones.

    Those of a longer training are not touched. What is not regular, a stop's, goes when a newer one is whole: it
    takes the place of none that a variant may ask for.
    """
    past = [number for number in iterations_in(root) if number <= newest]
    stay = {newest, *[number for number in past if regular(number)][-keep:]}
    for iteration in past:
        if iteration not in stay:
            shutil.rmtree(root / folder_name(iteration))


def _sharded_state(model: Any, optimizer: Any, loading: bool) -> dict[str, Any]:
    from megatron.core import parallel_state

    metadata = {
        "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
        # Of the distributed optimiser: state like the weights', whatever ranks wrote it.
        "distrib_optim_sharding_type": "fully_reshardable",
    }
    weights = model.sharded_state_dict(metadata=metadata)
    # The local layers' "extra state" belongs to TransformerEngine and is empty here.
    state = {"model": {name: value for name, value in weights.items() if "_extra_state" not in name}}
    if optimizer is not None:
        state["optimizer"] = optimizer.sharded_state_dict(state["model"], is_loading=loading, metadata=metadata)
    return state
