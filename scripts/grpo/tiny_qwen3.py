"""A tiny Qwen3: the real architecture, tokenizer and chat format, small enough to train on a laptop.

It is warmed up by supervised learning on examples that its caller writes, so that it knows the
answer format before reinforcement learning begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from common.progress import Progress
from grpo.hugging_face import writing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# In Qwen's vocabulary the thinking tags are ordinary added tokens, which decoding shows.
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
# Qwen's pre-tokenisation: words with their leading blank, single digits, runs of punctuation.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


@dataclass(frozen=True)
class TinySettings:
    """Size of the model and of its warm-up."""

    layers: int = 2
    hidden: int = 64
    heads: int = 4
    query_groups: int = 2
    head_dim: int = 16
    ffn: int = 192
    max_positions: int = 2048
    rope_base: float = 1_000_000.0
    seed: int = 0
    warm_up_steps: int = 400
    warm_up_batch: int = 32
    warm_up_learning_rate: float = 3e-3


def build_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE in Qwen's manner whose merges make one token of each word, with or without a leading blank.

    Any text can be encoded; other words take more tokens.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    texts = [form for word in ("user", "assistant", *words) for form in (word, f" {word}")]
    trainer = trainers.BpeTrainer(
        vocab_size=100_000,  # the words run out of merges long before
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=list(SPECIAL),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def build_model(settings: TinySettings, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """A randomly initialised Qwen3 with tied embeddings; the vocabulary is padded to a multiple of 64."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(settings.seed)
    config = Qwen3Config(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=settings.hidden,
        intermediate_size=settings.ffn,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.query_groups,
        head_dim=settings.head_dim,
        max_position_embeddings=settings.max_positions,
        rope_theta=settings.rope_base,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return Qwen3ForCausalLM(config).float()


def warm_up(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    examples: Sequence[tuple[str, str]],
    settings: TinySettings,
) -> float:
    """Teach the format: supervised steps on (user message, answer) pairs, each used once, in order.

    Returns
    -------
    float
        Loss of the last steps, nats per answer token. Where the decision in the answers is a fair
        coin, it cannot fall below ln 2 / answer tokens.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.warm_up_learning_rate, weight_decay=0.0)
    progress = Progress(settings.warm_up_steps, "warm-up step")
    losses = []
    model.train()
    for step in range(settings.warm_up_steps):
        rows = examples[step * settings.warm_up_batch : (step + 1) * settings.warm_up_batch]
        ids, labels = _encode(tokenizer, rows)
        # Ten steps up, then a plateau, then down over the second half.
        scale = min(1.0, (step + 1) / 10, (settings.warm_up_steps - step) / (settings.warm_up_steps / 2))
        optimizer.param_groups[0]["lr"] = settings.warm_up_learning_rate * scale
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss))
        progress.update(step + 1, f"loss {losses[-1]:.4f}")
    model.eval()
    last = losses[-20:]
    return sum(last) / len(last) if last else float("nan")


def save(folder: Path, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write a Hugging Face folder."""
    with writing(folder):
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _encode(tokenizer: PreTrainedTokenizerFast, rows: Sequence[tuple[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and labels ``[rows, longest]``; only the answer and its end are learned."""
    prompts = [
        tokenizer.apply_chat_template([{"role": "user", "content": message}], add_generation_prompt=True)
        for message, _ in rows
    ]
    answers = [tokenizer(answer)["input_ids"] + [tokenizer.eos_token_id] for _, answer in rows]
    longest = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
    ids = torch.full((len(rows), longest), tokenizer.pad_token_id)
    labels = torch.full((len(rows), longest), -100)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    return ids, labels
