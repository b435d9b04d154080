"""Attention by a fused kernel: one that never holds the scores of all keys."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float | None = None
) -> torch.Tensor:
    """Attend; without a mask causally.

    Of CUDA's fused kernels those that take a mask, or 32 bits, want a key and a value for each head: asked with fewer
    (``enable_gqa``), torch falls back on one that holds all scores in float32. A CPU's takes fewer.

    Parameters
    ----------
    query
        ``[B, heads, T, d]``.
    key, value
        ``[B, groups, S, d]``; the heads of a group stand beside each other.
    mask
        True where a query sees a key; broadcasts to ``[B, heads, T, S]``.
    scale
        Of the scores; 1 / sqrt(d) if None.
    """
    if query.is_cuda:
        key, value = (for_each_head(x, query.shape[1]) for x in (key, value))
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=not query.is_cuda
    )


def for_each_head(x: torch.Tensor, heads: int) -> torch.Tensor:
    """``[B, groups, S, d] -> [B, heads, S, d]``."""
    return x.repeat_interleave(heads // x.shape[1], dim=1)
