"""The numbers that make a dense Qwen3, from its config.json; without torch, so that plans can read them, too."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import read_json
from common.model_numbers import EVEN, NUMBER, WHOLE, is_number, is_whole, shown

ARCHITECTURE = "Qwen3ForCausalLM"
# A shape's fields by their keys in config.json.
_WHOLE = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "query_groups": "num_key_value_heads",
    "head_dim": "head_dim",
    "ffn": "intermediate_size",
    "vocabulary": "vocab_size",
    "max_positions": "max_position_embeddings",
}
_NUMBERS = {"rope_base": "rope_theta", "norm_epsilon": "rms_norm_eps"}
_TIED = "tie_word_embeddings"
_ADVICE = "Take the config.json that came with the model."


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
    architectures = config.get("architectures")
    if architectures != [ARCHITECTURE]:
        raise InputError(f"{path}: architectures is {architectures}; only {ARCHITECTURE} (dense Qwen3) is supported.")
    for key in ("rope_scaling", "attention_bias", "use_sliding_window"):
        if config.get(key):
            raise InputError(f"{path}: {key} is {shown(config[key])}, which is not supported. Use a plain Qwen3.")
    missing = [key for key in (*_WHOLE.values(), *_NUMBERS.values(), _TIED) if key not in config]
    if missing:
        raise InputError(f"{path}: key {missing[0]} is missing. {_ADVICE}")
    for keys, usable, what in ((_WHOLE.values(), is_whole, WHOLE), (_NUMBERS.values(), is_number, NUMBER)):
        for key in keys:
            if not usable(config[key]):
                raise InputError(f"{path}: {key} is {shown(config[key])}, not {what}. {_ADVICE}")
    if config["head_dim"] % 2:
        raise InputError(f"{path}: head_dim is {config['head_dim']}, not {EVEN}. {_ADVICE}")
    if config["num_attention_heads"] % config["num_key_value_heads"]:
        raise InputError(f"{path}: num_attention_heads is no multiple of num_key_value_heads. {_ADVICE}")
    if type(config[_TIED]) is not bool:
        raise InputError(f"{path}: {_TIED} is {config[_TIED]!r}, neither true nor false. {_ADVICE}")
    return Qwen3Shape(
        **{field: config[key] for field, key in _WHOLE.items()},
        **{field: float(config[key]) for field, key in _NUMBERS.items()},
        tied_embeddings=config[_TIED],
    )
