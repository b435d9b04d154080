"""Megatron's model arguments from a model's config.json, and the checks of them that slime does not make.

slime v0.2.1 compares hidden size, heads, layers, ffn, tied embeddings, norm epsilon and RoPE base with config.json. A
wrong number of key-value channels or query groups, a wrong vocabulary, or query and key norms that are left out go
through its parser, and end in a crash of the loader or, worse, in a model that computes something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from common.errors import InputError
from common.shared_model import undealt

Sizes = Mapping[str, tuple[int, ...]]
_LAYER = "decoder.layers.self_attention."
# What the model asks of a checkpoint. slime's patch of Megatron leaves random what a checkpoint does not have.
_WEIGHTS = (
    "embedding.word_embeddings.weight",
    *(f"{_LAYER}{name}.weight" for name in ("linear_qkv", "linear_proj", "q_layernorm", "k_layernorm")),
    *(f"decoder.layers.mlp.{name}.weight" for name in ("linear_fc1", "linear_fc2")),
    *(f"decoder.layers.{name}.layer_norm_weight" for name in ("self_attention.linear_qkv", "mlp.linear_fc1")),
    "decoder.final_layernorm.weight",
)
_UNTIED = "--untie-embeddings-and-output-weights"


def model_arguments(shape: Mapping[str, Any]) -> list[str]:
    """Megatron's arguments for a dense Qwen3.

    Parameters
    ----------
    shape
        The fields of `grpo.qwen3.Qwen3Shape`.

    Raises
    ------
    InputError
        If the RoPE base is no whole number, which Megatron's argument cannot express.
    """
    base = shape["rope_base"]
    if base != int(base):
        raise InputError(f"config.json: rope_theta is {base}; Megatron takes whole numbers only. Use engine megatron.")
    return [
        *("--num-layers", str(shape["layers"])),
        *("--hidden-size", str(shape["hidden"])),
        *("--ffn-hidden-size", str(shape["ffn"])),
        *("--num-attention-heads", str(shape["heads"])),
        *("--group-query-attention", "--num-query-groups", str(shape["query_groups"])),
        *("--kv-channels", str(shape["head_dim"])),
        *("--vocab-size", str(shape["vocabulary"])),
        *("--rotary-base", str(int(base))),
        *("--norm-epsilon", repr(shape["norm_epsilon"])),
        "--use-rotary-position-embeddings",
        *("--normalization", "RMSNorm"),
        "--qk-layernorm",
        "--swiglu",
        "--disable-bias-linear",
        *([] if shape["tied_embeddings"] else [_UNTIED]),
    ]


def rows_multiple(vocabulary: int, tensor: int) -> int:
    """What Megatron rounds a rank's share of the vocabulary up to: a power of two up to 128 that adds no rows.

    With its own 128 it often adds some: the trainer gives them a part of the probability, SGLang, which samples, does
    not have them. Where the ranks cannot share the vocabulary equally 128 stays, and whatever reads a checkpoint takes
    the added rows away.
    """
    rows, rest = divmod(vocabulary, tensor)
    return 128 if rest else min(128, rows & -rows)


def check_weights(arguments: Sequence[str], sizes: Sizes) -> None:
    """Compare the arguments with the weights themselves, as the checkpoint stores them.

    Parameters
    ----------
    arguments
        As `model_arguments` gives them.
    sizes
        Shapes of the checkpoint's tensors by stored name; those of layers have the layers as first axis.

    Raises
    ------
    InputError
        Names the argument, its value, and what the weights say; or a weight that is missing.
    """

    def given(name: str) -> int:
        return int(arguments[arguments.index(name) + 1])

    def agree(name: str, value: int, weight: str, found: int) -> None:
        if value != found:
            raise InputError(
                f"{name}: config.json says {value}, the weights say {found} ({weight}). "
                "Use the config.json that came with the weights and run import_weights again."
            )

    norm, qkv = f"{_LAYER}q_layernorm.weight", f"{_LAYER}linear_qkv.weight"
    if ("--qk-layernorm" in arguments) != (norm in sizes):
        raise InputError(f"--qk-layernorm: given is not what the weights have ({norm}). Use a Qwen3.")
    for weight in (*_WEIGHTS, *(["output_layer.weight"] if _UNTIED in arguments else [])):
        if weight not in sizes:
            raise InputError(f"reference: the weights lack {weight}. Run import_weights again.")
    channels = given("--kv-channels")
    agree("--kv-channels", channels, norm, sizes[norm][-1])
    agree("--num-layers", given("--num-layers"), qkv, sizes[qkv][0])
    # Rows of query, key and value of all groups: heads + 2 * groups, each as wide as the channels.
    groups = (sizes[qkv][1] // channels - given("--num-attention-heads")) // 2
    agree("--num-query-groups", given("--num-query-groups"), qkv, groups)
    embedding = "embedding.word_embeddings.weight"
    agree("--vocab-size", given("--vocab-size"), embedding, sizes[embedding][0])
    agree("--hidden-size", given("--hidden-size"), embedding, sizes[embedding][1])


def check_parallel(shape: Mapping[str, Any], tensor: int, pipeline: int, engine_gpus: int) -> None:
    """Refuse parts that do not divide the model, in Megatron or in SGLang.

    Raises
    ------
    InputError
        Names the setting and the model's number.
    """
    for name in ("heads", "query_groups", "ffn"):
        if shape[name] % tensor:
            raise InputError(f"train.tensor ({tensor}) does not divide the model's {name} ({shape[name]}).")
    if shape["layers"] % pipeline:
        raise InputError(f"train.slime.pipeline ({pipeline}) does not divide the model's layers ({shape['layers']}).")
    parts = (shape[name] for name in ("heads", "query_groups", "ffn"))
    for name, value, allowed in undealt(engine_gpus, *parts):
        raise InputError(
            f"train.slime.engine_gpus: given {engine_gpus}; allowed: {allowed} of the model's {name} ({value})."
        )


def check_vocabulary(vocabulary: int, tokenizer_size: int) -> None:
    """Refuse a tokenizer with ids that the embedding does not have.

    Raises
    ------
    InputError
        Names both numbers.
    """
    if tokenizer_size > vocabulary:
        raise InputError(
            f"model/base: the tokenizer has ids up to {tokenizer_size - 1}, the embedding {vocabulary} rows. "
            "Use the tokenizer that came with the model."
        )
