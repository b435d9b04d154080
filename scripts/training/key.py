"""What a training is known by: everything that decides what its checkpoints hold."""

from __future__ import annotations

import argparse
from typing import Any

from common.files import sha256
from common.model_folder import content_sum, weight_sums
from common.provenance import record
from slime_engine.layout import NOT_IN_KEY as SLIME_NOT_IN_KEY
from slime_engine.layout import NOT_IN_KEY_OF_SLIME

# Part of the key under which checkpoints lie. Raise it when the meaning of a training changes, so
# that an old checkpoint is not taken for a new one; an edited comment must not retrain anything.
TRAINING_VERSION = 1
# Settings that came later: at these values a training is what it was before, and so is its key.
SINCE = {"precision": "fp32", "optimizer": "replicated"}
# Settings that decide how long, how it is watched and what is kept, but not what a checkpoint holds.
NOT_IN_KEY = SLIME_NOT_IN_KEY | {
    *("iterations", "save_every", "keep", "validate_every", "show_rollouts_every", "straggler_ratio", "tensorboard"),
    *("spike_limit", "recompute"),
}


def training_version(args: argparse.Namespace) -> int:
    """The version of this training's meaning.

    One more where the own loop decays weights, once the norms' as well; and with slime, whose vocabulary once had rows
    that Megatron added, with which its optimiser's state was stored.
    """
    return TRAINING_VERSION + (args.engine == "slime" or args.weight_decay > 0)


def determinants(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that decides what a checkpoint of this training holds, except how far it went."""
    given = record(args, {})["parameters"].items()
    left_out = NOT_IN_KEY | (NOT_IN_KEY_OF_SLIME if args.engine == "slime" else set())
    settings = {name: value for name, value in given if name not in left_out and SINCE.get(name) != value}
    return {
        "version": training_version(args),
        "settings": settings,
        # The tokenizer's files and the chat template make the prompts and say where an answer ends.
        "base": content_sum(args.base, weight_sums(args.base)),
        "train": sha256(args.train),
    }
