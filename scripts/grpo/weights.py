"""Qwen3 weights between Hugging Face's names and layout and Megatron's, and back, bit by bit.

Megatron stores query, key and value of a layer in one tensor, ordered by query group: for each group
its query heads, its key head, its value head; and gate and up projection stacked in one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import torch

from common.errors import InputError
from grpo.qwen3 import Qwen3Shape

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


def to_megatron(tensors: Mapping[str, torch.Tensor], shape: Qwen3Shape) -> dict[str, torch.Tensor]:
    """Hugging Face tensors as a full (unsplit) Megatron state dict."""
    out = {ours: tensors[theirs] for ours, theirs in _TOP.items() if theirs in tensors}
    groups, d = shape.query_groups, shape.head_dim
    for layer in range(shape.layers):
        ours, theirs = f"decoder.layers.{layer}.", f"model.layers.{layer}."
        q, k, v = (tensors[f"{theirs}self_attn.{x}_proj.weight"].view(groups, -1, d, shape.hidden) for x in "qkv")
        out[ours + _QKV] = torch.cat([q, k, v], dim=1).reshape(-1, shape.hidden)
        out[ours + _FC1] = torch.cat([tensors[f"{theirs}mlp.{x}_proj.weight"] for x in ("gate", "up")])
        out |= {ours + a: tensors[theirs + b] for a, b in _LAYER.items()}
    return out


def to_hugging_face(tensors: Mapping[str, torch.Tensor], shape: Qwen3Shape) -> dict[str, torch.Tensor]:
    """A full Megatron state dict as Hugging Face tensors; the inverse of `to_megatron`.

    Raises
    ------
    InputError
        For a tensor that a dense Qwen3 does not have.
    """
    out: dict[str, torch.Tensor] = {}
    per_group = shape.heads // shape.query_groups
    for name, tensor in tensors.items():
        if name in _TOP:
            out[_TOP[name]] = tensor
            continue
        match = re.fullmatch(r"decoder\.layers\.(\d+)\.(.+)", name)
        inner = match[2] if match else ""
        pre = f"model.layers.{match[1]}." if match else ""
        if inner == _QKV:
            heads = tensor.view(shape.query_groups, per_group + 2, shape.head_dim, shape.hidden)
            for x, part in zip("qkv", heads.split([per_group, 1, 1], dim=1), strict=True):
                out[f"{pre}self_attn.{x}_proj.weight"] = part.reshape(-1, shape.hidden).contiguous()
        elif inner == _FC1:
            for x, part in zip(("gate", "up"), tensor.chunk(2), strict=True):
                out[f"{pre}mlp.{x}_proj.weight"] = part.contiguous()
        elif inner in _LAYER:
            out[pre + _LAYER[inner]] = tensor
        else:
            raise InputError(f"checkpoint: tensor {name} is not part of a dense Qwen3.")
    return out


def checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, whatever file format the tensors came from."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
