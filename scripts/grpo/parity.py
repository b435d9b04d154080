"""Do transformers and Megatron compute the same from the same weights?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from megatron.core.models.gpt import GPTModel
from transformers import AutoConfig, Qwen3ForCausalLM
from transformers.modeling_utils import no_init_weights

from common.errors import InputError
from grpo import parallel
from grpo.hugging_face import read_tensors
from grpo.packing import pack
from grpo.policy import answer_logits
from grpo.qwen3 import Qwen3Shape, build_model
from grpo.schedule import random_generator
from grpo.tensors import joined, rows_of
from grpo.weights import expected_shapes, to_hugging_face, without_padding

TOLERANCE = 1e-4  # of the largest logit; float32 agrees to about 1e-6, a wrong rope base or head order to 1e-1
# A model whose two float32 copies take more bytes than this is compared in parts.
WHOLE_BYTES = 1_000_000_000
PART_ROWS = 2048  # of the vocabulary, in a part
EMBEDDING, HEAD, NORM = "embedding.word_embeddings.weight", "output_layer.weight", "decoder.final_layernorm.weight"


def fits(shape: Qwen3Shape) -> bool:
    """Whether a model is compared whole: two float32 copies of it take at most `WHOLE_BYTES`."""
    return 2 * 4 * sum(math.prod(size) for size in expected_shapes(shape).values()) <= WHOLE_BYTES


def check(folder: Path, weights: Mapping[str, torch.Tensor], shape: Qwen3Shape) -> dict[str, Any]:
    """Compare a Hugging Face folder with Megatron weights: whole where that `fits`, else in parts.

    A part is a model of one layer, of the embedding's (and head's) rows for `PART_ROWS` tokens spread over the
    vocabulary, and of the last norm. There is one for the first, the middle and the last layer.

    Parameters
    ----------
    folder
        Read by transformers.
    weights
        By Megatron's names.

    Returns
    -------
    dict
        As `compare`; for parts the one with the largest difference, and ``layers`` and ``vocabulary_rows`` compared.

    Raises
    ------
    InputError
        If they differ by more than `TOLERANCE` of the largest logit.
    """
    if fits(shape):
        model = build_model(shape, initialised=False)
        model.load_state_dict({n: without_padding(n, t, shape) for n, t in weights.items()}, strict=False)
        return compare(folder, model, shape)
    rows = torch.linspace(0, shape.vocabulary - 1, min(PART_ROWS, shape.vocabulary)).long()
    # One by one: what several ranks wrote would be assembled whole to be picked from.
    picked = [slice(row, row + 1) for row in rows.tolist()]
    top = {n: joined([rows_of(weights, n, row) for row in picked]) for n in (EMBEDDING, HEAD) if n in weights}
    top[NORM] = weights[NORM]
    tensors = read_tensors(folder)
    their_top = {name: tensors[name] for name in to_hugging_face({NORM: top[NORM]}, shape)}
    their_top |= {n: tensors[n][rows] for n in ("model.embed_tokens.weight", "lm_head.weight") if n in tensors}
    layers = sorted({0, shape.layers // 2, shape.layers - 1})
    results = [
        _compare_layer(folder, tensors, their_top, weights, top, replace(shape, layers=1, vocabulary=len(rows)), layer)
        for layer in layers
    ]
    worst = max(results, key=lambda result: result["relative_difference"])
    return worst | {
        "tokens": sum(result["tokens"] for result in results),
        "layers": layers,
        "vocabulary_rows": len(rows),
    }


def check_alone(folder: Path, weights: Mapping[str, torch.Tensor], shape: Qwen3Shape) -> dict[str, Any]:
    """`check` in a program that has no model parallel groups, and needs them for nothing else."""
    parallel.start("cpu")
    try:
        return check(folder, weights, shape)
    finally:
        parallel.stop()


def _compare_layer(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    their_top: Mapping[str, torch.Tensor],
    weights: Mapping[str, torch.Tensor],
    top: Mapping[str, torch.Tensor],
    part: Qwen3Shape,
    layer: int,
) -> dict[str, Any]:
    """Compare the model of one layer, `part`, on both sides."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    config.layer_types = config.layer_types[layer : layer + 1]
    config.num_hidden_layers, config.vocab_size = 1, part.vocabulary
    with no_init_weights():
        theirs = Qwen3ForCausalLM(config).float().eval()
    pre = f"model.layers.{layer}."
    inner = {"model.layers.0." + n.removeprefix(pre): tensors[n] for n in tensors if n.startswith(pre)}
    missing, extra = theirs.load_state_dict({**their_top, **inner}, strict=False)
    if extra or [name for name in missing if name != "lm_head.weight" or not part.tied_embeddings]:
        raise InputError(f"{folder}: layer {layer} lacks tensors or has too many. Make the folder again.")
    theirs.tie_weights()
    model = build_model(part, initialised=False)
    pre = f"decoder.layers.{layer}."
    inner = {"decoder.layers.0." + n.removeprefix(pre): weights[n] for n in weights if n.startswith(pre)}
    model.load_state_dict({**top, **inner}, strict=False)
    return _agreement(f"{folder}, layer {layer}", theirs, model, part, sequences=2)


def compare(folder: Path, model: GPTModel, shape: Qwen3Shape, sequences: int = 4, length: int = 48) -> dict[str, Any]:
    """Largest difference of the logits on random tokens, both in float32.

    Parameters
    ----------
    folder
        Hugging Face folder, run by transformers.
    model
        Megatron model, run packed as in training.

    Returns
    -------
    dict
        tokens, largest_difference, largest_logit, relative_difference, tolerance.

    Raises
    ------
    InputError
        If they differ by more than `TOLERANCE` of the largest logit.
    """
    theirs = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    return _agreement(str(folder), theirs, model, shape, sequences, length)


def _agreement(
    name: str, theirs: torch.nn.Module, model: GPTModel, shape: Qwen3Shape, sequences: int = 4, length: int = 48
) -> dict[str, Any]:
    length = min(length, shape.max_positions)
    ids = torch.randint(shape.vocabulary, (sequences, length), generator=random_generator(0, 3))
    # As packed groups: the first token of each sequence is its prompt, the rest its only answer.
    packed = pack(list(ids[:, :1]), ids[:, 1:].flatten(), torch.full((sequences,), length - 1), group_size=1)
    with torch.no_grad():
        expected = theirs(ids).logits[:, :-1].float().flatten(0, 1)
        got = answer_logits(model, packed)
    difference = float((got - expected).abs().max())
    largest = float(expected.abs().max())
    result = {
        "tokens": sequences * length,
        "largest_difference": difference,
        "largest_logit": largest,
        "relative_difference": difference / largest,
        "tolerance": TOLERANCE,
    }
    if not result["relative_difference"] <= TOLERANCE:
        raise InputError(
            f"{name}: transformers and Megatron differ by {result['relative_difference']:.1e} of the largest logit "
            f"(allowed {TOLERANCE:.0e}). The weights or config.json do not belong together; make the folder again."
        )
    return result
