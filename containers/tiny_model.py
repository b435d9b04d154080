"""A random model of two layers and eight samples in the current folder: what the model's stages begin with.

For images without pandas, which the demo's own model and prompts need.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))

from common.files import sha256, write_json, write_jsonl
from grpo.qwen3 import read_shape
from grpo.tiny_qwen3 import TinySettings, build_model, build_tokenizer, save

WORDS = ("rising", "falling", "strong", "weak", "quiet", "wild", "Buy", "Sell")


def main() -> None:
    """Write base/, a Hugging Face folder, samples.jsonl, and what an import says of that base, without its weights."""
    settings = TinySettings(max_positions=128)
    tokenizer = build_tokenizer(WORDS)
    model = build_model(settings, tokenizer)
    save(Path("base"), model, tokenizer)
    write_json(Path("base/model.json"), {"name": "Tiny", "weights": model.num_parameters()})
    imported = {"shape": read_shape(Path("base")).as_dict(), "inputs": {"base": sha256(Path("base"))}}
    write_json(Path("unread/parity.json"), imported)
    rows = []
    for hour, word in enumerate(WORDS):
        facts = {"id": f"test-{hour}", "timestamp": f"2025-01-01T{hour:02d}:00:00Z", "split": "test"}
        prices = {"current_price": 100.0, "next_price": 101.0 - 2 * (hour % 2)}
        rows.append({"prompt": [{"role": "user", "content": word}], "label": "", "metadata": facts | prices})
    write_jsonl(Path("samples.jsonl"), rows)


if __name__ == "__main__":
    main()
