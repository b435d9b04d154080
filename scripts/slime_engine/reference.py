"""The imported weights as slime wants to find them: Megatron's layout of a released checkpoint.

Megatron reads iteration 0 from no folder: a checkpoint to start from is called ``release``. And it asks the file
common.pt how many ranks wrote the weights, which only decides whether optimiser and random state may be read. So the
released checkpoint is made of links to the imported files, and a common.pt of its own: no second copy of the weights.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as torch_dcp

from common.errors import InputError
from common.files import written_whole
from grpo.checkpoint import TRACKER

RELEASE, COMMON = "release", "common.pt"


def release(imported: Path, target: Path) -> None:
    """Make (or make again) a folder that slime's ``--ref-load`` takes.

    Parameters
    ----------
    imported
        Folder of one Megatron checkpoint, ``.../iter_0000000``.
    target
        Folder to make: ``latest_checkpointed_iteration.txt`` and ``release/``.

    Raises
    ------
    InputError
        If the checkpoint is not complete.
    """
    for name in (".metadata", "metadata.json", COMMON):
        if not (imported / name).is_file():
            raise InputError(f"{imported}: not a complete Megatron checkpoint ({name} is missing). Run import_weights.")
    shutil.rmtree(target, ignore_errors=True)
    with written_whole(target) as folder:
        inner = folder / RELEASE
        inner.mkdir(parents=True)
        for file in sorted(imported.iterdir()):
            if file.name != COMMON:
                (inner / file.name).symlink_to(file.resolve())
        torch.save(common_state(torch.load(imported / COMMON, weights_only=False)), inner / COMMON)
        (folder / TRACKER).write_text(RELEASE)


def common_state(imported: dict[str, Any]) -> dict[str, Any]:
    """The common state of a released checkpoint: what was imported, and how many ranks wrote it."""
    ranks = argparse.Namespace(
        tensor_model_parallel_size=1,
        pipeline_model_parallel_size=1,
        world_size=1,
        data_parallel_size=1,
        no_save_optim=True,
        no_save_rng=True,
    )
    return {**imported, "args": ranks, "checkpoint_version": 3.0, "iteration": 0}


def stored_sizes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of the model in a checkpoint, by stored name, without reading the tensors.

    Raises
    ------
    InputError
        If the folder is no checkpoint.
    """
    if not (checkpoint / ".metadata").is_file():
        raise InputError(f"{checkpoint}: not a complete Megatron checkpoint (.metadata is missing). Make it again.")
    stored = torch_dcp.FileSystemReader(str(checkpoint)).read_metadata().state_dict_metadata
    return {
        name: tuple(entry.size)
        for name, entry in stored.items()
        if isinstance(entry, torch_dcp.metadata.TensorStorageMetadata)
        and not name.startswith("optimizer.")
        and "_extra_state" not in name
    }
