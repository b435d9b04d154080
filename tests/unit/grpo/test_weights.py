import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from grpo.qwen3 import Qwen3Shape
from grpo.weights import (
    check_checkpoint,
    check_tensors,
    expected_shapes,
    runs_of_layer,
    runs_of_top,
    to_hugging_face,
    to_megatron,
)
from tensor_sums import checksum


def test_round_trip_is_bit_equal(tensors: dict, shape: Qwen3Shape) -> None:
    back = to_hugging_face(to_megatron(tensors, shape), shape)
    assert set(back) == set(tensors)
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    assert checksum(back) == checksum(tensors)


def test_every_row_of_either_form_has_one_place_in_the_other(tensors: dict, shape: Qwen3Shape) -> None:
    runs = [*runs_of_top(shape), *(run for layer in range(shape.layers) for run in runs_of_layer(shape, layer))]
    theirs = [(run.theirs, run.their_start + row) for run in runs for row in range(run.rows)]
    ours = [(run.ours, run.start + row) for run in runs for row in range(run.rows)]
    tensors = {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"]}
    assert sorted(theirs) == sorted((name, row) for name in tensors for row in range(len(tensors[name])))
    megatron = to_megatron(tensors, shape)
    assert sorted(ours) == sorted((name, row) for name in megatron for row in range(len(megatron[name])))


@given(data=st.data())
def test_rows_are_those_of_the_whole_tensor(data: st.DataObject) -> None:
    shape = Qwen3Shape(1, 4, 4, 2, 2, 5, 6, 5e6, 1e-6, True, 512)
    numbers = itertools.count()
    tensors = {
        name: torch.tensor([next(numbers) for _ in range(math.prod(size))]).reshape(size)
        for name, size in expected_shapes(shape).items()
    }
    for form in (to_megatron(tensors, shape), to_hugging_face(to_megatron(tensors, shape), shape)):
        for name, whole in form.items():
            start = data.draw(st.integers(0, len(whole)))
            rows = slice(start, data.draw(st.integers(start, len(whole))))
            assert torch.equal(form.rows(name, rows), whole[rows])


def test_a_checkpoint_with_other_sizes_is_refused(tensors: dict, shape: Qwen3Shape) -> None:
    ours = dict(to_megatron(tensors, shape))
    check_checkpoint(ours, shape, "iter")
    name = "decoder.layers.1.mlp.linear_fc1.weight"
    with pytest.raises(InputError, match=rf"iter: {name} is \(97, 32\), config.json says \(96, 32\)"):
        check_checkpoint(ours | {name: torch.zeros(97, 32)}, shape, "iter")
    with pytest.raises(InputError, match=r"up_proj.weight is \(47, 32\), config.json says \(48, 32\)"):
        check_checkpoint(ours | {name: torch.zeros(95, 32)}, shape, "iter")
    name = "decoder.layers.0.self_attention.linear_qkv.weight"
    with pytest.raises(InputError, match=r"_proj.weight is \(\d+, 31\), config.json says \(\d+, 32\)"):
        check_checkpoint(ours | {name: ours[name][:, 1:]}, shape, "iter")
    with pytest.raises(InputError, match=r"extra tensor.*model.layers.2"):
        check_checkpoint(ours | {"decoder.layers.2.input_layernorm.weight": torch.zeros(32)}, shape, "iter")


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
