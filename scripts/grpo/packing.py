"""Sequence packing: many groups in one row without padding, each prompt stored once.

A group is one prompt and its sampled answers. The packed row holds all prompts first, then all
answers: ``[p_1 .. p_N | a_11 .. a_1G a_21 ..]``. Sharing the prompt saves ``G - 1`` of its ``G`` passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from megatron.core.packed_seq_params import PackedSeqParams


@dataclass
class PackedGroups(PackedSeqParams):
    """A packed row and the indices that say what belongs together.

    It travels through Megatron's layers as their ``packed_seq_params`` ("thd": tokens in one row).
    ``cu_seqlens`` stays empty, because the rotary frequencies come ready for each token.

    T = tokens in the row, N = groups, B = answers, A = answer tokens, P and R = longest prompt and answer.
    """

    tokens: torch.Tensor = field(default=None)  # [T] ids, prompts first
    positions: torch.Tensor = field(default=None)  # [T] position of each token in its own sequence
    group_of_answer: torch.Tensor = field(default=None)  # [B]
    answer_of_token: torch.Tensor = field(default=None)  # [A]
    predicted_by: torch.Tensor = field(default=None)  # [A] row place whose output predicts the token
    prompt_tokens: int = 0  # T - A
    prompt_slots: torch.Tensor | None = None  # [N * P] row place of each padded slot; None: no padding
    prompt_places: torch.Tensor | None = None  # [T - A] padded slot of each token
    prompt_width: int = 0  # P
    prompt_mask: torch.Tensor | None = None  # [N, 1, P, P]; None: causal
    answer_slots: torch.Tensor | None = None  # [B * R]
    answer_places: torch.Tensor | None = None  # [A]
    answer_width: int = 0  # R
    answer_mask: torch.Tensor | None = None  # [1 or B, 1, R, P + R]

    @property
    def answer_tokens(self) -> torch.Tensor:
        """Ids of the answers, flat, ``[A]``."""
        return self.tokens[self.prompt_tokens :]

    def pad_prompts(self, x: torch.Tensor) -> torch.Tensor:
        """``[T, ...] -> [N, P, ...]``; short prompts are padded on the left."""
        return _pad(x[: self.prompt_tokens], self.prompt_slots, self.prompt_width)

    def pad_answers(self, x: torch.Tensor) -> torch.Tensor:
        """``[T, ...] -> [B, R, ...]``; short answers are padded on the right."""
        return _pad(x[self.prompt_tokens :], self.answer_slots, self.answer_width)

    def unpad_prompts(self, x: torch.Tensor) -> torch.Tensor:
        """``[N, P, ...] -> [T - A, ...]``."""
        return _unpad(x, self.prompt_places)

    def unpad_answers(self, x: torch.Tensor) -> torch.Tensor:
        """``[B, R, ...] -> [A, ...]``."""
        return _unpad(x, self.answer_places)


def pack(
    prompts: Sequence[torch.Tensor], answers: torch.Tensor, lengths: torch.Tensor, group_size: int
) -> PackedGroups:
    """Pack groups into one row.

    Parameters
    ----------
    prompts
        N prompts, each ``[length]`` of ids.
    answers
        All answers behind each other, group by group, ``[A]``.
    lengths
        Length of each answer, ``[N * group_size]``, at least 1.
    group_size
        Answers a prompt.
    """
    device = answers.device
    prompt_lengths = torch.tensor([len(p) for p in prompts], device=device)
    total_prompt = int(prompt_lengths.sum())
    count = len(lengths)
    group = torch.arange(count, device=device) // group_size
    answer_of_token = torch.repeat_interleave(torch.arange(count, device=device), lengths)
    answer_start = lengths.cumsum(0) - lengths
    place_in_answer = torch.arange(len(answers), device=device) - answer_start[answer_of_token]
    prompt_start = prompt_lengths.cumsum(0) - prompt_lengths
    group_of_token = torch.repeat_interleave(torch.arange(len(prompts), device=device), prompt_lengths)
    place_in_prompt = torch.arange(total_prompt, device=device) - prompt_start[group_of_token]

    last_of_prompt = (prompt_start + prompt_lengths - 1)[group][answer_of_token]
    own_place = total_prompt + torch.arange(len(answers), device=device)
    packed = PackedGroups(
        qkv_format="thd",
        tokens=torch.cat([*prompts, answers]),
        positions=torch.cat([place_in_prompt, prompt_lengths[group][answer_of_token] + place_in_answer]),
        group_of_answer=group,
        answer_of_token=answer_of_token,
        predicted_by=torch.where(place_in_answer == 0, last_of_prompt, own_place - 1),
        prompt_tokens=total_prompt,
        prompt_width=int(prompt_lengths.max()),
        answer_width=int(lengths.max()),
    )
    width, answer_width = packed.prompt_width, packed.answer_width
    sees = torch.ones(answer_width, width + answer_width, dtype=torch.bool, device=device).tril(width)
    packed.answer_mask = sees[None, None]
    if int(prompt_lengths.min()) < width:
        missing = width - prompt_lengths
        packed.prompt_places = group_of_token * width + missing[group_of_token] + place_in_prompt
        packed.prompt_slots = _invert(packed.prompt_places, len(prompts) * width)
        real = torch.arange(width, device=device)[None] >= missing[:, None]  # [N, P]
        causal = torch.ones(width, width, dtype=torch.bool, device=device).tril()
        # A padded query must see something, or its softmax is 0/0: it sees itself.
        itself = torch.eye(width, dtype=torch.bool, device=device)
        packed.prompt_mask = ((causal & real[:, None]) | itself)[:, None]
        behind = torch.ones(count, answer_width, dtype=torch.bool, device=device)
        packed.answer_mask = (sees & torch.cat([real[group], behind], dim=1)[:, None])[:, None]
    if int(lengths.min()) < answer_width:
        packed.answer_places = answer_of_token * answer_width + place_in_answer
        packed.answer_slots = _invert(packed.answer_places, count * answer_width)
    return packed


def _invert(places: torch.Tensor, slots: int) -> torch.Tensor:
    """Token that fills each slot; padding takes token 0, which the masks hide."""
    inverse = torch.zeros(slots, dtype=torch.long, device=places.device)
    inverse[places] = torch.arange(len(places), device=places.device)
    return inverse


def _pad(x: torch.Tensor, slots: torch.Tensor | None, width: int) -> torch.Tensor:
    if slots is not None:
        x = x.index_select(0, slots)
    return x.reshape(-1, width, *x.shape[1:])


def _unpad(x: torch.Tensor, places: torch.Tensor | None) -> torch.Tensor:
    x = x.reshape(-1, *x.shape[2:])
    return x if places is None else x.index_select(0, places)
