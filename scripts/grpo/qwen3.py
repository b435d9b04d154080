"""The Qwen3 architecture as a Megatron-core GPTModel."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from megatron.core.extensions.transformer_engine import HAVE_TE
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig

from common.errors import InputError
from grpo.attention import attention
from grpo.cpu import megatron_on_cpu
from grpo.packing import PackedGroups
from grpo.shape import Qwen3Shape, read_shape

__all__ = ["PackedAttention", "Qwen3Shape", "build_model", "read_shape"]


class PackedAttention(MegatronModule):
    """Core attention over packed groups: every prompt once, every answer behind its prompt.

    Megatron's local attention refuses packed input. Here the prompts attend causally among
    themselves, and the answers attend to their group's prompt and causally to themselves; a dense
    mask over the packed row would be quadratic in its length.
    """

    def __init__(self, config: TransformerConfig, softmax_scale: float | None = None, **_: Any) -> None:
        super().__init__(config=config)
        self.scale = softmax_scale or 1.0 / math.sqrt(config.kv_channels)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: None,
        packed_seq_params: PackedGroups,
        **_: Any,
    ) -> torch.Tensor:
        """Attend. query ``[T, heads, d]``, key and value ``[T, groups, d]``; returns ``[T, heads * d]``."""
        layout = packed_seq_params

        def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))
            return attention(q, k, v, mask, self.scale).transpose(1, 2)

        prompt_q, prompt_k, prompt_v = (layout.pad_prompts(x) for x in (query, key, value))
        answer_q, answer_k, answer_v = (layout.pad_answers(x) for x in (query, key, value))
        prompts = attend(prompt_q, prompt_k, prompt_v, layout.prompt_mask)
        answers = attend(
            answer_q,
            torch.cat([prompt_k.index_select(0, layout.group_of_answer), answer_k], dim=1),
            torch.cat([prompt_v.index_select(0, layout.group_of_answer), answer_v], dim=1),
            layout.answer_mask,
        )
        return torch.cat([layout.unpad_prompts(prompts), layout.unpad_answers(answers)]).flatten(1)

    def sharded_state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:
        """No weights, nothing to save."""
        return {}


def layers_of(dtype: torch.dtype) -> str:
    """Whose layers a model has: ``transformer_engine``, or ``local`` ones.

    TransformerEngine's where it is installed and a GPU is in use, but not in 32 bits: its matrix products would round
    their factors to TF32's 11 bits, on any GPU since Ampere.
    """
    engine = HAVE_TE and torch.cuda.is_available() and dtype is not torch.float32
    return "transformer_engine" if engine else "local"


def build_model(
    shape: Qwen3Shape,
    tensor: int = 1,
    dtype: torch.dtype = torch.float32,
    initialised: bool = True,
    recompute: bool = False,
) -> GPTModel:
    """Megatron's GPTModel of this shape, with weights to be loaded.

    Parameters
    ----------
    tensor
        Ranks that share the model; heads, query groups, ffn and vocabulary must divide by it.
    initialised
        False for a model that is not trained: saves the time of drawing weights that are replaced.
    recompute
        Keep each layer's input alone for the backward pass, and compute the rest again.
    """
    for name in ("heads", "query_groups", "ffn", "vocabulary"):
        if getattr(shape, name) % tensor:
            raise InputError(f"train: tensor {tensor} does not divide the model's {name} ({getattr(shape, name)}).")
    config = TransformerConfig(
        num_layers=shape.layers,
        hidden_size=shape.hidden,
        num_attention_heads=shape.heads,
        num_query_groups=shape.query_groups,
        kv_channels=shape.head_dim,
        ffn_hidden_size=shape.ffn,
        normalization="RMSNorm",
        layernorm_epsilon=shape.norm_epsilon,
        qk_layernorm=True,
        gated_linear_unit=True,
        activation_func=F.silu,
        add_bias_linear=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        # Sums over tokens are divided by the global token count when gradients are finalised, so
        # that neither micro-batches nor data ranks change the loss.
        calculate_per_token_loss=True,
        tensor_model_parallel_size=tensor,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=dtype is torch.bfloat16,
        # Megatron marks which tensors are split over ranks where it initialises them, so that is
        # not skipped though the values are replaced: without the marks the gradient norm is wrong.
        use_cpu_initialization=True,
        perform_initialization=initialised,
        attention_softmax_in_fp32=True,
        # Fused kernels need CUDA extensions that neither device's environment has.
        bias_activation_fusion=False,
        bias_dropout_fusion=False,
        masked_softmax_fusion=False,
        persist_layer_norm=False,
        gradient_accumulation_fusion=False,
        recompute_granularity="full" if recompute else None,
        recompute_method="uniform" if recompute else None,
        recompute_num_layers=1 if recompute else None,
    )
    if layers_of(dtype) == "transformer_engine":
        spec = get_gpt_layer_with_transformer_engine_spec(qk_layernorm=True)
    else:
        spec = get_gpt_layer_local_spec(qk_layernorm=True, normalization="RMSNorm")
    spec.submodules.self_attention.submodules.core_attention = PackedAttention
    with megatron_on_cpu():
        return GPTModel(
            config=config,
            transformer_layer_spec=spec,
            vocab_size=shape.vocabulary,
            max_sequence_length=shape.max_positions,
            position_embedding_type="rope",
            rotary_base=shape.rope_base,
            share_embeddings_and_output_weights=shape.tied_embeddings,
            parallel_output=False,
        )
