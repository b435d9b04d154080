"""Checkpoints in Megatron's torch_dist format, safe to kill, and the key they lie under.

``<checkpoints>/<key>/iter_0000500`` holds the state after 500 iterations. A folder appears under that
name only when it is complete. Nothing in it depends on how many ranks wrote it.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import re
import shutil
import unittest.mock
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as torch_dcp
from torch.distributed.checkpoint.api import CheckpointException  # a BaseException

from common.errors import InputError
from common.files import dump, written_whole
from grpo.cpu import megatron_on_cpu

TRACKER = "latest_checkpointed_iteration.txt"  # Megatron's name for it
# Megatron stores the norms under the names that its fused layers give them; models of local layers
# know them by these.
_STORED_NORMS = {
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
}


def key_of(determinants: dict[str, Any]) -> str:
    """Short name for everything that determines a training: the first 16 digits of its SHA-256."""
    text = dump({name: determinants[name] for name in sorted(determinants)})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def folder_name(iteration: int) -> str:
    """Megatron's folder name: ``iter_0000500``."""
    return f"iter_{iteration:07d}"


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
    with _quiet(), megatron_on_cpu(), results:
        state = _sharded_state(model, optimizer, loading=False)
        state |= {"iteration": iteration, "checkpoint_version": 3.0, **(common or {})}
        try:
            dist_checkpointing.save(state, str(partial))
        except (OSError, RuntimeError, CheckpointException) as error:  # a full disk comes as any of these
            free = shutil.disk_usage(root).free
            shutil.rmtree(partial, ignore_errors=True)
            raise InputError(
                f"{target}: the checkpoint cannot be written ({_reason(error)}); {free / 1e6:.1f} MB are free there. "
                "Make room and run again: it goes on from the last checkpoint."
            ) from error
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

    with _readable(path), _quiet(), megatron_on_cpu():
        state = dist_checkpointing.load(_sharded_state(model, optimizer, loading=True), str(path))
        model.load_state_dict(state["model"], strict=False)
        if optimizer is not None:
            optimizer.load_state_dict(state["optimizer"])
    return state


def load_weights(model: Any, path: Path) -> None:
    """Load the weights alone."""
    load(path, model, None)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """All model tensors of a checkpoint, full and by Megatron's names, in one process without groups.

    Raises
    ------
    InputError
        If the checkpoint is missing or cut short.
    """
    with _readable(path), _quiet():
        reader = torch_dcp.FileSystemReader(str(path))
        stored = reader.read_metadata().state_dict_metadata
        tensors = {
            name: torch.empty(entry.size, dtype=entry.properties.dtype)
            for name, entry in stored.items()
            if isinstance(entry, torch_dcp.metadata.TensorStorageMetadata)
            and not name.startswith("optimizer.")
            and "_extra_state" not in name
        }
        torch_dcp.load(tensors, storage_reader=reader, no_dist=True)
    out: dict[str, torch.Tensor] = {}
    for stored_name, tensor in tensors.items():
        name = stored_name
        for stored_norm, norm in _STORED_NORMS.items():
            name = name.replace(stored_norm, norm)
        # Megatron stores equal layers stacked: decoder.layers.<rest> with a leading layer axis.
        if name.startswith("decoder.layers.") and not re.match(r"decoder\.layers\.\d+\.", name):
            rest = name.removeprefix("decoder.layers.")
            out |= {f"decoder.layers.{layer}.{rest}": part for layer, part in enumerate(tensor)}
        else:
            out[name] = tensor
    return out


def prune(root: Path, keep: int, newest: int) -> None:
    """Delete all but the last `keep` checkpoints up to `newest`; those of a longer training are not touched."""
    for iteration in [number for number in iterations_in(root) if number <= newest][:-keep]:
        shutil.rmtree(root / folder_name(iteration))


def _sharded_state(model: Any, optimizer: Any, loading: bool) -> dict[str, Any]:
    from megatron.core import parallel_state

    metadata = {"dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True)}
    weights = model.sharded_state_dict(metadata=metadata)
    # The local layers' "extra state" belongs to TransformerEngine and is empty here.
    state = {"model": {name: value for name, value in weights.items() if "_extra_state" not in name}}
    if optimizer is not None:
        state["optimizer"] = optimizer.sharded_state_dict(state["model"], is_loading=loading)
    return state


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever reading a broken checkpoint raises into one line."""
    if not (path / ".metadata").is_file():
        raise InputError(f"{path}: not a complete Megatron checkpoint (.metadata is missing). Make it again.")
    try:
        yield
    except InputError:
        raise
    except (Exception, CheckpointException) as error:  # torch, pickle, zip and Megatron raise their own
        raise InputError(
            f"{path}: the checkpoint cannot be read ({_reason(error)}). It is cut short or of another model; "
            "delete this folder and run again."
        ) from error


def _reason(error: BaseException) -> str:
    """Last line of an error's text: torch's errors carry whole tracebacks."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip()[:200] if lines else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings about Megatron's own use of torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
