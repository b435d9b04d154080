"""Hugging Face model folders: tensors in, tensors out, one at a time, with errors that name the file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import StateDictSplit, split_torch_state_dict_into_shards
from safetensors import SafetensorError, safe_open

from common.disk import DiskFile, read_from_disk
from common.errors import InputError
from common.files import read_json, write_json
from grpo.tensors import WHOLE, LazyTensors, blocks, rows_of

SHARD_BYTES = 5_000_000_000  # of a weight file, as transformers splits them
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


def read_tensors(folder: Path, meta: bool = False) -> LazyTensors:
    """All tensors of a folder by name, each read when it is asked for.

    Parameters
    ----------
    meta
        Only names, shapes and types: tensors on the meta device, without reading the weights.

    Raises
    ------
    InputError
        If a file is cut short or is no safetensors file.
    """
    files: dict[str, Path] = {}
    for path in weight_files(folder):
        with _opened(path) as file:
            files |= dict.fromkeys(file.keys(), path)
    tensors = LazyTensors({name: partial(_read, path, name, meta) for name, path in files.items()})
    # Some tied checkpoints store the embedding twice. The copy says nothing; a different one is refused later.
    head, embedding = tensors.get("lm_head.weight"), tensors.get("model.embed_tokens.weight")
    tied = read_json(folder / "config.json").get("tie_word_embeddings") is True
    twice = head is not None and embedding is not None and head.shape == embedding.shape
    if tied and twice and (meta or torch.equal(head, embedding)):
        del files["lm_head.weight"]
        tensors = LazyTensors({name: partial(_read, path, name, meta) for name, path in files.items()})
    return tensors


def _read(path: Path, name: str, meta: bool, rows: slice) -> torch.Tensor:
    """Rows of a tensor. Their memory is the mapped file, which goes with the tensor."""
    with _opened(path) as file:
        tensor = file.get_tensor(name)
    if rows != WHOLE:
        tensor = tensor[rows]
    return torch.empty_like(tensor, device="meta") if meta else tensor


def tensors_on_disk(folder: Path) -> LazyTensors:
    """All tensors of a folder as the disk holds them, not the system's memory.

    What was asked for is there until the same thread asks again.

    Raises
    ------
    InputError
        If a file is cut short or is no safetensors file.
    """
    readers = {}
    for path in weight_files(folder):
        with _opened(path), open(path, "rb") as file:  # checked by safetensors, which does not say where tensors lie
            size = int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(size))
        entries.pop("__metadata__", None)
        readers |= {name: partial(_read_from_disk, path, 8 + size, entry) for name, entry in entries.items()}
    return LazyTensors(readers)


def _read_from_disk(path: Path, data: int, entry: Mapping[str, Any], rows: slice) -> torch.Tensor:
    dtype, size = _TYPES[entry["dtype"]], entry["shape"]
    start, stop, _ = rows.indices(size[0])
    row_bytes = math.prod(size[1:]) * dtype.itemsize
    place = data + entry["data_offsets"][0] + start * row_bytes
    try:
        found = read_from_disk(path, place, (stop - start) * row_bytes)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}). Check the disk and run again.") from None
    return torch.from_numpy(found).view(dtype).reshape(stop - start, *size[1:])


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise InputError(f"{path}: cannot be read ({error}). It is cut short; copy it again.") from None


def write_tensors(
    folder: Path, layout: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]
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
        with DiskFile(folder / name) as file:
            return _hashed(_contents(split.filename_to_tensors[name], layout, tensors), file.write)

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
