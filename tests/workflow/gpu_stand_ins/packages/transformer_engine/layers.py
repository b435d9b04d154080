"""Linear layers, norms and attention with TransformerEngine's names, arguments and weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class _Module(nn.Module):
    """What all layers store beside their weights: nothing, in 16 bits."""

    def get_extra_state(self) -> Tensor:
        return torch.empty(0, dtype=torch.uint8)

    def set_extra_state(self, state: Any) -> None: ...


def _normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


class RMSNorm(_Module):
    def __init__(
        self, hidden_size: int, eps: float, sequence_parallel: bool, params_dtype: torch.dtype, **_: Any
    ) -> None:
        super().__init__()
        self.eps, self.weight = eps, nn.Parameter(torch.ones(hidden_size, dtype=params_dtype))
        self.weight.sequence_parallel = sequence_parallel

    def forward(self, x: Tensor) -> Tensor:
        return _normed(x, self.weight, self.eps)


class Linear(_Module):
    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        sequence_parallel: bool,
        tp_size: int,
        get_rng_state_tracker: Any,
        init_method: Any,
        bias: bool,
        parallel_mode: str,
        params_dtype: torch.dtype,
        **_: Any,
    ) -> None:
        super().__init__()
        assert not bias
        assert parallel_mode in ("column", "row")
        self.parallel_mode, self.parts, self.sequence_parallel = parallel_mode, tp_size, sequence_parallel
        column = parallel_mode == "column"
        rows, columns = (out_features // tp_size, in_features) if column else (out_features, in_features // tp_size)
        self.weight = nn.Parameter(torch.empty(rows, columns, dtype=params_dtype))
        with get_rng_state_tracker().fork():
            init_method(self.weight)
        self.weight.tensor_model_parallel = True
        self.weight.partition_dim, self.weight.partition_stride = 0 if column else 1, 1

    def forward(self, x: Tensor, is_first_microbatch: bool | None = None) -> Tensor:
        from megatron.core.tensor_parallel import mappings

        if self.parts == 1:
            return F.linear(x, self.weight)
        if self.parallel_mode == "column":
            gather = mappings.gather_from_sequence_parallel_region
            return F.linear(
                (gather if self.sequence_parallel else mappings.copy_to_tensor_model_parallel_region)(x), self.weight
            )
        scatter = mappings.reduce_scatter_to_sequence_parallel_region
        reduce = scatter if self.sequence_parallel else mappings.reduce_from_tensor_model_parallel_region
        return reduce(F.linear(x, self.weight))


class LayerNormLinear(Linear):
    def __init__(self, in_features: int, out_features: int, *, eps: float, normalization: str, **given: Any) -> None:
        super().__init__(in_features, out_features, **given)
        assert normalization == "RMSNorm"
        self.eps = eps
        self.layer_norm_weight = nn.Parameter(torch.ones(in_features, dtype=given["params_dtype"]))
        self.layer_norm_weight.sequence_parallel = self.sequence_parallel
        self._parameters["weight"] = self._parameters.pop("weight")  # behind the norm's, as there

    def forward(self, x: Tensor, is_first_microbatch: bool | None = None) -> Tensor:
        return super().forward(_normed(x, self.layer_norm_weight, self.eps))


class DotProductAttention(_Module):
    def __init__(self, *, attention_dropout: float, softmax_scale: float | None, **_: Any) -> None:
        super().__init__()
        assert attention_dropout == 0.0
        self.scale = softmax_scale

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: None,
        *,
        attn_mask_type: str,
        qkv_format: str,
        cu_seqlens_q: Tensor,
        **_: Any,
    ) -> Tensor:
        assert (qkv_format, attn_mask_type) == ("thd", "padding_causal")
        lengths = cu_seqlens_q.diff().tolist()
        parts = zip(*(x.transpose(0, 1).split(lengths, 1) for x in (query, key, value)), strict=True)
        done = [
            F.scaled_dot_product_attention(*one, is_causal=True, scale=self.scale, enable_gqa=True) for one in parts
        ]
        return torch.cat(done, 1).transpose(0, 1).flatten(1)
