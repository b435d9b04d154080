"""A tiny random Qwen3 as a Hugging Face folder: the real architecture and file layout, nothing learned."""

from __future__ import annotations

import random
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TAGS = ["<think>", "</think>", "<answer>", "</answer>"]
WORDS = ["Buy", "Sell", "rising", "falling", "strong", "weak", "trend", "quiet", "wild", "flat", "soaring"]


def write_tiny_model(
    folder: Path,
    seed: int = 0,
    context: int = 256,
    thinking_template: bool = False,
    spread: float = 0.08,
    head: int = 16,
    special_tags: bool = False,
) -> Path:
    """Write config, random fp32 weights, tokenizer and chat template to `folder`.

    Parameters
    ----------
    folder
        Where to; made if it is not there.
    seed
        Of the weights; the tokenizer is always the same.
    context
        ``max_position_embeddings``.
    thinking_template
        Whether the chat template opens ``<think>`` itself, as that of Qwen3-Thinking does.
    spread
        Standard deviation of the weights; larger makes the model surer of its (random) words.
    head
        Size of an attention head.
    special_tags
        Whether the tags of thoughts and answers are special tokens, as the demo's tokenizer has them.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL + (TAGS if special_tags else []),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS), "<think></think><answer></answer>"], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_input_names=["input_ids", "attention_mask"],
    )
    ending = "{% if add_generation_prompt %}<think>\n{% endif %}" if thinking_template else ""
    fast.chat_template = CHAT_TEMPLATE + ending
    fast.save_pretrained(folder)

    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=304, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=head, max_position_embeddings=context, tie_word_embeddings=True,
        eos_token_id=fast.eos_token_id, bos_token_id=None, pad_token_id=fast.pad_token_id,
        initializer_range=spread, torch_dtype="float32",
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).float().eval()
    for name, parameter in model.named_parameters():
        if "norm" in name:  # norms that are not all one, so that a wrong norm path shows
            parameter.data.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


def sample_rows(count: int, seed: int = 0) -> list[dict[str, object]]:
    """Samples as samples.py writes them, each prompt a few words; the prices are never looked at."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        words = " ".join(rng.choices(WORDS, k=rng.randint(3, 12)))
        rows.append(
            {
                "prompt": [{"role": "user", "content": words}],
                "label": "",
                "metadata": {
                    "id": f"test-{index:06d}",
                    "timestamp": f"2025-01-{1 + index // 24 % 28:02d}T{index % 24:02d}:00:00Z",
                    "current_price": 100.0,
                    "next_price": 101.0,
                    "split": "test",
                },
            }
        )
    return rows
