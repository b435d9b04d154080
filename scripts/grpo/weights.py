"""Qwen3 weights between Hugging Face's names and layout and Megatron's, and back, bit by bit.

Megatron stores query, key and value of a layer in one tensor, ordered by query group: for each group
its query heads, its key head, its value head; and gate and up projection stacked in one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from common.errors import InputError
from common.model_folder import listing_sum
from grpo.hugging_face import sums_of_files
from grpo.shape import Qwen3Shape
from grpo.stored_weights import read_weights
from grpo.tensors import LazyTensors, joined, rows_of

_TOP = {
    "embedding.word_embeddings.weight": "model.embed_tokens.weight",
    "decoder.final_layernorm.weight": "model.norm.weight",
    "output_layer.weight": "lm_head.weight",
}
_LAYER = {
    "input_layernorm.weight": "input_layernorm.weight",
    "pre_mlp_layernorm.weight": "post_attention_layernorm.weight",
    "self_attention.q_layernorm.weight": "self_attn.q_norm.weight",
    "self_attention.k_layernorm.weight": "self_attn.k_norm.weight",
    "self_attention.linear_proj.weight": "self_attn.o_proj.weight",
    "mlp.linear_fc2.weight": "mlp.down_proj.weight",
}
_PADDED_TO, _MOST_RANKS = 128, 64  # Megatron's default multiple of the vocabulary, and more tensor ranks than any
_QKV, _FC1 = "self_attention.linear_qkv.weight", "mlp.linear_fc1.weight"
_NAME = re.compile(r"(?:decoder|model)\.layers\.(\d+)\.(.+)")


class Run(NamedTuple):
    """Rows that follow each other both in a tensor of Megatron's and in one of Hugging Face's."""

    ours: str
    start: int  # in Megatron's tensor
    theirs: str
    their_start: int
    rows: int


def expected_shapes(shape: Qwen3Shape) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a Hugging Face checkpoint of this shape."""
    h, d = shape.hidden, shape.head_dim
    tensors: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (shape.vocabulary, h)}
    for layer in range(shape.layers):
        pre = f"model.layers.{layer}."
        tensors |= {
            pre + "input_layernorm.weight": (h,),
            pre + "post_attention_layernorm.weight": (h,),
            pre + "self_attn.q_norm.weight": (d,),
            pre + "self_attn.k_norm.weight": (d,),
            pre + "self_attn.q_proj.weight": (shape.heads * d, h),
            pre + "self_attn.k_proj.weight": (shape.query_groups * d, h),
            pre + "self_attn.v_proj.weight": (shape.query_groups * d, h),
            pre + "self_attn.o_proj.weight": (h, shape.heads * d),
            pre + "mlp.gate_proj.weight": (shape.ffn, h),
            pre + "mlp.up_proj.weight": (shape.ffn, h),
            pre + "mlp.down_proj.weight": (h, shape.ffn),
        }
    tensors["model.norm.weight"] = (h,)
    if not shape.tied_embeddings:
        tensors["lm_head.weight"] = (shape.vocabulary, h)
    return tensors


def check_tensors(tensors: Mapping[str, torch.Tensor], shape: Qwen3Shape, source: str) -> None:
    """Refuse a missing tensor, an extra one, or one of another shape.

    Raises
    ------
    InputError
        Names the source, the first tensors concerned, and what config.json says.
    """
    expected = expected_shapes(shape)
    missing, extra = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing:
        raise InputError(
            f"{source}: {len(missing)} tensor(s) missing, first {missing[0]}. "
            "config.json and weights do not belong together, or a file is missing; copy the folder again."
        )
    if extra:
        hint = "config.json says tie_word_embeddings" if extra == ["lm_head.weight"] else "config.json does not know it"
        raise InputError(
            f"{source}: {len(extra)} extra tensor(s), first {extra[0]}: {hint}. Use a matching config.json."
        )
    for name, size in expected.items():
        if tuple(tensors[name].shape) != size:
            found = tuple(tensors[name].shape)
            raise InputError(f"{source}: {name} is {found}, config.json says {size}. Use a matching config.json.")


def runs_of_layer(shape: Qwen3Shape, layer: int) -> list[Run]:
    """All rows of a layer's tensors, in the order in which Megatron's have them."""
    ours, theirs, d = f"decoder.layers.{layer}.", f"model.layers.{layer}.", shape.head_dim
    sizes = {"q": shape.heads // shape.query_groups * d, "k": d, "v": d}  # rows of a query group
    each = sum(sizes.values())
    runs = []
    for group in range(shape.query_groups):
        start = group * each
        for part, rows in sizes.items():
            runs.append(Run(ours + _QKV, start, f"{theirs}self_attn.{part}_proj.weight", group * rows, rows))
            start += rows
    for number, part in enumerate(("gate", "up")):
        runs.append(Run(ours + _FC1, number * shape.ffn, f"{theirs}mlp.{part}_proj.weight", 0, shape.ffn))
    of_layer = {"self_attn.q_norm.weight": d, "self_attn.k_norm.weight": d}
    runs += [Run(ours + a, 0, theirs + b, 0, of_layer.get(b, shape.hidden)) for a, b in _LAYER.items()]
    return runs


def runs_of_top(shape: Qwen3Shape) -> list[Run]:
    """All rows of the tensors of no layer, without the padding of the vocabulary."""
    rows = {"model.norm.weight": shape.hidden}
    return [Run(ours, 0, theirs, 0, rows.get(theirs, shape.vocabulary)) for ours, theirs in _TOP.items()]


def check_checkpoint(layout: Mapping[str, torch.Tensor], shape: Qwen3Shape, source: str) -> None:
    """`check_tensors` of a full Megatron state dict, whose vocabulary may be padded.

    Parameters
    ----------
    layout
        Every tensor's shape; meta tensors will do.

    Raises
    ------
    InputError
        Names the source, the first tensor concerned, and what config.json says.
    """
    check_tensors(to_hugging_face(layout, shape), shape, source)
    rows: dict[str, int] = {}
    for run in runs_of_top(shape) + [run for layer in range(shape.layers) for run in runs_of_layer(shape, layer)]:
        rows[run.ours] = rows.get(run.ours, 0) + run.rows
    for name, tensor in layout.items():
        size = tuple(without_padding(name, tensor, shape).shape)
        if size[0] != rows[name]:
            raise InputError(
                f"{source}: {name} is {size}, config.json says {(rows[name], *size[1:])}. Use a matching config.json."
            )


def to_megatron(tensors: Mapping[str, torch.Tensor], shape: Qwen3Shape) -> LazyTensors:
    """Hugging Face tensors as a full (unsplit) Megatron state dict; what is asked for is made then."""
    runs = [run for run in runs_of_top(shape) if run.theirs in tensors]
    runs += [run for layer in range(shape.layers) for run in runs_of_layer(shape, layer)]
    sources: dict[str, list[tuple[str, int, int]]] = {}
    for run in sorted(runs, key=lambda run: run.start):
        sources.setdefault(run.ours, []).append((run.theirs, run.their_start, run.rows))
    return LazyTensors({name: partial(_gathered, tensors, parts) for name, parts in sources.items()})


def to_hugging_face(tensors: Mapping[str, torch.Tensor], shape: Qwen3Shape) -> LazyTensors:
    """Tensors of a full Megatron state dict as Hugging Face tensors; the inverse of `to_megatron`, as lazy.

    Rows beyond those of the shape are left out: `check_checkpoint` says whether they may be.

    Raises
    ------
    InputError
        For a tensor that a dense Qwen3 does not have.
    """
    layers = {int(match[1]) for name in tensors if (match := _NAME.fullmatch(name))}
    runs = runs_of_top(shape) + [run for layer in sorted(layers) for run in runs_of_layer(shape, layer)]
    known = {run.ours for run in runs}
    if unknown := [name for name in tensors if name not in known]:
        raise InputError(f"checkpoint: tensor {unknown[0]} is not part of a dense Qwen3.")
    sources: dict[str, list[tuple[str, int, int]]] = {}
    for run in sorted(runs, key=lambda run: run.their_start):
        if run.ours in tensors:
            sources.setdefault(run.theirs, []).append((run.ours, run.start, run.rows))
    return LazyTensors({name: partial(_gathered, tensors, parts) for name, parts in sources.items()})


def _gathered(tensors: Mapping[str, torch.Tensor], parts: Sequence[tuple[str, int, int]], rows: slice) -> torch.Tensor:
    """Rows of a tensor that is made of other tensors' rows: ``parts`` are names, first rows and numbers of rows."""
    start, stop, _ = rows.indices(sum(count for _, _, count in parts))
    found, before = [], 0
    for name, first, count in parts:
        low, high = max(start, before), min(stop, before + count)
        if low < high:
            found.append(rows_of(tensors, name, slice(first + low - before, first + high - before)))
        before += count
    return joined(found or [rows_of(tensors, parts[0][0], slice(0, 0))])


def without_padding(name: str, tensor: torch.Tensor, shape: Qwen3Shape) -> torch.Tensor:
    """The tensor without the rows that Megatron adds to a vocabulary.

    Megatron rounds the vocabulary up to a multiple of 128 times the tensor ranks, unless it is told another number:
    151,936 rows are 152,064 on two ranks. Rows that no such rounding adds stay, and `check_checkpoint` refuses them.
    """
    rows = tensor.shape[0]
    padded = rows % _PADDED_TO == 0 and 0 < rows - shape.vocabulary < _PADDED_TO * _MOST_RANKS
    if name in ("embedding.word_embeddings.weight", "output_layer.weight") and padded:
        return tensor[: shape.vocabulary]
    return tensor


def weights_sum(checkpoint: Path, shape: Qwen3Shape) -> str:
    """SHA-256 of a checkpoint's weights, whatever ranks wrote them: that of the Hugging Face files that they make.

    torch writes a random id into each checkpoint, so that equal weights lie in unequal files.

    Returns
    -------
    str
        Of the list that ``sha256sum *.safetensors`` prints, if nothing is rounded to another type.

    Raises
    ------
    InputError
        If the checkpoint cannot be read, or is of another model.
    """
    stored = read_weights(checkpoint, meta=True)
    check_checkpoint(stored, shape, str(checkpoint))
    # In the order in which files are filled with them, whatever the order in the checkpoint.
    named = to_hugging_face(stored, shape)
    layout = {name: named[name] for name in expected_shapes(shape)}
    return listing_sum(sums_of_files(layout, to_hugging_face(read_weights(checkpoint), shape)))
