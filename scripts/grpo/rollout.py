"""Sampling with a KV cache, straight from Megatron's own tensors.

The sampler holds no copy of the weights: on one tensor rank it reads the parameters that training
updates, on several it gathers them before each batch. Each prompt is prefilled once for its group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812

from grpo.attention import attention
from grpo.qwen3 import Qwen3Shape

_PER_LAYER = (
    "input_layernorm.weight",
    "self_attention.linear_qkv.weight",
    "self_attention.q_layernorm.weight",
    "self_attention.k_layernorm.weight",
    "self_attention.linear_proj.weight",
    "pre_mlp_layernorm.weight",
    "mlp.linear_fc1.weight",
    "mlp.linear_fc2.weight",
)


@dataclass
class Rollouts:
    """Sampled answers of one batch, flat: answer b has ``lengths[b]`` tokens.

    B = prompts * group size, A = sum of lengths.
    """

    prompts: list[torch.Tensor]  # N of [length]
    tokens: torch.Tensor  # [A]
    lengths: torch.Tensor  # [B]
    logprobs: torch.Tensor  # [A] when sampled
    entropies: torch.Tensor  # [A] of the distributions sampled from
    truncated: torch.Tensor  # [B] bool: stopped by the token limit

    def answers(self) -> list[list[int]]:
        """Token ids of each answer."""
        return [part.tolist() for part in self.tokens.split(self.lengths.tolist())]

    def to(self, device: torch.device | str) -> Rollouts:
        """The same on this device."""
        return Rollouts(
            [prompt.to(device) for prompt in self.prompts],
            self.tokens.to(device),
            self.lengths.to(device),
            self.logprobs.to(device),
            self.entropies.to(device),
            self.truncated.to(device),
        )


class Sampler:
    """A Qwen3 decoder for sampling.

    Parameters
    ----------
    weights
        Full Megatron tensors by name.
    stop
        Id that ends an answer; it counts as the answer's last token.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], shape: Qwen3Shape, stop: int) -> None:
        self.shape, self.stop = shape, stop
        self.embedding = weights["embedding.word_embeddings.weight"]
        self.output = self.embedding if shape.tied_embeddings else weights["output_layer.weight"]
        self.final_norm = weights["decoder.final_layernorm.weight"]
        self.layers = [
            [weights[f"decoder.layers.{layer}.{name}"] for name in _PER_LAYER] for layer in range(shape.layers)
        ]
        half = torch.arange(0, shape.head_dim, 2, dtype=torch.float32, device=self.embedding.device)
        self.inverse_frequency = 1.0 / shape.rope_base ** (half / shape.head_dim)

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[torch.Tensor],
        group_size: int,
        max_new_tokens: int,
        uniforms: torch.Tensor | None,
        temperature: float = 1.0,
    ) -> Rollouts:
        """Answer each prompt `group_size` times.

        Parameters
        ----------
        uniforms
            Random numbers in [0, 1), ``[N * group_size, max_new_tokens]``: token t of answer b is
            drawn by inverting the distribution function at ``uniforms[b, t]``, so a draw depends
            neither on the batch nor on the number of ranks. None: greedy.

        Returns
        -------
        Rollouts
            Log-probabilities and entropies are those of ``logits / temperature``.
        """
        device = self.embedding.device
        shape = self.shape
        count = len(prompts) * group_size
        lengths = torch.tensor([len(p) for p in prompts], device=device)
        width = int(lengths.max())
        ids = torch.zeros(len(prompts), width, dtype=torch.long, device=device)
        for row, prompt in enumerate(prompts):  # padded on the left: the answer follows its prompt
            ids[row, width - len(prompt) :] = prompt
        padding = width - lengths
        hidden_keys = None
        if int(padding.max()):
            hidden_keys = torch.arange(width + max_new_tokens, device=device)[None] < padding[:, None]  # [N, S]
        offset = padding

        size = (shape.layers, len(prompts), shape.query_groups, width + max_new_tokens, shape.head_dim)
        keys = torch.zeros(size, dtype=self.embedding.dtype, device=device)
        values = torch.zeros_like(keys)
        logits = self._forward(ids, keys, values, 0, offset, hidden_keys)
        logits = logits.repeat_interleave(group_size, 0)
        if group_size > 1:
            keys, values = (x.repeat_interleave(group_size, 1) for x in (keys, values))
            offset = offset.repeat_interleave(group_size)
            hidden_keys = hidden_keys.repeat_interleave(group_size, 0) if hidden_keys is not None else None

        chosen, logprobs, entropies = [], [], []
        finished = torch.zeros(count, dtype=torch.bool, device=device)
        answer_lengths = torch.full((count,), max_new_tokens, device=device)
        for step in range(max_new_tokens):
            logp = (logits.float() / temperature).log_softmax(-1)
            p = logp.exp()
            if uniforms is None:
                token = logp.argmax(-1)
            else:
                cumulative = p.cumsum(-1)
                # Scaled by the total, which differs from 1 by rounding: the last token stays in reach.
                point = uniforms[:, step : step + 1] * cumulative[:, -1:]
                token = torch.searchsorted(cumulative, point, right=True)[:, 0].clamp_(max=shape.vocabulary - 1)
            chosen.append(token)
            logprobs.append(logp.gather(1, token[:, None])[:, 0])
            entropies.append(-(p * logp).sum(-1))
            ends = (token == self.stop) & ~finished
            answer_lengths[ends] = step + 1
            finished |= ends
            if step + 1 == max_new_tokens or bool(finished.all()):
                break
            logits = self._forward(token[:, None], keys, values, width + step, offset, hidden_keys)

        written = torch.arange(len(chosen), device=device)[None] < answer_lengths[:, None]  # [B, steps]
        flat = [torch.stack(rows, dim=1)[written] for rows in (chosen, logprobs, entropies)]
        return Rollouts(list(prompts), flat[0], answer_lengths, flat[1], flat[2], ~finished)

    def _forward(
        self,
        ids: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        start: int,
        offset: torch.Tensor,
        hidden_keys: torch.Tensor | None,
    ) -> torch.Tensor:
        """Logits behind the last of `ids` ``[B, T]``; writes the caches' places start .. start + T."""
        shape = self.shape
        rows, steps = ids.shape
        end = start + steps
        # Without padding all rows share their positions.
        place = torch.arange(start, end, device=ids.device, dtype=torch.float32)[None]
        if hidden_keys is not None:
            place = (place - offset[:, None]).clamp_(min=0)
        angle = place[..., None] * self.inverse_frequency  # [B or 1, T, d / 2]
        angle = torch.cat([angle, angle], dim=-1)[:, None]  # [B or 1, 1, T, d]
        cos, sin = angle.cos().to(keys.dtype), angle.sin().to(keys.dtype)
        mask = None
        if hidden_keys is not None:
            mask = ~hidden_keys[:, None, None, :end]
            if steps > 1:
                causal = torch.ones(steps, end, dtype=torch.bool, device=ids.device).tril(start)
                itself = torch.eye(steps, end, dtype=torch.bool, device=ids.device)  # a padded query sees itself
                mask = (mask & causal) | itself

        per_group = shape.heads // shape.query_groups
        x = F.embedding(ids, self.embedding)
        for layer, (norm1, qkv, q_norm, k_norm, proj, norm2, fc1, fc2) in enumerate(self.layers):
            y = F.linear(self._norm(x, norm1), qkv).view(rows, steps, shape.query_groups, per_group + 2, shape.head_dim)
            q = self._norm(y[..., :per_group, :], q_norm).permute(0, 2, 3, 1, 4)  # [B, groups, per_group, T, d]
            k = self._norm(y[..., per_group, :], k_norm).transpose(1, 2)  # [B, groups, T, d]
            q = q.flatten(1, 2)
            q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
            keys[layer, :, :, start:end] = k
            values[layer, :, :, start:end] = y[..., per_group + 1, :].transpose(1, 2)
            all_keys, all_values = keys[layer, :, :, :end], values[layer, :, :, :end]
            if steps == 1:
                # One query a head: the heads of a group become the queries of one attention, so
                # that keys and values need no copy for each head.
                q = q.view(rows, shape.query_groups, per_group, shape.head_dim)
                out = F.scaled_dot_product_attention(q, all_keys, all_values, attn_mask=mask).reshape(rows, 1, -1)
            else:
                out = attention(q, all_keys, all_values, mask)
                out = out.transpose(1, 2).reshape(rows, steps, -1)
            x = x + F.linear(out, proj)
            gate, up = F.linear(self._norm(x, norm2), fc1).chunk(2, dim=-1)
            x = x + F.linear(F.silu(gate) * up, fc2)
        return F.linear(self._norm(x[:, -1], self.final_norm), self.output)

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (x.shape[-1],), weight, self.shape.norm_epsilon)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding (Su et al. 2021), halves convention, as Qwen3 and Megatron use it."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def draw_uniforms(generator: torch.Generator, answers: int, max_new_tokens: int) -> torch.Tensor:
    """Random numbers for `Sampler.sample`, ``[answers, max_new_tokens]``, on the CPU for every device."""
    return torch.rand(answers, max_new_tokens, generator=generator)
