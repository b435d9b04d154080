"""What the loss needs of a model: log-probability and entropy of every answer token."""

from __future__ import annotations

import contextlib

import torch
from megatron.core.models.gpt import GPTModel

from grpo.cpu import megatron_on_cpu
from grpo.packing import PackedGroups


def rotary_frequencies(model: GPTModel, positions: torch.Tensor) -> torch.Tensor:
    """Rotary angles of Megatron's own table for each packed token, ``[T, 1, head_dim]``.

    Megatron's module builds the table on a CUDA device in every forward; its inverse frequencies
    are all that is needed.
    """
    inverse = model.rotary_pos_emb.inv_freq.to(positions.device)
    angles = torch.outer(positions.to(inverse.dtype), inverse)
    return torch.cat([angles, angles], dim=-1)[:, None]


def hidden_states(model: GPTModel, packed: PackedGroups) -> torch.Tensor:
    """Output of the last layer for each packed token, ``[T, hidden]``."""
    embedded = model.embedding(input_ids=packed.tokens[None], position_ids=packed.positions[None])
    out = model.decoder(
        hidden_states=embedded,
        attention_mask=None,
        rotary_pos_emb=rotary_frequencies(model, packed.positions),
        packed_seq_params=packed,
    )
    return out[:, 0]


def answer_logits(model: GPTModel, packed: PackedGroups) -> torch.Tensor:
    """Logits of each answer token's place, ``[A, vocabulary]``, float32.

    The vocabulary is the widest tensor of a model: prompts get no logits.
    """
    weight = model.shared_embedding_or_output_weight() if model.share_embeddings_and_output_weights else None
    # One rank's forward asks for no CUDA device; gathering the vocabulary over tensor ranks does, and so does
    # keeping the random state for what is computed again.
    alone = model.config.tensor_model_parallel_size == 1 and not model.config.recompute_granularity
    with contextlib.nullcontext() if alone else megatron_on_cpu():
        hidden = hidden_states(model, packed).index_select(0, packed.predicted_by)
        logits, _ = model.output_layer(hidden[:, None], weight=weight)
    return logits[:, 0].float()


def answer_statistics(
    model: GPTModel, packed: PackedGroups, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each answer token and entropy of the distribution it was drawn from.

    Parameters
    ----------
    temperature
        Of the sampling; probabilities are those of ``logits / temperature``.

    Returns
    -------
    logprob, entropy
        Both ``[A]``, in nats.
    """
    logprobs = (answer_logits(model, packed) / temperature).log_softmax(-1)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    return logprobs.gather(-1, packed.answer_tokens[:, None])[:, 0], entropy
