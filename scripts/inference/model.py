"""The model folder that is asked: what it must hold, checked before anything slow starts."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import read_json

ARCHITECTURE = "Qwen3ForCausalLM"
NUMBERS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "max_position_embeddings",
)  # fmt: skip
LAYER = (
    "input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj",
    "self_attn.v_proj", "self_attn.o_proj", "self_attn.q_norm", "self_attn.k_norm", "mlp.gate_proj",
    "mlp.up_proj", "mlp.down_proj",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """What infer needs to know of a Hugging Face folder."""

    folder: Path
    name: str
    vocabulary: int
    context: int
    # Two vectors (key, value) a layer and key-value head, in float32.
    cache_bytes_per_token: int
    stop_ids: frozenset[int]


def read_model(folder: Path) -> Model:
    """Check a Hugging Face folder and say what it holds; no weights are read.

    Raises
    ------
    InputError
        If it is missing, of another architecture, without a tokenizer, or its weights are cut short or
        lack a tensor.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder. Run the stage that makes it, or give a Hugging Face folder."
        )
    config = read_json(folder / "config.json")
    architectures = config.get("architectures")
    if architectures != [ARCHITECTURE]:
        raise InputError(
            f"{folder / 'config.json'}: architectures is {architectures}, only {ARCHITECTURE} is supported. "
            "Give a Qwen3 folder (dense, text)."
        )
    for key in NUMBERS:
        if not isinstance(config.get(key), int) or config[key] < 1:
            raise InputError(
                f"{folder / 'config.json'}: {key} is {config.get(key)}, not a positive whole number."
            )
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder}: no tokenizer.json. Give a complete Hugging Face folder.")
    _check_weights(folder, config)
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return Model(
        folder=folder,
        name=_name(folder),
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
        cache_bytes_per_token=2 * 4 * config["num_hidden_layers"] * config["num_key_value_heads"] * head,
        stop_ids=_stop_ids(folder, config),
    )


def tensor_names(path: Path) -> set[str]:
    """Names of the tensors in a safetensors file, from its header.

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
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Give a complete Hugging Face folder.") from None
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a safetensors file ({error}). Copy or export it again.") from None
    if size != expected:
        raise InputError(f"{path}: {size} bytes, but its header says {expected}. Copy or export it again.")
    return set(header)


def _check_weights(folder: Path, config: dict[str, Any]) -> None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        weights = read_json(index).get("weight_map")
        if not isinstance(weights, dict) or not weights:
            raise InputError(f"{index}: no weight_map. Copy or export the model again.")
        files = sorted({folder / str(name) for name in weights.values()})
    else:
        files = [folder / "model.safetensors"]
    present = set().union(*(tensor_names(path) for path in files))
    expected = {"model.embed_tokens.weight", "model.norm.weight"}
    if not config.get("tie_word_embeddings"):
        expected.add("lm_head.weight")
    for layer in range(config["num_hidden_layers"]):
        expected |= {f"model.layers.{layer}.{part}.weight" for part in LAYER}
    missing = sorted(expected - present)
    if missing:
        # SGLang would leave such a tensor as it was allocated, and answer with it.
        raise InputError(
            f"{folder}: tensor {missing[0]} is missing ({len(missing)} of {len(expected)} are). "
            "Copy or export the model again."
        )


def _stop_ids(folder: Path, config: dict[str, Any]) -> frozenset[int]:
    """End-of-text tokens of the model; those of its generation settings too, where it has any."""
    settings = folder / "generation_config.json"
    found: set[int] = set()
    for source in (config, read_json(settings) if settings.is_file() else {}):
        ids = source.get("eos_token_id")
        found |= set(ids) if isinstance(ids, list) else {ids} if ids is not None else set()
    return frozenset(found)


def _name(folder: Path) -> str:
    """Name in model.json, if base_model or export_weights wrote one; else that of the folder."""
    card = folder / "model.json"
    name = read_json(card).get("name") if card.is_file() else None
    return name if isinstance(name, str) and name else folder.resolve().name
