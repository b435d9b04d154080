"""What a Hugging Face folder may hold, and how one that cannot be read is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from common.errors import InputError
from grpo.hugging_face import read_tensors, stored_dtype, write_tensors
from grpo.qwen3 import Qwen3Shape, read_shape
from grpo.weights import check_tensors


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def test_a_tied_model_that_stores_its_embedding_twice_is_read(
    folder: Path, shape: Qwen3Shape, tensors: dict[str, torch.Tensor]
) -> None:
    embedding = tensors["model.embed_tokens.weight"]
    twice = {**tensors, "lm_head.weight": embedding.clone()}
    write_tensors(folder, twice, twice)
    check_tensors(read_tensors(folder), shape, "folder")
    twice["lm_head.weight"] = embedding + 1
    write_tensors(folder, twice, twice)
    with pytest.raises(InputError, match=r"lm_head\.weight"):
        check_tensors(read_tensors(folder), shape, "folder")


def test_another_architecture_or_an_unknown_feature_is_refused(folder: Path) -> None:
    edit(folder, rope_scaling={"type": "yarn", "factor": 4.0})
    with pytest.raises(InputError, match="rope_scaling"):
        read_shape(folder)
    edit(folder, architectures=["LlamaForCausalLM"])
    with pytest.raises(InputError, match="only Qwen3ForCausalLM"):
        read_shape(folder)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("rope_theta", "x", "not a positive number"),
        ("rope_theta", -1, "not a positive number"),
        ("rope_theta", float("nan"), "not a positive number"),
        pytest.param("rope_theta", 10**400, r"10+\.\.\., not a positive number", id="rope_theta-10**400"),
        pytest.param("vocab_size", 10**400, r"10+\.\.\., not a positive whole number", id="vocab_size-10**400"),
        ("head_dim", 7, "is 7, not even"),
        ("rms_norm_eps", None, "not a positive number"),
        ("num_hidden_layers", "36", "not a positive whole number"),
        ("num_hidden_layers", True, "not a positive whole number"),
        ("head_dim", 0, "not a positive whole number"),
        ("vocab_size", 1.5, "not a positive whole number"),
        ("num_attention_heads", 3, "no multiple of num_key_value_heads"),
        ("tie_word_embeddings", "yes", "neither true nor false"),
        ("architectures", "Qwen3ForCausalLM", "only Qwen3ForCausalLM"),
        ("architectures", {"a": 1}, "only Qwen3ForCausalLM"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_key(folder: Path, key: str, value: object, words: str) -> None:
    read_shape(folder)
    edit(folder, **{key: value})
    with pytest.raises(InputError, match=rf"config\.json: {key} .*{words}"):
        read_shape(folder)


@pytest.mark.parametrize("dtype", ["float8", "Tensor", 16, ["bfloat16"]], ids=str)
def test_a_type_that_weights_do_not_have_is_refused(folder: Path, dtype: object) -> None:
    edit(folder, dtype="bfloat16")
    assert stored_dtype(folder) == torch.bfloat16
    edit(folder, dtype=dtype)
    with pytest.raises(InputError, match=r"config\.json: dtype is .*, none of float32, bfloat16, float16"):
        stored_dtype(folder)


def test_a_weight_file_cut_short_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read"):
        read_tensors(folder)
