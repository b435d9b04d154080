"""Qwen3 weights between Hugging Face's names and layout and Megatron's, and back, bit by bit.

Megatron stores query, key and value of a layer in one tensor, ordered by query group: for each group
its query heads, its key head, its value head; and gate and up projection stacked in one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from pathlib import Path

import torch

from common.errors import InputError
from common.model_folder import listing_sum
from grpo.hugging_face import sums_of_files
from grpo.shape import Qwen3Shape
from grpo.stored_weights import read_weights
from grpo.tensors import LazyTensors

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


def to_megatron(tensors: Mapping[str, torch.Tensor], shape: Qwen3Shape) -> Mapping[str, torch.Tensor]:
    """Hugging Face tensors as a full (unsplit) Megatron state dict; each is made when it is asked for."""
    readers = {ours: partial(tensors.__getitem__, theirs) for ours, theirs in _TOP.items() if theirs in tensors}
    for layer in range(shape.layers):
        ours, theirs = f"decoder.layers.{layer}.", f"model.layers.{layer}."
        readers[ours + _QKV] = partial(_join_qkv, tensors, theirs, shape)
        readers[ours + _FC1] = partial(_join_fc1, tensors, theirs)
        readers |= {ours + a: partial(tensors.__getitem__, theirs + b) for a, b in _LAYER.items()}
    return LazyTensors(readers)


def _join_qkv(tensors: Mapping[str, torch.Tensor], layer: str, shape: Qwen3Shape) -> torch.Tensor:
    size = (shape.query_groups, -1, shape.head_dim, shape.hidden)
    parts = [tensors[f"{layer}self_attn.{x}_proj.weight"].view(size) for x in "qkv"]
    return _joined(parts, dim=1).reshape(-1, shape.hidden)


def _join_fc1(tensors: Mapping[str, torch.Tensor], layer: str) -> torch.Tensor:
    return _joined([tensors[f"{layer}mlp.{x}_proj.weight"] for x in ("gate", "up")])


def _joined(parts: list[torch.Tensor], dim: int = 0) -> torch.Tensor:
    """`torch.cat`, which on the meta device would import torch's compiler, in whatever thread calls it first."""
    if not parts[0].is_meta:
        return torch.cat(parts, dim)
    size = list(parts[0].shape)
    size[dim] = sum(part.shape[dim] for part in parts)
    return torch.empty(size, dtype=parts[0].dtype, device="meta")


def to_hugging_face(tensors: Mapping[str, torch.Tensor], shape: Qwen3Shape) -> Mapping[str, torch.Tensor]:
    """Tensors of a full Megatron state dict as Hugging Face tensors; the inverse of `to_megatron`, as lazy.

    Raises
    ------
    InputError
        For a tensor that a dense Qwen3 does not have.
    """
    # Of what becomes several tensors the last ones stay: several are asked for in a row.
    last = lru_cache(maxsize=4)(tensors.__getitem__)
    readers: dict[str, Callable[[], torch.Tensor]] = {}
    for name in tensors:
        match = re.fullmatch(r"decoder\.layers\.(\d+)\.(.+)", name)
        pre, inner = (f"model.layers.{match[1]}.", match[2]) if match else ("", "")
        if name in _TOP:
            readers[_TOP[name]] = partial(_unpadded, tensors, name, shape)
        elif inner == _QKV:
            readers |= {f"{pre}self_attn.{x}_proj.weight": partial(_split_qkv, last, name, shape, x) for x in "qkv"}
        elif inner == _FC1:
            readers |= {f"{pre}mlp.{x}_proj.weight": partial(_split_fc1, last, name, x) for x in ("gate", "up")}
        elif inner in _LAYER:
            readers[pre + _LAYER[inner]] = partial(tensors.__getitem__, name)
        else:
            raise InputError(f"checkpoint: tensor {name} is not part of a dense Qwen3.")
    return LazyTensors(readers)


def by_layer(names: Iterable[str]) -> dict[int, list[str]]:
    """Names of tensors, of either form, by their layer; those of no layer, which are the largest, at -1, last."""
    layers: dict[int, list[str]] = {}
    for name in names:
        match = re.search(r"\blayers\.(\d+)\.", name)
        layers.setdefault(int(match[1]) if match else -1, []).append(name)
    return dict(sorted(layers.items(), key=lambda item: (item[0] < 0, item[0])))


def _unpadded(tensors: Mapping[str, torch.Tensor], name: str, shape: Qwen3Shape) -> torch.Tensor:
    return without_padding(name, tensors[name], shape)


def _split_qkv(read: Callable[[str], torch.Tensor], name: str, shape: Qwen3Shape, part: str) -> torch.Tensor:
    per_group = shape.heads // shape.query_groups
    heads = read(name).view(shape.query_groups, per_group + 2, shape.head_dim, -1)
    own = {"q": slice(0, per_group), "k": slice(per_group, per_group + 1), "v": slice(per_group + 1, None)}[part]
    return heads[:, own].reshape(-1, shape.hidden).contiguous()


def _split_fc1(read: Callable[[str], torch.Tensor], name: str, part: str) -> torch.Tensor:
    gate, up = read(name).chunk(2)
    return (gate if part == "gate" else up).contiguous()


def without_padding(name: str, tensor: torch.Tensor, shape: Qwen3Shape) -> torch.Tensor:
    """The tensor without the rows that Megatron adds to a vocabulary.

    Megatron rounds the vocabulary up to a multiple of 128 times the tensor ranks: 151,936 rows are 152,064 on
    two ranks. Rows that no such rounding adds stay, and `check_tensors` refuses them.
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
    stored = to_hugging_face(read_weights(checkpoint, meta=True), shape)
    check_tensors(stored, shape, str(checkpoint))
    # In the order in which files are filled with them, whatever the order in the checkpoint.
    layout = {name: stored[name] for name in expected_shapes(shape)}
    return listing_sum(sums_of_files(layout, to_hugging_face(read_weights(checkpoint), shape)))
