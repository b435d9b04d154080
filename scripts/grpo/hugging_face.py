"""Hugging Face model folders: tensors in, tensors out, with errors that name the file."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from common.errors import InputError
from common.files import read_json


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, from its index where it has one.

    Raises
    ------
    InputError
        If there are none, or the index names one that is missing.
    """
    index = folder / "model.safetensors.index.json"
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


def read_tensors(folder: Path, meta: bool = False) -> dict[str, torch.Tensor]:
    """All tensors of a folder by name.

    Parameters
    ----------
    meta
        Only names, shapes and types: tensors on the meta device, without reading the weights.

    Raises
    ------
    InputError
        If a file is cut short or is no safetensors file.
    """
    tensors: dict[str, torch.Tensor] = {}
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - not a dict
                    if meta:
                        part = file.get_slice(name)
                        tensors[name] = torch.empty(part.get_shape(), device="meta")
                    else:
                        tensors[name] = file.get_tensor(name)
        except SafetensorError as error:
            raise InputError(f"{path}: cannot be read ({error}). It is cut short; copy it again.") from None
    # Some tied checkpoints store the embedding twice. The copy says nothing; a different one is refused later.
    head, embedding = tensors.get("lm_head.weight"), tensors.get("model.embed_tokens.weight")
    tied = read_json(folder / "config.json").get("tie_word_embeddings") is True
    twice = head is not None and embedding is not None and head.shape == embedding.shape
    if tied and twice and (meta or torch.equal(head, embedding)):
        del tensors["lm_head.weight"]
    return tensors


def write_tensors(folder: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write ``model.safetensors``, tensors in the order of their names."""
    ordered = {name: tensors[name].contiguous() for name in sorted(tensors)}
    with writing(folder):
        save_file(ordered, folder / "model.safetensors", metadata={"format": "pt"})


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what safetensors raises on a full disk into one line.

    Raises
    ------
    InputError
        Names the folder and the system's reason.
    """
    try:
        yield
    except SafetensorError as error:
        raise InputError(f"{folder}: the weights cannot be written ({error}). Make room and run again.") from None


def stored_dtype(folder: Path) -> torch.dtype:
    """Type of the weights that config.json states (float32 if it states none)."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = config.get("dtype") or config.get("torch_dtype") or "float32"
    return getattr(torch, name)
