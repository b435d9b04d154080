"""The numbers that make a dense Qwen3, from its config.json; without torch, so that plans can read them, too."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import read_json


@dataclass(frozen=True)
class Qwen3Shape:
    """What decides the tensors of a dense Qwen3 and how they are read."""

    layers: int
    hidden: int
    heads: int
    query_groups: int
    head_dim: int
    ffn: int
    vocabulary: int
    rope_base: float
    norm_epsilon: float
    tied_embeddings: bool
    max_positions: int

    @property
    def matrix_weights(self) -> int:
        """Weights that multiply every token: all layers' matrices, without embedding and output layer."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.query_groups)
        return self.layers * (attention + 3 * self.hidden * self.ffn)

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for a JSON record."""
        return asdict(self)


def read_shape(folder: Path) -> Qwen3Shape:
    """Read ``config.json`` of a Hugging Face folder.

    Raises
    ------
    InputError
        If the file is missing or broken, names another architecture, or asks for something this
        project's Qwen3 does not have (scaled RoPE, sliding windows, biases).
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give a Hugging Face folder of a Qwen3 model.")
    config = read_json(path)
    architecture = (config.get("architectures") or ["none"])[0]
    if architecture != "Qwen3ForCausalLM":
        raise InputError(f"{path}: architecture {architecture}; only Qwen3ForCausalLM (dense Qwen3) is supported.")
    for key in ("rope_scaling", "attention_bias", "use_sliding_window"):
        if config.get(key):
            raise InputError(f"{path}: {key} is {config[key]!r}, which is not supported. Use a plain Qwen3.")
    try:
        return Qwen3Shape(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            heads=config["num_attention_heads"],
            query_groups=config["num_key_value_heads"],
            head_dim=config["head_dim"],
            ffn=config["intermediate_size"],
            vocabulary=config["vocab_size"],
            rope_base=float(config["rope_theta"]),
            norm_epsilon=config["rms_norm_eps"],
            tied_embeddings=config["tie_word_embeddings"],
            max_positions=config["max_position_embeddings"],
        )
    except KeyError as error:
        raise InputError(f"{path}: key {error} is missing. Take the config.json that came with the model.") from None
