"""A Qwen3 of random weights, of a real one's size, for benchmarks of throughput where no real one is at hand.

Its tokenizer is the tiny model's, which knows fewer words than the vocabulary has room for: what it says means nothing,
and costs as much.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from common.files import sha256, write_json

# layers, hidden, heads, groups, head dim, feed-forward, vocabulary; Qwen3-0.6B's, and the same structure, small
SHAPES = {"0.6b": (28, 1024, 16, 8, 128, 3072, 151_936), "small": (2, 64, 4, 2, 64, 96, 512)}


def write_random_model(shape: str, folder: Path) -> Path:
    """Write a Hugging Face folder of bfloat16 weights.

    Parameters
    ----------
    shape
        One of `SHAPES`.

    Returns
    -------
    pathlib.Path
        `folder`.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from grpo.tiny_qwen3 import build_tokenizer, save
    from trading.prompts import COMPACT_WORDS

    layers, hidden, heads, groups, head_dim, ffn, vocabulary = SHAPES[shape]
    tokenizer = build_tokenizer(COMPACT_WORDS)
    sizes: dict[str, Any] = {
        "num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads, "head_dim": head_dim,
        "num_key_value_heads": groups, "intermediate_size": ffn, "vocab_size": vocabulary,
    }  # fmt: skip
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(0)
    config = Qwen3Config(
        **sizes, **ends, max_position_embeddings=4096, rope_theta=1e6, tie_word_embeddings=True, dtype="bfloat16"
    )
    model = Qwen3ForCausalLM(config).bfloat16()
    save(folder, model, tokenizer)
    files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    weights = sum(parameter.numel() for parameter in model.parameters())
    write_json(folder / "model.json", {"name": f"Random, {shape}", "weights": weights, "files": files})
    return folder
