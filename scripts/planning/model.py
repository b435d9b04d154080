"""What a dense Qwen3 costs: weights, floating-point operations a token, bytes a cached token."""

from __future__ import annotations

from grpo.shape import Qwen3Shape

# The only models whose config.json could not be read where this was written, with values taken from public
# descriptions. A plan uses them until the model is there, and says so; nothing else ever does.
ASSUMED = {
    "Qwen/Qwen3-4B-Thinking-2507": Qwen3Shape(
        layers=36,
        hidden=2560,
        heads=32,
        query_groups=8,
        head_dim=128,
        ffn=9728,
        vocabulary=151936,
        rope_base=5_000_000.0,
        norm_epsilon=1e-6,
        tied_embeddings=True,
        max_positions=262144,
    )
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
