"""Do transformers and Megatron compute the same from the same weights?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from megatron.core.models.gpt import GPTModel

from common.errors import InputError
from grpo.packing import pack
from grpo.policy import answer_logits
from grpo.qwen3 import Qwen3Shape
from grpo.schedule import random_generator

TOLERANCE = 1e-4  # of the largest logit; float32 agrees to about 1e-6, a wrong rope base or head order to 1e-1


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
    from transformers import AutoModelForCausalLM

    length = min(length, shape.max_positions)
    ids = torch.randint(shape.vocabulary, (sequences, length), generator=random_generator(0, 3))
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
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
            f"{folder}: transformers and Megatron differ by {result['relative_difference']:.1e} of the largest logit "
            f"(allowed {TOLERANCE:.0e}). The weights or config.json do not belong together; make the folder again."
        )
    return result
