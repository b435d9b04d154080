"""The model folder that is asked: what it must hold, checked before anything slow starts."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError
from common.files import read_json
from common.model_numbers import EVEN, NUMBER, WHOLE, is_number, is_whole, shown
from common.shared_model import undealt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ARCHITECTURE = "Qwen3ForCausalLM"
NUMBERS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "max_position_embeddings",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """What infer needs to know of a Hugging Face folder."""

    folder: Path
    name: str
    vocabulary: int
    context: int
    heads: int
    key_value_heads: int
    head_size: int
    ffn: int
    # Two vectors (key, value) a layer and key-value head, in float32.
    cache_bytes_per_token: int
    stop_ids: frozenset[int]

    def check_split(self, tensor: int) -> None:
        """Refuse a number of processes that the model's heads and layers cannot be dealt out to.

        Raises
        ------
        InputError
            Names the number and what it does not divide.
        """
        names = {"heads": "attention heads", "query_groups": "key-value heads", "ffn": "intermediate size"}
        for name, value, allowed in undealt(tensor, self.heads, self.key_value_heads, self.ffn):
            raise InputError(f"--tensor {tensor}: {self.folder} has {value} {names[name]}. Give {allowed} of that.")

    def stopping_at(self, tokenizer: PreTrainedTokenizerBase) -> Model:
        """The same model; the tokenizer's end-of-turn token ends an answer too, as in SGLang's server."""
        end = tokenizer.eos_token_id
        return self if end is None else replace(self, stop_ids=self.stop_ids | {end})


def read_model(folder: Path) -> Model:
    """Check a Hugging Face folder and say what it holds; no weights are read.

    Raises
    ------
    InputError
        If it is missing, of another architecture, without a tokenizer, or its weights are cut short or
        lack a tensor.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Run the stage that makes it, or give a Hugging Face folder.")
    config = read_json(folder / "config.json")
    architectures = config.get("architectures")
    if architectures != [ARCHITECTURE]:
        raise InputError(
            f"{folder / 'config.json'}: architectures is {architectures}, only {ARCHITECTURE} is supported. "
            "Give a Qwen3 folder (dense, text)."
        )
    _check_numbers(folder / "config.json", config)
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder}: no tokenizer.json. Give a complete Hugging Face folder.")
    _check_weights(folder, config)
    return Model(
        folder=folder,
        name=_name(folder),
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
        heads=config["num_attention_heads"],
        key_value_heads=config["num_key_value_heads"],
        head_size=head_size(config),
        ffn=config["intermediate_size"],
        cache_bytes_per_token=2 * 4 * config["num_hidden_layers"] * config["num_key_value_heads"] * head_size(config),
        stop_ids=_stop_ids(folder, config),
    )


def _check_numbers(path: Path, config: dict[str, Any]) -> None:
    """Refuse what makes no model. What may be missing has a default, here (`head_size`) or in SGLang."""
    for key in (*NUMBERS, *(["head_dim"] if config.get("head_dim") is not None else [])):
        if not is_whole(config.get(key)):
            raise InputError(f"{path}: {key} is {shown(config.get(key))}, not {WHOLE}.")
    for key in ("rope_theta", "rms_norm_eps"):
        if key in config and not is_number(config[key]):
            raise InputError(f"{path}: {key} is {shown(config[key])}, not {NUMBER}.")
    if (size := head_size(config)) % 2:
        raise InputError(f"{path}: head_dim is {size}, not {EVEN}.")


def head_size(config: dict[str, Any]) -> int:
    """Numbers in the query of one attention head."""
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def expected_shapes(config: dict[str, Any]) -> dict[str, list[int]]:
    """Name and shape of every tensor of the Qwen3 that a config.json describes."""
    hidden, ffn, head = config["hidden_size"], config["intermediate_size"], head_size(config)
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    layer = {
        "input_layernorm": [hidden],
        "post_attention_layernorm": [hidden],
        "self_attn.q_proj": [queries, hidden],
        "self_attn.k_proj": [keys, hidden],
        "self_attn.v_proj": [keys, hidden],
        "self_attn.o_proj": [hidden, queries],
        "self_attn.q_norm": [head],
        "self_attn.k_norm": [head],
        "mlp.gate_proj": [ffn, hidden],
        "mlp.up_proj": [ffn, hidden],
        "mlp.down_proj": [hidden, ffn],
    }
    shapes = {
        f"model.layers.{number}.{part}.weight": shape
        for number in range(config["num_hidden_layers"])
        for part, shape in layer.items()
    }
    shapes |= {"model.embed_tokens.weight": [config["vocab_size"], hidden], "model.norm.weight": [hidden]}
    if not config.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = [config["vocab_size"], hidden]
    return shapes


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Name and shape of the tensors in a safetensors file, from its header.

    Raises
    ------
    InputError
        If the file is not as long as its header says.
    """
    try:
        with open(path, "rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            size = path.stat().st_size
            if length > size:
                raise ValueError(f"header of {length} bytes in a file of {size}")
            header = json.loads(handle.read(length))
        header.pop("__metadata__", None)
        expected = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        shapes = {name: entry["shape"] for name, entry in header.items()}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Give a complete Hugging Face folder.") from None
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a safetensors file ({error}). Copy or export it again.") from None
    if size != expected:
        raise InputError(f"{path}: {size} bytes, but its header says {expected}. Copy or export it again.")
    return shapes


def _check_weights(folder: Path, config: dict[str, Any]) -> None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        weights = read_json(index).get("weight_map")
        if not isinstance(weights, dict) or not weights:
            raise InputError(f"{index}: no weight_map. Copy or export the model again.")
        files = sorted({folder / str(name) for name in weights.values()})
    else:
        files = [folder / "model.safetensors"]
    present: dict[str, list[int]] = {}
    for path in files:
        present |= tensor_shapes(path)
    # SGLang takes what fits: a missing tensor stays as it was allocated, of one too large it takes a part.
    for name, shape in expected_shapes(config).items():
        found = present.get(name)
        if found != shape:
            what = "is missing" if found is None else f"has shape {found}, by config.json it is {shape}"
            raise InputError(f"{folder}: tensor {name} {what}. Copy or export the model again.")


def _stop_ids(folder: Path, config: dict[str, Any]) -> frozenset[int]:
    """End-of-text tokens of the model; those of its generation settings too, where it has any."""
    settings = folder / "generation_config.json"
    found: set[int] = set()
    for source in (config, read_json(settings) if settings.is_file() else {}):
        ids = source.get("eos_token_id")
        ids = ids if isinstance(ids, list) else [] if ids is None else [ids]
        if not all(isinstance(one, int) for one in ids):
            raise InputError(f"{folder}: eos_token_id {ids} is no token's number. Copy or export the model again.")
        found |= set(ids)
    return frozenset(found)


def _name(folder: Path) -> str:
    """Name in model.json, if base_model or export_weights wrote one; else that of the folder."""
    card = folder / "model.json"
    name = read_json(card).get("name") if card.is_file() else None
    return name if isinstance(name, str) and name else folder.resolve().name
