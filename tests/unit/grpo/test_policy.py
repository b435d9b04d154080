"""Megatron computes what transformers computes; a wrong RoPE base, head order or epsilon shows."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from common.errors import InputError
from grpo import parity
from grpo.hugging_face import read_tensors, stored_dtype, write_tensors
from grpo.parallel import Ranks
from grpo.qwen3 import Qwen3Shape, build_model, read_shape
from grpo.weights import check_tensors, to_megatron


@pytest.fixture
def folder(tmp_path: Path, shape: Qwen3Shape, tensors: dict[str, torch.Tensor]) -> Path:
    """The same weights as a Hugging Face folder."""
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["Qwen3ForCausalLM"],
                "model_type": "qwen3",
                "num_hidden_layers": shape.layers,
                "hidden_size": shape.hidden,
                "num_attention_heads": shape.heads,
                "num_key_value_heads": shape.query_groups,
                "head_dim": shape.head_dim,
                "intermediate_size": shape.ffn,
                "vocab_size": shape.vocabulary,
                "rope_theta": shape.rope_base,
                "rms_norm_eps": shape.norm_epsilon,
                "tie_word_embeddings": shape.tied_embeddings,
                "max_position_embeddings": shape.max_positions,
            }
        )
    )
    write_tensors(tmp_path, tensors, tensors)
    return tmp_path


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def compare(folder: Path, model: torch.nn.Module, shape: Qwen3Shape) -> dict[str, float]:
    whole = parity.Whole(shape)
    return whole.agreement(folder, whole.theirs(folder), parity.our_logits(model, whole.ids))


def test_logits_agree(folder: Path, model: torch.nn.Module, shape: Qwen3Shape) -> None:
    assert read_shape(folder) == shape
    assert compare(folder, model, shape)["relative_difference"] < 1e-5


def test_logits_agree_untied(ranks: Ranks, folder: Path, shape: Qwen3Shape, tensors: dict[str, torch.Tensor]) -> None:
    untied = dataclasses.replace(shape, tied_embeddings=False)
    more = {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].flip(0)}
    write_tensors(folder, more, more)
    edit(folder, tie_word_embeddings=False)
    model = build_model(untied)
    model.load_state_dict(to_megatron(more, untied), strict=False)
    assert compare(folder, model, untied)["relative_difference"] < 1e-5


@pytest.mark.parametrize("mistake", [{"rope_theta": 1e4}, {"rms_norm_eps": 1e-2}])
def test_another_rope_base_or_epsilon_is_refused(
    folder: Path, model: torch.nn.Module, shape: Qwen3Shape, mistake: dict[str, float]
) -> None:
    edit(folder, **mistake)
    with pytest.raises(InputError, match="transformers and Megatron differ"):
        compare(folder, model, shape)


def test_swapped_heads_are_refused(folder: Path, model: torch.nn.Module, shape: Qwen3Shape) -> None:
    with torch.no_grad():
        qkv = dict(model.named_parameters())["decoder.layers.0.self_attention.linear_qkv.weight"]
        qkv.copy_(qkv.roll(shape.head_dim, 0))
    with pytest.raises(InputError, match="transformers and Megatron differ"):
        compare(folder, model, shape)


def test_logits_of_zero_are_no_agreement(
    folder: Path, model: torch.nn.Module, shape: Qwen3Shape, tensors: dict[str, torch.Tensor]
) -> None:
    nothing = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    write_tensors(folder, nothing, nothing)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    with pytest.raises(InputError, match="all logits are 0"):
        compare(folder, model, shape)


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
