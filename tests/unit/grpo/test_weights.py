import dataclasses

import pytest
import torch

from common.errors import InputError
from grpo.qwen3 import Qwen3Shape
from grpo.weights import check_tensors, to_hugging_face, to_megatron
from tensor_sums import checksum


def test_round_trip_is_bit_equal(tensors: dict, shape: Qwen3Shape) -> None:
    back = to_hugging_face(to_megatron(tensors, shape), shape)
    assert set(back) == set(tensors)
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    assert checksum(back) == checksum(tensors)


def test_query_key_value_lie_by_group(shape: Qwen3Shape, tensors: dict) -> None:
    qkv = to_megatron(tensors, shape)["decoder.layers.0.self_attention.linear_qkv.weight"]
    # group 1 of 2: query heads 2 and 3, key head 1, value head 1; 8 rows each
    second = qkv[32:]
    assert torch.equal(second[:16], tensors["model.layers.0.self_attn.q_proj.weight"][16:])
    assert torch.equal(second[16:24], tensors["model.layers.0.self_attn.k_proj.weight"][8:])
    assert torch.equal(second[24:], tensors["model.layers.0.self_attn.v_proj.weight"][8:])


def test_one_changed_bit_changes_the_checksum(tensors: dict) -> None:
    changed = {**tensors, "model.norm.weight": tensors["model.norm.weight"].clone()}
    changed["model.norm.weight"].view(torch.int32)[0] ^= 1
    assert checksum(changed) != checksum(tensors)


def test_missing_extra_and_misshapen_tensors_are_refused(tensors: dict, shape: Qwen3Shape) -> None:
    check_tensors(tensors, shape, "folder")
    name = "model.layers.1.mlp.up_proj.weight"
    with pytest.raises(InputError, match=f"folder: 1 tensor.* missing, first {name}"):
        check_tensors({k: v for k, v in tensors.items() if k != name}, shape, "folder")
    with pytest.raises(InputError, match="tie_word_embeddings"):
        check_tensors({**tensors, "lm_head.weight": torch.zeros(64, 32)}, shape, "folder")
    with pytest.raises(InputError, match=r"up_proj.weight is \(48, 31\), config.json says \(48, 32\)"):
        check_tensors({**tensors, name: torch.zeros(48, 31)}, shape, "folder")


def test_untied_model_needs_its_output_layer(tensors: dict, shape: Qwen3Shape) -> None:
    with pytest.raises(InputError, match=r"lm_head\.weight"):
        check_tensors(tensors, dataclasses.replace(shape, tied_embeddings=False), "folder")
