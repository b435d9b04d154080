"""What a dense Qwen3 costs: weights, floating-point operations a token, bytes a cached token."""

from __future__ import annotations

from grpo.shape import Qwen3Shape

# What public sources say of the hub's models, whose own files could not be had where this was written. A plan uses it
# until a model's config.json is there, and says so; nothing else ever does.
_OF_ALL = {"query_groups": 8, "head_dim": 128, "vocabulary": 151936, "norm_epsilon": 1e-6}
_FIRST = _OF_ALL | {"rope_base": 1_000_000.0, "max_positions": 40960}

# Of the first dense ones: NVIDIA-NeMo/Megatron-Bridge at fb8a4d6, src/megatron/bridge/models/qwen/qwen_provider.py,
# whose tests compare it with their config.json. Of the one of 2507: akougkas/warpio-cli at 8dde6d2,
# warpio-docs/ai-docs/model_cards/qwen3:4b.md, a copy of a config.json and of the template that begins a thought.
ASSUMED = {
    "Qwen/Qwen3-0.6B": Qwen3Shape(layers=28, hidden=1024, heads=16, ffn=3072, tied_embeddings=True, **_FIRST),
    "Qwen/Qwen3-1.7B": Qwen3Shape(layers=28, hidden=2048, heads=16, ffn=6144, tied_embeddings=True, **_FIRST),
    "Qwen/Qwen3-4B": Qwen3Shape(layers=36, hidden=2560, heads=32, ffn=9728, tied_embeddings=True, **_FIRST),
    "Qwen/Qwen3-8B": Qwen3Shape(layers=36, hidden=4096, heads=32, ffn=12288, tied_embeddings=False, **_FIRST),
    "Qwen/Qwen3-14B": Qwen3Shape(layers=40, hidden=5120, heads=40, ffn=17408, tied_embeddings=False, **_FIRST),
    "Qwen/Qwen3-32B": Qwen3Shape(layers=64, hidden=5120, heads=64, ffn=25600, tied_embeddings=False, **_FIRST),
    "Qwen/Qwen3-4B-Thinking-2507": Qwen3Shape(
        layers=36,
        hidden=2560,
        heads=32,
        ffn=9728,
        tied_embeddings=True,
        rope_base=5_000_000.0,
        max_positions=262144,
        **_OF_ALL,
    ),
}


def weights(shape: Qwen3Shape) -> int:
    """All weights, tied ones once."""
    norms = shape.layers * (2 * shape.hidden + 2 * shape.head_dim) + shape.hidden
    embeddings = shape.vocabulary * shape.hidden * (1 if shape.tied_embeddings else 2)
    return shape.matrix_weights + norms + embeddings


def forward_flops(shape: Qwen3Shape, length: float) -> float:
    """Operations of a forward pass, a token, in a sequence of `length` tokens; with the backward pass three times that.

    Two for each weight of a matrix (Kaplan et al. 2020, arXiv 2001.08361), and in each layer the products of
    queries with keys and of probabilities with values over the tokens before, half of `length` on average
    (Korthikanti et al. 2022, arXiv 2205.05198, appendix A, count all of them: twice this part).
    """
    attention = shape.layers * 2 * shape.heads * shape.head_dim * length
    return 2 * (shape.matrix_weights + shape.hidden * shape.vocabulary) + attention


def cache_bytes(shape: Qwen3Shape, number_bytes: int) -> int:
    """Bytes of one token's keys and values in all layers."""
    return 2 * shape.layers * shape.query_groups * shape.head_dim * number_bytes
