"""Do transformers and Megatron compute the same from the same weights?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from megatron.core.models.gpt import GPTModel
from torch.nn.utils import vector_to_parameters
from transformers import AutoConfig, Qwen3ForCausalLM
from transformers.modeling_utils import no_init_weights

from common.errors import InputError
from grpo import parallel
from grpo.hugging_face import read_tensors, stored_dtype
from grpo.packing import PackedGroups, pack
from grpo.policy import answer_logits
from grpo.qwen3 import Qwen3Shape, build_model
from grpo.schedule import random_generator
from grpo.shape import read_shape
from grpo.stored_weights import read_weights
from grpo.tensors import LazyTensors, blocks, joined, rows_of
from grpo.weights import expected_shapes

TOLERANCE = 1e-4  # of the largest logit; float32 agrees to about 1e-6, a wrong rope base or head order to 1e-1
# A model whose two float32 copies take more bytes than this is compared in parts.
WHOLE_BYTES = 1_000_000_000
PART_ROWS, PART_RUNS = 2048, 64  # of the vocabulary in a part: so many rows, from so many places
_OF_TOKENS = (  # tensors of one row for each token
    "embedding.word_embeddings.weight",
    "output_layer.weight",
    "model.embed_tokens.weight",
    "lm_head.weight",
)

Result = dict[str, Any]


def after_import(base: Path, threads: int) -> Callable[[Path], Result]:
    """The agreement of a checkpoint that is being made, in a process of its own; the base's side is ready before."""
    sides = _sides(base, threads)
    theirs = sides.theirs(base)
    return lambda checkpoint: sides.agreement(base, theirs, sides.ours(read_weights(checkpoint, from_disk=True)))


def after_export(base: Path, checkpoint: Path, threads: int) -> Callable[[Path], Result]:
    """The agreement of a folder that is being made, in a process of its own; the checkpoint's side is ready before.

    Its weights are rounded as the folder's are: to the type of the base model.
    """
    sides = _sides(base, threads)
    ours = sides.ours(read_weights(checkpoint).to(stored_dtype(base)))
    return lambda folder: sides.agreement(folder, sides.theirs(folder), ours)


def _sides(base: Path, threads: int) -> Whole | LayerByLayer:
    torch.set_num_threads(threads)
    parallel.start("cpu")
    shape = read_shape(base)
    return Whole(shape) if fits(shape) else LayerByLayer(base, shape)


def fits(shape: Qwen3Shape) -> bool:
    """Whether a model is compared whole: two float32 copies of it take at most `WHOLE_BYTES`."""
    return 2 * 4 * sum(math.prod(size) for size in expected_shapes(shape).values()) <= WHOLE_BYTES


class Whole:
    """A model's logits by transformers and by Megatron."""

    def __init__(self, shape: Qwen3Shape) -> None:
        self.shape, self.ids = shape, _ids(shape, sequences=4)

    def theirs(self, folder: Path) -> torch.Tensor:
        """Of a Hugging Face folder."""
        model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        return _their_logits(model.eval(), self.ids)

    def ours(self, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Of weights by Megatron's names."""
        model = build_model(self.shape, initialised=False)
        _fill(model, weights, list(weights), "checkpoint")
        return our_logits(model, self.ids)

    def agreement(self, folder: Path, theirs: torch.Tensor, ours: torch.Tensor) -> Result:
        """Compare the two.

        Parameters
        ----------
        folder
            Of theirs, for the error.

        Returns
        -------
        dict
            tokens, largest_difference, largest_logit, relative_difference, tolerance.

        Raises
        ------
        InputError
            If they differ by more than `TOLERANCE` of the largest logit.
        """
        return _agreement(str(folder), theirs, ours, self.ids)


class LayerByLayer:
    """Logits of models of one layer, of some rows of the embedding (and head), and of the last norm.

    Of the first, the middle and the last layer, all in the same memory: its first use costs more than what is done
    in it.

    Parameters
    ----------
    folder
        Of the base model.
    """

    def __init__(self, folder: Path, shape: Qwen3Shape) -> None:
        self.base = folder
        count = min(PART_ROWS, shape.vocabulary)
        runs = min(PART_RUNS, count)
        together = count // runs
        starts = torch.linspace(0, shape.vocabulary - together, runs, dtype=torch.float64).long().tolist()
        self.tokens = [slice(start, start + together) for start in starts]
        self.layers = sorted({0, shape.layers // 2, shape.layers - 1})
        self.shape = replace(shape, layers=1, vocabulary=runs * together)
        self.ids = _ids(self.shape, sequences=2)
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        config.layer_types, config.num_hidden_layers = config.layer_types[:1], 1
        config.vocab_size = self.shape.vocabulary
        with no_init_weights():
            self.their_model = Qwen3ForCausalLM(config).float().eval()
        self.their_model.tie_weights()
        self.our_model = build_model(self.shape, initialised=False)
        sizes = [sum(p.numel() for p in model.parameters()) for model in (self.their_model, self.our_model)]
        self.memory = torch.zeros(max(sizes))

    def theirs(self, folder: Path) -> list[torch.Tensor]:
        """Of a Hugging Face folder, for each layer."""
        # The base model is in the system's memory, for it is read there anyhow; what is made of it must be on the disk.
        tensors = read_tensors(folder, from_disk=folder != self.base)
        return self._logits(str(folder), self.their_model, tensors, "model.layers.", _their_logits)

    def ours(self, weights: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """Of weights by Megatron's names, for each layer."""
        return self._logits("checkpoint", self.our_model, weights, "decoder.layers.", our_logits)

    def _logits(
        self,
        place: str,
        model: torch.nn.Module,
        tensors: Mapping[str, torch.Tensor],
        prefix: str,
        logits: Callable[[Any, torch.Tensor], torch.Tensor],
    ) -> list[torch.Tensor]:
        vector_to_parameters(self.memory, model.parameters())  # they lie in it from here on
        found: list[torch.Tensor] = []
        for layer in self.layers:
            part = _one_layer(tensors, prefix, layer, self.tokens)
            # What belongs to no layer is there from the first one on.
            _fill(model, part, [name for name in part if not found or name.startswith(prefix)], place)
            found.append(logits(model, self.ids))
        return found

    def agreement(self, folder: Path, theirs: Sequence[torch.Tensor], ours: Sequence[torch.Tensor]) -> Result:
        """As `Whole.agreement`, of the worst layer; also which ``layers`` and how many ``vocabulary_rows``."""
        results = [
            _agreement(f"{folder}, layer {layer}", expected, got, self.ids)
            for layer, expected, got in zip(self.layers, theirs, ours, strict=True)
        ]
        worst = max(results, key=lambda result: result["relative_difference"])
        return worst | {
            "tokens": sum(result["tokens"] for result in results),
            "layers": self.layers,
            "vocabulary_rows": self.shape.vocabulary,
        }


def _one_layer(tensors: Mapping[str, torch.Tensor], prefix: str, layer: int, tokens: list[slice]) -> LazyTensors:
    """Tensors of a model of one layer and of some tokens, by that model's names."""
    readers = {}
    for name in tensors:
        if name.startswith(f"{prefix}{layer}."):
            readers[f"{prefix}0." + name.removeprefix(f"{prefix}{layer}.")] = partial(rows_of, tensors, name)
        elif not name.startswith(prefix):
            of_tokens = name in _OF_TOKENS
            readers[name] = partial(_picked, tensors, name, tokens) if of_tokens else partial(rows_of, tensors, name)
    return LazyTensors(readers)


def _picked(tensors: Mapping[str, torch.Tensor], name: str, tokens: list[slice], rows: slice) -> torch.Tensor:
    # A run at a time: what several ranks wrote would be assembled whole to be picked from.
    return joined([rows_of(tensors, name, run).clone() for run in tokens])[rows]


def _fill(model: torch.nn.Module, tensors: Mapping[str, torch.Tensor], names: list[str], place: str) -> None:
    """Copy some tensors into a model, block by block, if they all are the parameters of it."""
    parameters = dict(model.named_parameters())
    if differing := sorted(parameters.keys() ^ tensors.keys()):
        what = "is missing" if differing[0] in parameters else "is not part of a dense Qwen3"
        raise InputError(f"{place}: tensor {differing[0]} {what}. Make it again.")
    for name in names:
        target = parameters[name].detach()
        for rows in blocks(target):
            values, region = rows_of(tensors, name, rows), target[rows]
            if values.shape != region.shape:
                raise InputError(
                    f"{place}: {name} has rows of {tuple(values.shape)}, not {tuple(region.shape)}. Make it again."
                )
            region.copy_(values)


def _ids(shape: Qwen3Shape, sequences: int, length: int = 48) -> torch.Tensor:
    """Random tokens: sequences x length."""
    size = sequences, min(length, shape.max_positions)
    return torch.randint(shape.vocabulary, size, generator=random_generator(0, 3))


def _their_logits(model: Qwen3ForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(ids).logits[:, :-1].float().flatten(0, 1)


def our_logits(model: GPTModel, ids: torch.Tensor) -> torch.Tensor:
    """Of a Megatron model, run packed as in training: answer tokens x vocabulary."""
    with torch.no_grad():
        return answer_logits(model, _packed(ids))


def _packed(ids: torch.Tensor) -> PackedGroups:
    """As packed groups: the first token of each sequence is its prompt, the rest its only answer."""
    sequences, length = ids.shape
    return pack(list(ids[:, :1]), ids[:, 1:].flatten(), torch.full((sequences,), length - 1), group_size=1)


def _agreement(place: str, theirs: torch.Tensor, ours: torch.Tensor, ids: torch.Tensor) -> Result:
    difference = float((ours - theirs).abs().max())
    largest = float(theirs.abs().max())
    if largest == 0:
        raise InputError(f"{place}: all logits are 0, which says nothing of the weights. Make the folder again.")
    result = {
        "tokens": ids.numel(),
        "largest_difference": difference,
        "largest_logit": largest,
        "relative_difference": difference / largest,
        "tolerance": TOLERANCE,
    }
    if not result["relative_difference"] <= TOLERANCE:
        raise InputError(
            f"{place}: transformers and Megatron differ by {result['relative_difference']:.1e} of the largest logit "
            f"(allowed {TOLERANCE:.0e}). The weights or config.json do not belong together; make the folder again."
        )
    return result
