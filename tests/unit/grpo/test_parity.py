"""Megatron computes what transformers computes; a wrong RoPE base, head order or epsilon shows, and in parts, too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from common.errors import InputError
from grpo import hugging_face, parity
from grpo.hugging_face import write_tensors
from grpo.parallel import Ranks
from grpo.qwen3 import Qwen3Shape, build_model, read_shape
from grpo.stored_weights import write_weights
from grpo.weights import to_megatron

Tensors = dict[str, torch.Tensor]
EMBEDDING = "embedding.word_embeddings.weight"


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def compare(folder: Path, model: torch.nn.Module, shape: Qwen3Shape) -> dict[str, float]:
    whole = parity.Whole(shape)
    return whole.agreement(folder, whole.theirs(folder), parity.our_logits(model, whole.ids))


def test_logits_agree(folder: Path, model: torch.nn.Module, shape: Qwen3Shape) -> None:
    assert read_shape(folder) == shape
    assert compare(folder, model, shape)["relative_difference"] < 1e-5


def test_logits_agree_untied(ranks: Ranks, folder: Path, shape: Qwen3Shape, tensors: Tensors) -> None:
    untied = replace(shape, tied_embeddings=False)
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
    folder: Path, model: torch.nn.Module, shape: Qwen3Shape, tensors: Tensors
) -> None:
    nothing = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    write_tensors(folder, nothing, nothing)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    with pytest.raises(InputError, match="all logits are 0"):
        compare(folder, model, shape)


# --- in parts ---


def test_what_is_compared_whole_is_a_matter_of_size(shape: Qwen3Shape) -> None:
    assert parity.fits(shape)
    # 36 x 100,931,072 + 151,936 x 2560 + 2560 weights, two copies of 4 bytes: 32 GB
    assert not parity.fits(Qwen3Shape(36, 2560, 32, 8, 128, 9728, 151_936, 5e6, 1e-6, True, 4096))


def in_parts(folder: Path, weights: Mapping[str, torch.Tensor], shape: Qwen3Shape) -> dict[str, Any]:
    sides = parity.LayerByLayer(folder, shape)
    return sides.agreement(folder, sides.theirs(folder), sides.ours(weights))


def test_the_base_model_is_read_from_memory_and_what_is_made_of_it_from_the_disk(
    folder: Path, shape: Qwen3Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = parity.LayerByLayer(folder, shape)
    made = Path(shutil.copytree(folder, tmp_path / "made"))

    def no_disk(*_: Any) -> None:
        raise OSError("not from the disk")

    monkeypatch.setattr(hugging_face, "read_from_disk", no_disk)
    assert len(sides.theirs(folder)) == len(sides.layers)
    with pytest.raises(InputError, match="not from the disk"):
        sides.theirs(made)


@pytest.mark.parametrize(("most", "runs", "rows"), [(40, 64, 40), (40, 4, 40), (2048, 3, 63), (2048, 1, 64)])
def test_rows_of_the_vocabulary_are_picked_without_overlap(
    folder: Path, shape: Qwen3Shape, monkeypatch: pytest.MonkeyPatch, most: int, runs: int, rows: int
) -> None:
    monkeypatch.setattr(parity, "PART_ROWS", most)
    monkeypatch.setattr(parity, "PART_RUNS", runs)
    part = parity.LayerByLayer(folder, shape)
    picked = [row for run in part.tokens for row in range(shape.vocabulary)[run]]
    assert part.shape.vocabulary == len(picked) == len(set(picked)) == rows
    assert len(part.tokens) == min(runs, most)


@pytest.mark.parametrize("tied", [True, False])
def test_a_process_of_its_own_compares_padded_and_untied_models_in_parts(
    ranks: Ranks,
    folder: Path,
    shape: Qwen3Shape,
    tensors: Tensors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tied: bool,
) -> None:
    monkeypatch.setattr(parity, "WHOLE_BYTES", 1)
    monkeypatch.setattr(parity, "PART_RUNS", 4)
    monkeypatch.setattr(parity.parallel, "start", lambda device: None)  # they are started
    shape = replace(shape, tied_embeddings=tied)
    if not tied:
        tensors = tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].flip(0)}
        write_tensors(folder, tensors, tensors)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    ours = dict(to_megatron(tensors, shape))
    for name in (EMBEDDING, "output_layer.weight"):
        if name in ours:
            ours[name] = torch.cat([ours[name], torch.full((64, shape.hidden), 9.0)])
    path = write_weights(tmp_path / "right", 0, ours, ours)
    head = EMBEDDING if tied else "output_layer.weight"
    other = ours | {head: ours[head].flip(0)}
    wrong = write_weights(tmp_path / "wrong", 0, other, other)
    assert parity.after_import(folder, 1)(path)["relative_difference"] < 1e-5
    assert parity.after_export(folder, path, 1)(folder)["relative_difference"] < 1e-5
    with pytest.raises(InputError, match="layer 0: transformers and Megatron differ"):
        parity.after_import(folder, 1)(wrong)
    with pytest.raises(InputError, match="layer 0: transformers and Megatron differ"):
        parity.after_export(folder, wrong, 1)(folder)


def test_parts_agree_and_a_layer_that_differs_is_named(
    ranks: Ranks, folder: Path, shape: Qwen3Shape, tensors: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = dict(to_megatron(tensors, shape))
    monkeypatch.setattr(parity, "PART_ROWS", 40)
    found = in_parts(folder, weights, shape)
    assert found["layers"] == [0, 1]
    assert found["vocabulary_rows"] == 40
    assert found["relative_difference"] < 1e-5
    for name in ("decoder.layers.1.self_attention.q_layernorm.weight", EMBEDDING, "decoder.final_layernorm.weight"):
        spoiled = weights | {name: weights[name].flip(0)}
        layer = 1 if "layers.1" in name else 0
        with pytest.raises(InputError, match=rf"layer {layer}: transformers and Megatron differ"):
            in_parts(folder, spoiled, shape)
    for name in ("decoder.layers.1.mlp.linear_fc2.weight", "decoder.final_layernorm.weight"):
        with pytest.raises(InputError, match=r"tensor decoder\..*(linear_fc2|final_layernorm)\.weight is missing"):
            in_parts(folder, {other: weights[other] for other in weights if other != name}, shape)
    with pytest.raises(InputError, match=r"tensor more\.weight is not part of a dense Qwen3"):
        in_parts(folder, weights | {"more.weight": torch.ones(2)}, shape)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": 1e4}))
    with pytest.raises(InputError, match="layer 0: transformers and Megatron differ"):
        in_parts(folder, weights, shape)
