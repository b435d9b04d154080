"""A small Qwen3 with weights that leave no mistake unseen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from grpo.checkpoint import save
from grpo.hugging_face import write_tensors
from grpo.learner import ComputeSettings, Learner, UpdateSettings
from grpo.loss import LossSettings
from grpo.parallel import Ranks
from grpo.qwen3 import Qwen3Shape, build_model
from grpo.weights import expected_shapes, to_megatron


@pytest.fixture(scope="session")
def shape() -> Qwen3Shape:
    return Qwen3Shape(
        layers=2,
        hidden=32,
        heads=4,
        query_groups=2,
        head_dim=8,
        ffn=48,
        vocabulary=64,
        rope_base=1e6,
        norm_epsilon=1e-6,
        tied_embeddings=True,
        max_positions=128,
    )


@pytest.fixture(scope="session")
def tensors(shape: Qwen3Shape) -> dict[str, torch.Tensor]:
    """Random Hugging Face tensors; the norms are far from 1, so that a swapped one shows."""
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.rand(size, generator=generator) + 0.5
        if len(size) == 1
        else 0.2 * torch.randn(size, generator=generator)
        for name, size in expected_shapes(shape).items()
    }


@pytest.fixture
def folder(tmp_path: Path, shape: Qwen3Shape, tensors: dict[str, torch.Tensor]) -> Path:
    """The same weights as a Hugging Face folder."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text(
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
    write_tensors(path, tensors, tensors)
    return path


@pytest.fixture
def model(ranks: Ranks, shape: Qwen3Shape, tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    model = build_model(shape)
    model.load_state_dict(to_megatron(tensors, shape), strict=False)
    return model


@pytest.fixture(scope="session")
def weights(
    ranks: Ranks,
    shape: Qwen3Shape,
    tensors: dict[str, torch.Tensor],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A Megatron checkpoint of these tensors."""
    model = build_model(shape)
    model.load_state_dict(to_megatron(tensors, shape), strict=False)
    return save(tmp_path_factory.mktemp("weights"), 0, model)


@pytest.fixture
def make_learner(ranks: Ranks, shape: Qwen3Shape, weights: Path) -> Callable[..., Learner]:
    def make(compute: ComputeSettings | None = None, **settings: object) -> Learner:
        update = UpdateSettings(**{"loss": LossSettings(), "group_size": 4, **settings})
        return Learner(shape, weights, ranks, update, compute)

    return make
