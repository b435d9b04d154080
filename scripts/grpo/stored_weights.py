"""Weights of a checkpoint in Megatron's torch_dist format, read and written in one process, without a model.

Tensors go by the names that Megatron's local layers give them, whole, whatever number of ranks wrote them.
"""

from __future__ import annotations

import contextlib
import io
import math
import mmap
import os
import re
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as torch_dcp
from torch.distributed._shard._utils import narrow_tensor_by_index
from torch.distributed.checkpoint.api import CheckpointException  # a BaseException
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.checkpoint.metadata import MetadataIndex, TensorProperties, TensorStorageMetadata
from torch.distributed.checkpoint.planner import TensorWriteData, WriteItem, WriteItemType
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list

from common.disk import DiskFile
from common.errors import InputError
from common.imports import soon
from grpo.tensors import LazyTensors, own_memory

TRACKER = "latest_checkpointed_iteration.txt"  # Megatron's name for it
# Megatron stores the norms under the names that its fused layers give them; models of local layers
# know them by these.
_STORED_NORMS = {
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
}
# What lies in a checkpoint beside the weights: the optimiser, alone or one of several, and layers' extra state.
_NOT_WEIGHTS = re.compile(r"^(chained_\d+\.)?optimizer\.|_extra_state|^rng_state|^rerun_state_machine_state")
_LAYER = re.compile(r"decoder\.layers\.(\d+)\.(.+)")


def folder_name(iteration: int) -> str:
    """Megatron's folder name: ``iter_0000500``."""
    return f"iter_{iteration:07d}"


def local_name(name: str) -> str:
    """A tensor's name in local layers, from either kind of layers."""
    for fused, norm in _STORED_NORMS.items():
        name = name.replace(fused, norm)
    return name


def read_weights(path: Path, meta: bool = False) -> Mapping[str, torch.Tensor]:
    """All model tensors of a checkpoint, full and by Megatron's names, in one process without groups.

    From any number of tensor and pipeline ranks, of local or of TransformerEngine's layers; what else the
    checkpoint holds (optimiser, random state) is not read. Each tensor is read when it is asked for.

    Parameters
    ----------
    meta
        Only names, shapes and types: tensors on the meta device.

    Raises
    ------
    InputError
        If the checkpoint is missing or cut short.
    """
    with readable(path), quiet():
        reader = torch_dcp.FileSystemReader(str(path))
        metadata = reader.read_metadata()
        reader.set_up_storage_reader(metadata, is_coordinator=True)
        for part in metadata.storage_data.values():
            if (path / part.relative_path).stat().st_size < part.offset + part.length:
                raise InputError(
                    f"{path}: the checkpoint cannot be read ({part.relative_path} ends early). It is cut short; "
                    "delete this folder and run again."
                )
    readers: dict[str, Callable[[], torch.Tensor]] = {}
    for stored_name, entry in metadata.state_dict_metadata.items():
        if not isinstance(entry, TensorStorageMetadata) or _NOT_WEIGHTS.search(stored_name):
            continue
        name = local_name(stored_name)
        whole = torch.empty(entry.size, dtype=entry.properties.dtype, device="meta")
        # Megatron stores equal layers stacked: decoder.layers.<rest> with a leading layer axis.
        rest = name.removeprefix("decoder.layers.")
        if name.startswith("decoder.layers.") and not re.match(r"\d+\.", rest):
            for layer, part in enumerate(whole):
                stored = partial(_read_part, reader, path, stored_name, entry, layer)
                readers[f"decoder.layers.{layer}.{rest}"] = partial(torch.clone, part) if meta else stored
        else:
            stored = partial(_read_part, reader, path, stored_name, entry, None)
            readers[name] = partial(torch.clone, whole) if meta else stored
    return LazyTensors(readers)


def _read_part(
    reader: torch_dcp.FileSystemReader, path: Path, name: str, entry: TensorStorageMetadata, layer: int | None
) -> torch.Tensor:
    """A whole stored tensor, or one layer of a stacked one, from whatever parts the ranks wrote."""
    offsets, sizes = [0] * len(entry.size), list(entry.size)
    if layer is not None:
        offsets[0], sizes[0] = layer, 1
    wanted = torch_dcp.metadata.ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes))
    items = create_read_items_for_chunk_list(name, entry, [wanted])
    target: torch.Tensor | None = None
    with readable(path), quiet():
        for item in items:
            part = _mapped(reader, path, reader.storage_data[item.storage_index])
            part = narrow_tensor_by_index(part, item.storage_offsets, item.lengths)
            if part.shape == wanted.sizes:  # of one rank: no second copy of what may be the largest tensor
                target = part
            else:
                target = torch.empty(wanted.sizes, dtype=entry.properties.dtype) if target is None else target
                narrow_tensor_by_index(target, item.dest_offsets, item.lengths).copy_(part)
        if target is None or sum(math.prod(item.lengths) for item in items) != target.numel():
            raise ValueError(f"parts of {name} are missing")
    return target if layer is None else target[0]


def _mapped(reader: torch_dcp.FileSystemReader, path: Path, info: Any) -> torch.Tensor:
    """One stored part: its memory is the mapped file, which goes with the tensor (changes stay in memory)."""
    with open(path / info.relative_path, "rb") as file:
        part = torch.load(reader._slice_file(file, info), map_location="meta", weights_only=True)
    storage = part.untyped_storage()
    if storage._checkpoint_offset is None:  # torch 2.9, in the images for CUDA, does not say where: read, not mapped
        with open(path / info.relative_path, "rb") as file:
            return torch.load(reader._slice_file(file, info), map_location="cpu", weights_only=True)
    place = info.offset + storage._checkpoint_offset  # as torch documents it for tensors loaded without their bytes
    start = place - place % mmap.ALLOCATIONGRANULARITY
    with open(path / info.relative_path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), place - start + storage.nbytes(), access=mmap.ACCESS_COPY, offset=start)
    whole = torch.frombuffer(mapped, dtype=part.dtype, offset=place - start)
    return whole.as_strided(part.size(), part.stride(), part.storage_offset())


def write_weights(
    root: Path,
    iteration: int,
    tensors: Mapping[str, torch.Tensor],
    meta: Mapping[str, torch.Tensor],
    planner: type[OneByOne] | None = None,
) -> Path:
    """Write a checkpoint of weights alone, one tensor at a time, in one process without groups.

    Its tensors are on the disk when this returns.

    Parameters
    ----------
    tensors
        By Megatron's names, full; read one by one.
    meta
        The same without values.
    planner
        How they are laid out; without one, a layer's tensor is one part.

    Raises
    ------
    InputError
        If it cannot be written, on a full disk for example.
    """
    target = root / folder_name(iteration)
    partial_folder = root / f".{target.name}.partial"
    partial_folder.mkdir(parents=True)
    # Half of Megatron comes with it, which takes as long as writing a gigabyte.
    megatron = soon("megatron.core.dist_checkpointing.core")
    with writable(target, partial_folder), quiet(), errors_of_threads():
        writer = torch_dcp.FileSystemWriter(str(partial_folder), thread_count=2, sync_files=False)
        writer.fs = _ToTheDisk()
        torch_dcp.save({}, storage_writer=writer, planner=(planner or OneByOne)(tensors, meta), no_dist=True)
        megatron.result()
        from megatron.core.dist_checkpointing.core import CheckpointingConfig, save_config
        from megatron.core.dist_checkpointing.strategies.common import COMMON_STATE_FNAME

        torch.save({"iteration": iteration, "checkpoint_version": 3.0}, partial_folder / COMMON_STATE_FNAME)
        save_config(CheckpointingConfig("torch_dist", 1), str(partial_folder))
    partial_folder.rename(target)
    (root / TRACKER).write_text(str(iteration))
    return target


class _ToTheDisk(FileSystem):
    """Torch's files, written by `DiskFile` and without CRC-32: each has a thread, in which this is called."""

    @contextlib.contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Iterator[io.IOBase]:
        opened = DiskFile(Path(path)) if mode == "wb" else super().create_stream(path, mode)
        with no_crc32(), opened as stream:
            yield stream


class OneByOne(torch_dcp.DefaultSavePlanner):
    """Gives torch's writer each tensor when it is its turn, under the names and in the layout that Megatron stores."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, torch.Tensor]) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        self.tensors, self.meta = tensors, meta
        self.name_of: dict[MetadataIndex, str] = {}

    def create_local_plan(self) -> torch_dcp.SavePlan:
        layers = 1 + max(int(match[1]) for name in self.meta if (match := _LAYER.match(name)))
        items = []
        for name, tensor in self.meta.items():
            match = _LAYER.match(name)
            stored, start, chunk, whole = name, (0,) * tensor.dim(), tuple(tensor.shape), tuple(tensor.shape)
            if match:
                rest = {norm: fused for fused, norm in _STORED_NORMS.items()}.get(match[2], match[2])
                stored, start = f"decoder.layers.{rest}", (int(match[1]), *start)
                chunk, whole = (1, *chunk), (layers, *whole)
            index = MetadataIndex(stored, start)
            self.name_of[index] = name
            data = TensorWriteData(
                chunk=torch_dcp.metadata.ChunkStorageMetadata(torch.Size(start), torch.Size(chunk)),
                properties=TensorProperties(dtype=tensor.dtype),
                size=torch.Size(whole),
            )
            items.append(WriteItem(index=index, type=WriteItemType.SHARD, tensor_data=data))
        self.plan = torch_dcp.SavePlan(items)
        return self.plan

    def resolve_data(self, write_item: WriteItem) -> torch.Tensor:
        name = self.name_of[write_item.index]
        return own_memory(self.tensors[name]).reshape(write_item.tensor_data.chunk.sizes)


@contextlib.contextmanager
def writable(target: Path, partial: Path) -> Iterator[None]:
    """Turn whatever a failed write raises into one line, and leave nothing of it."""
    try:
        yield
    except (OSError, RuntimeError, CheckpointException) as error:  # a full disk comes as any of these
        free = shutil.disk_usage(target.parent).free
        shutil.rmtree(partial, ignore_errors=True)
        raise InputError(
            f"{target}: the checkpoint cannot be written ({_reason(error)}); {free / 1e6:.1f} MB are free there. "
            "Make room and run again: it goes on from the last checkpoint."
        ) from error


@contextlib.contextmanager
def errors_of_threads() -> Iterator[None]:
    """Raise what a thread died of: torch's writers leave it to the terminal, and the checkpoint without its tensors."""
    died: list[BaseException] = []
    before, threading.excepthook = threading.excepthook, lambda death: died.append(death.exc_value)
    try:
        yield
    finally:
        threading.excepthook = before
        for error in died:
            while error.__context__ is not None:  # a full disk comes first, torch's trouble with its file after it
                error = error.__context__
            raise error


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
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
def no_crc32() -> Iterator[None]:
    """Have torch write files without their CRC-32, in this thread: nobody reads it, and it takes most of the time."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings about Megatron's own use of torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
