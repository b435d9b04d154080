"""Weights of a checkpoint in Megatron's torch_dist format, read and written in one process, without a model.

Tensors go by the names that Megatron's local layers give them, whole, whatever number of ranks wrote them.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import mmap
import os
import pickle
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
import torch.distributed.checkpoint as torch_dcp
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import TensorWriteData, WriteItem, WriteItemType
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from common.disk import DiskFile, mapped, read_from_disk
from common.errors import InputError
from grpo.checkpoint_files import no_crc32, quiet, readable, writable
from grpo.tensors import WHOLE, LazyTensors, blocks, own_memory, rows_of

FILE_BYTES = 10**9  # of a file of weights, before its last tensor
TRACKER = "latest_checkpointed_iteration.txt"  # Megatron's name for it
# What Megatron writes into metadata.json; its own function comes with half of Megatron, two seconds of importing.
BACKENDS = {
    "sharded_backend": "torch_dist",
    "sharded_backend_version": 1,
    "common_backend": "torch",
    "common_backend_version": 1,
}
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


def read_weights(path: Path, meta: bool = False, from_disk: bool = False) -> LazyTensors:
    """All model tensors of a checkpoint, full and by Megatron's names, in one process without groups.

    From any number of tensor and pipeline ranks, of local or of TransformerEngine's layers; what else the
    checkpoint holds (optimiser, random state) is not read. Each tensor is read when it is asked for.

    Parameters
    ----------
    meta
        Only names, shapes and types: tensors on the meta device.
    from_disk
        As the disk holds them, not the system's memory: what was asked for is there until the same thread asks again.

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
    return _weights(reader, path, metadata, meta, from_disk)


def _weights(
    reader: torch_dcp.FileSystemReader, path: Path, metadata: Metadata, meta: bool, from_disk: bool
) -> LazyTensors:
    readers: dict[str, Callable[[slice], torch.Tensor]] = {}
    for stored_name, entry in metadata.state_dict_metadata.items():
        if not isinstance(entry, TensorStorageMetadata) or _NOT_WEIGHTS.search(stored_name):
            continue
        name = local_name(stored_name)
        # Megatron stores equal layers stacked: decoder.layers.<rest> with a leading layer axis.
        rest = name.removeprefix("decoder.layers.")
        if name.startswith("decoder.layers.") and not re.match(r"\d+\.", rest):
            found = {f"decoder.layers.{layer}.{rest}": layer for layer in range(entry.size[0])}
        else:
            found = {name: None}
        for name, layer in found.items():
            stored = _Stored(reader, path, stored_name, entry, layer, from_disk)
            readers[name] = stored.meta if meta else stored.read
    return LazyTensors(readers)


class _Stored:
    """A tensor of a checkpoint, or a layer's of a stacked one, in whatever parts the ranks wrote."""

    def __init__(
        self,
        reader: torch_dcp.FileSystemReader,
        path: Path,
        name: str,
        entry: TensorStorageMetadata,
        layer: int | None,
        from_disk: bool,
    ) -> None:
        self.reader, self.path, self.name, self.layer, self.from_disk = reader, path, name, layer, from_disk
        self.dtype = entry.properties.dtype
        self.size = entry.size if layer is None else entry.size[1:]
        self.chunks = [
            chunk
            for chunk in entry.chunks
            if layer is None or chunk.offsets[0] <= layer < chunk.offsets[0] + chunk.sizes[0]
        ]
        self.first_bytes: dict[MetadataIndex, int] = {}

    def meta(self, rows: slice) -> torch.Tensor:
        """Rows of the tensor without values."""
        whole = torch.empty(self.size, dtype=self.dtype, device="meta")
        return whole if rows == WHOLE else whole[rows].clone()

    def read(self, rows: slice) -> torch.Tensor:
        """Rows of the tensor; no copies where one part has them."""
        size, lead = self.size, 0 if self.layer is None else 1
        start, stop, _ = rows.indices(size[0])
        wanted, target, count = (stop - start, *size[1:]), None, 0
        with readable(self.path):
            for chunk in self.chunks:
                offsets, sizes = chunk.offsets[lead:], chunk.sizes[lead:]
                first, last = max(start, offsets[0]), min(stop, offsets[0] + sizes[0])
                if first >= last:
                    continue
                before = (self.layer - chunk.offsets[0]) * sizes[0] if lead else 0  # rows of a part's earlier layers
                part = self._part(chunk, before + first - offsets[0], (last - first, *sizes[1:]))
                count += part.numel()
                if part.shape == wanted:
                    target = part
                    continue
                target = torch.empty(wanted, dtype=part.dtype) if target is None else target
                region = target[first - start : last - start]
                for axis in range(1, len(sizes)):
                    region = region.narrow(axis, offsets[axis], sizes[axis])
                region.copy_(part)
            if count != math.prod(wanted):
                raise ValueError(f"parts of {self.name} are missing")
        return torch.empty(wanted, dtype=self.dtype) if target is None else target

    def _part(self, chunk: ChunkStorageMetadata, row: int, size: tuple[int, ...]) -> torch.Tensor:
        """Rows of a part: of a mapped file, which goes with the tensor; from the disk in memory used again."""
        index, dtype = MetadataIndex(self.name, chunk.offsets), self.dtype
        if index not in self.first_bytes:
            self.first_bytes[index] = self._first_byte(index, chunk)
        path, place = self._file(index), self.first_bytes[index] + row * math.prod(size[1:]) * dtype.itemsize
        read = read_from_disk if self.from_disk else mapped
        return torch.from_numpy(read(path, place, math.prod(size) * dtype.itemsize)).view(dtype).reshape(size)

    def _file(self, index: MetadataIndex) -> Path:
        return self.path / self.reader.storage_data[index].relative_path

    def _first_byte(self, index: MetadataIndex, chunk: ChunkStorageMetadata) -> int:
        """Where a part's values begin in its file: each part is a file of ``torch.save``, which is a ZIP."""
        info = self.reader.storage_data[index]
        with open(self._file(index), "rb") as file:
            with quiet():
                part = torch.load(self.reader._slice_file(file, info), map_location="meta", weights_only=True)
            plain = part.is_contiguous() and part.untyped_storage().nbytes() == part.nbytes
            if not plain or (part.dtype, part.shape) != (self.dtype, chunk.sizes):
                raise ValueError(f"a part of {self.name} is {part.dtype} {tuple(part.shape)}, not as listed")
            start = info.offset - info.offset % mmap.ALLOCATIONGRANULARITY
            length = info.offset + info.length - start
            with mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=start) as mapped:
                with ZipFile(mapped) as entries:
                    [data] = [entry.header_offset for entry in entries.infolist() if entry.filename.endswith("/data/0")]
                name, extra = struct.unpack_from("<26x2H", mapped, data)  # lengths, in the head before the values
            return start + data + 30 + name + extra


def write_weights(
    root: Path,
    iteration: int,
    tensors: Mapping[str, torch.Tensor],
    meta: Mapping[str, torch.Tensor],
    planner: type[OneByOne] | None = None,
    written: Callable[[LazyTensors, list[str]], None] = lambda on_disk, names: None,
) -> Path:
    """Write a checkpoint of weights alone, block by block, in one process without groups.

    Its tensors are on the disk when this returns. What says that they are a checkpoint is written after them.

    Parameters
    ----------
    tensors
        By Megatron's names, full; each row is read once.
    meta
        The same without values.
    planner
        How they are laid out; without one, in blocks of rows.
    written
        Called after each file with tensors as the disk holds them (see `read_weights`), and the names of those that
        are there now.

    Raises
    ------
    InputError
        If it cannot be written, on a full disk for example.
    """
    target = root / folder_name(iteration)
    target.mkdir(parents=True)
    with writable(target), quiet(), no_crc32():
        parts = (planner or OneByOne)(tensors, meta)
        writer = _FileByFile(target, written)
        torch_dcp.save({}, storage_writer=writer, planner=parts, no_dist=True)
        torch.save({"iteration": iteration, "checkpoint_version": 3.0}, target / "common.pt")
        (target / "metadata.json").write_text(json.dumps(BACKENDS))
        with readable(target):
            size = (target / ".metadata").stat().st_size
            found = pickle.loads(read_from_disk(target / ".metadata", 0, size).tobytes())
            if (found.state_dict_metadata, found.storage_data) != (parts.metadata.state_dict_metadata, writer.stored):
                raise InputError(f"{target}: .metadata is not as it was written. Check the disk and run again.")
    (root / TRACKER).write_text(str(iteration))
    return target


class _FileByFile(torch_dcp.FileSystemWriter):
    """Writes files of at least `FILE_BYTES`, each of whole tensors, so that one can be read while others are written.

    In one thread: torch leaves the errors of others to the terminal. The disk has threads of its own.
    """

    def __init__(self, path: Path, written: Callable[[LazyTensors, list[str]], None]) -> None:
        super().__init__(str(path), thread_count=1, sync_files=False)
        self.fs = _ToTheDisk()
        self.folder, self.written = path, written
        self.stored: dict[MetadataIndex, Any] = {}  # where the parts lie, as torch's metadata will say

    def write_data(self, plan: torch_dcp.SavePlan, planner: OneByOne) -> Future[list[WriteResult]]:
        reader = torch_dcp.FileSystemReader(str(self.folder))
        reader.storage_data = self.stored
        on_disk, results = _weights(reader, self.folder, planner.metadata, meta=False, from_disk=True), []
        for number, (names, items) in enumerate(planner.files(plan.items)):
            # torch numbers the files of each call from 0.
            prefix = replace(plan.storage_data, prefix=f"{plan.storage_data.prefix}{number}_")
            done = super().write_data(replace(plan, items=items, storage_data=prefix), planner).value()
            results += done
            self.stored |= {result.index: result.storage_data for result in done}
            self.written(on_disk, names)
        future: Future[list[WriteResult]] = Future()
        future.set_result(results)
        return future


class _ToTheDisk(FileSystem):
    """Torch's files, written by `DiskFile`."""

    @contextlib.contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Iterator[io.IOBase]:
        with DiskFile(Path(path)) if mode == "wb" else super().create_stream(path, mode) as stream:
            yield stream


class OneByOne(torch_dcp.DefaultSavePlanner):
    """Gives torch's writer each part of a tensor when it is its turn, under the names that Megatron stores."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], meta: Mapping[str, torch.Tensor]) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        self.tensors, self.meta = tensors, meta
        self.part_of: dict[MetadataIndex, tuple[str, tuple[slice, ...]]] = {}

    def parts(self, name: str) -> Iterator[tuple[slice, ...]]:
        """How a tensor is laid out: a slice of each axis, for each of its parts."""
        for rows in blocks(self.meta[name]):
            yield rows, *(slice(0, length) for length in self.meta[name].shape[1:])

    def create_local_plan(self) -> torch_dcp.SavePlan:
        layers = 1 + max(int(match[1]) for name in self.meta if (match := _LAYER.match(name)))
        items = []
        for name, tensor in self.meta.items():
            match = _LAYER.match(name)
            stored, lead, whole = name, (), tuple(tensor.shape)
            if match:
                rest = {norm: fused for fused, norm in _STORED_NORMS.items()}.get(match[2], match[2])
                stored, lead, whole = f"decoder.layers.{rest}", (int(match[1]),), (layers, *whole)
            for part in self.parts(name):
                offsets = torch.Size((*lead, *(along.start for along in part)))
                sizes = torch.Size((*(1 for _ in lead), *(along.stop - along.start for along in part)))
                index = MetadataIndex(stored, offsets)
                self.part_of[index] = name, part
                data = TensorWriteData(
                    chunk=ChunkStorageMetadata(offsets, sizes),
                    properties=TensorProperties(dtype=tensor.dtype),
                    size=torch.Size(whole),
                )
                items.append(WriteItem(index=index, type=WriteItemType.SHARD, tensor_data=data))
        self.plan = torch_dcp.SavePlan(items)
        return self.plan

    def files(self, items: list[WriteItem]) -> Iterator[tuple[list[str], list[WriteItem]]]:
        """Names of the tensors of each file, and their parts."""
        names: list[str] = []
        together: list[WriteItem] = []
        size = 0
        for name, parts in groupby(items, lambda item: self.part_of[item.index][0]):
            names.append(name)
            together += parts
            size += self.meta[name].nbytes
            if size >= FILE_BYTES:
                yield names, together
                names, together, size = [], [], 0
        if together:
            yield names, together

    def resolve_data(self, write_item: WriteItem) -> torch.Tensor:
        name, (rows, *others) = self.part_of[write_item.index]
        part = rows_of(self.tensors, name, rows)[:, *others] if others else rows_of(self.tensors, name, rows)
        return own_memory(part).reshape(write_item.tensor_data.chunk.sizes)
