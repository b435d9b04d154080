"""Hugging Face model folders: tensors in, tensors out, one at a time, with errors that name the file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import StateDictSplit, split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open

from common.disk import DiskFile, mapped, read_from_disk
from common.errors import InputError
from common.files import read_json, write_json
from grpo.tensors import WHOLE, LazyTensors, blocks, rows_of

# Of a weight file of several tensors, so that one is compared while others are written. The sums of models that
# trainings record are those of such files: another number here makes other sums of large models.
SHARD_BYTES = 2_000_000_000
INDEX = "model.safetensors.index.json"
_TYPE_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}  # safetensors' own
_TYPES = {name: dtype for dtype, name in _TYPE_NAMES.items()}


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, from its index where it has one.

    Raises
    ------
    InputError
        If there are none, or the index names one that is missing.
    """
    index = folder / INDEX
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise InputError(f"{index}: field weight_map is missing. Download the model again.")
        names = sorted(set(weight_map.values()))
        for name in names:
            if not (folder / name).is_file():
                raise InputError(f"{folder / name}: named in {index.name} but missing. Download the model again.")
        return [folder / name for name in names]
    if not (folder / "model.safetensors").is_file():
        raise InputError(f"{folder}: no model.safetensors. Give a Hugging Face folder with safetensors weights.")
    return [folder / "model.safetensors"]


def read_tensors(folder: Path, meta: bool = False, from_disk: bool = False) -> LazyTensors:
    """All tensors of a folder by name, each read when it is asked for.

    Parameters
    ----------
    meta
        Only names, shapes and types: tensors on the meta device, without reading the weights.
    from_disk
        As the disk holds them, not the system's memory: what was asked for is there until the same thread asks again.

    Raises
    ------
    InputError
        If a file is cut short or is no safetensors file.
    """
    stored = {name: entry for path in weight_files(folder) for name, entry in _entries(path).items()}
    if _tied_twice(folder, stored, meta):
        del stored["lm_head.weight"]
    return LazyTensors({name: partial(entry.read, meta, from_disk) for name, entry in stored.items()})


def _tied_twice(folder: Path, stored: Mapping[str, _Entry], meta: bool) -> bool:
    """Some tied checkpoints store the embedding twice. The copy says nothing; a different one is refused later."""
    head, embedding = stored.get("lm_head.weight"), stored.get("model.embed_tokens.weight")
    if head is None or embedding is None or head.size != embedding.size:
        return False
    if read_json(folder / "config.json").get("tie_word_embeddings") is not True:
        return False
    return meta or torch.equal(head.read(False, False, WHOLE), embedding.read(False, False, WHOLE))


@dataclass(frozen=True)
class _Entry:
    """Where a tensor lies."""

    path: Path
    place: int  # of its first byte
    dtype: torch.dtype
    size: tuple[int, ...]

    def read(self, meta: bool, from_disk: bool, rows: slice) -> torch.Tensor:
        """Rows of the tensor, all of one without rows.

        Of a mapped file, which goes with the tensor; from the disk in memory that this thread uses again.
        """
        start, stop, _ = rows.indices(self.size[0] if self.size else 1)
        size = (stop - start, *self.size[1:]) if self.size else ()
        if meta:
            return torch.empty(size, dtype=self.dtype, device="meta")
        row_bytes = math.prod(self.size[1:]) * self.dtype.itemsize
        read = read_from_disk if from_disk else mapped
        try:
            found = read(self.path, self.place + start * row_bytes, (stop - start) * row_bytes)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error}). Check the disk and run again.") from None
        return torch.from_numpy(found).view(self.dtype).reshape(size)


def _entries(path: Path) -> dict[str, _Entry]:
    """A file's tensors: safetensors checks the file, but does not say where they lie."""
    with _opened(path), open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        head = json.loads(file.read(length))
    found = {}
    for name, entry in head.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _TYPES:
            raise InputError(
                f"{path}: {name} is of type {entry['dtype']}, none of {', '.join(_TYPES)}. Convert it to one of them."
            )
        place = 8 + length + entry["data_offsets"][0]
        found[name] = _Entry(path, place, _TYPES[entry["dtype"]], tuple(entry["shape"]))
    return found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise InputError(f"{path}: cannot be read ({error}). It is cut short; copy it again.") from None


def write_tensors(
    folder: Path,
    layout: Mapping[str, torch.Tensor],
    tensors: Mapping[str, torch.Tensor],
    written: Callable[[LazyTensors], None] = lambda on_disk: None,
) -> dict[str, str]:
    """Write ``model.safetensors``, or files of at most `SHARD_BYTES` and their index, block by block.

    The files are, byte for byte, those that safetensors' ``save_file`` writes, which wants a whole file in memory.
    They are on the disk when this returns.

    Parameters
    ----------
    layout
        Every tensor's shape and type; meta tensors will do.
    tensors
        The same tensors with their values, each row asked for once.
    written
        Called after each file, in one of two threads, with its tensors as the disk holds them (see `read_tensors`).

    Returns
    -------
    dict[str, str]
        SHA-256 of each weight file, by name, of the bytes as they were written.

    Raises
    ------
    InputError
        If they cannot be written, on a full disk for example.
    """

    def write(name: str) -> str:
        names = split.filename_to_tensors[name]
        with DiskFile(folder / name) as file:
            digest = _hashed(_contents(names, layout, tensors), file.write)
        entries = _entries(folder / name)
        planned = {tensor: (layout[tensor].dtype, tuple(layout[tensor].shape)) for tensor in names}
        if {tensor: (entry.dtype, entry.size) for tensor, entry in entries.items()} != planned:
            raise InputError(f"{folder / name}: not as it was written. Check the disk and run again.")
        written(LazyTensors({tensor: partial(entry.read, False, True) for tensor, entry in entries.items()}))
        return digest

    split = _split(layout)
    with writing(folder), ThreadPoolExecutor(2) as pool:
        sums = dict(zip(split.filename_to_tensors, pool.map(write, split.filename_to_tensors), strict=True))
        if split.is_sharded:
            file_of = split.tensor_to_filename
            write_json(folder / INDEX, {"metadata": split.metadata, "weight_map": dict(sorted(file_of.items()))})
    return sums


def sums_of_files(layout: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """SHA-256 of the weight files that `write_tensors` would write, by name; nothing is written."""

    def made(name: str) -> str:
        return _hashed(_contents(files[name], layout, tensors), len)

    files = _split(layout).filename_to_tensors
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(files, pool.map(made, files), strict=True))


def _split(layout: Mapping[str, torch.Tensor]) -> StateDictSplit:
    # Whole tensors: of a part of another one, the hub's function counts all of its memory.
    whole = {name: torch.empty(tensor.shape, dtype=tensor.dtype, device="meta") for name, tensor in layout.items()}
    return split_torch_state_dict_into_shards(whole, max_shard_size=SHARD_BYTES)


def _hashed(contents: Iterable[Any], written: Callable[[Any], object]) -> str:
    """Hash a file's contents piece by piece while they are written."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(1) as thread:
        for piece in contents:
            added = thread.submit(digest.update, piece)
            written(piece)
            added.result()
    return digest.hexdigest()


def _contents(
    names: Iterable[str], layout: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]
) -> Iterator[Any]:
    """A safetensors file: length and JSON of its head, then each tensor's bytes."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    # safetensors' own order: wide types first, so that every tensor is aligned, then by name.
    order = sorted(names, key=lambda name: (-layout[name].element_size(), name))
    for name in order:
        tensor, start = layout[name], end
        end += tensor.numel() * tensor.element_size()
        entries[name] = {
            "dtype": _TYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        size, dtype = layout[name].shape, layout[name].dtype
        for rows in blocks(layout[name]):
            block = rows_of(tensors, name, rows)
            if (block.dtype, block.shape) != (dtype, (rows.stop - rows.start, *size[1:])):
                found = (rows.start + block.shape[0], *block.shape[1:])
                raise ValueError(f"{name} is {block.dtype} {found}, not as laid out")
            yield block.detach().contiguous().view(torch.uint8).reshape(-1).numpy()
        if len(rows_of(tensors, name, slice(size[0], None))):
            raise ValueError(f"{name} has more than {size[0]} rows, not as laid out")


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what is raised on a full disk into one line.

    Raises
    ------
    InputError
        Names the folder and the system's reason.
    """
    try:
        yield
    except (SafetensorError, OSError) as error:
        raise InputError(f"{folder}: the weights cannot be written ({error}). Make room and run again.") from None


def stored_dtype(folder: Path) -> torch.dtype:
    """Type of the weights that config.json states (float32 if it states none).

    Raises
    ------
    InputError
        If it is none that weights are stored in.
    """
    config = read_json(folder / "config.json")
    name = config.get("dtype") or config.get("torch_dtype") or "float32"
    known = {str(dtype).removeprefix("torch."): dtype for dtype in _TYPE_NAMES}
    if not isinstance(name, str) or name not in known:
        raise InputError(f"{folder / 'config.json'}: dtype is {name!r}, none of {', '.join(known)}.")
    return known[name]
