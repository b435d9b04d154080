"""How many processes slime uses, and where."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from common.errors import InputError

# Settings of the section train.slime that decide where and how fast a training runs, not what a checkpoint holds.
NOT_IN_KEY = frozenset(
    f"slime_{name}"
    for name in (
        "nodes",
        "engine_gpus",
        "memory_fraction",
        "offload",
        "straggler_window",
        "straggler_limit",
        "timeout_s",
    )
)
# Others that do so with slime alone, which takes each step: spikes are only watched, and its dynamic batches make of
# tokens_per_micro_batch a way to pack the same answers, weighed the same. Rounding differs, as it does with each start.
NOT_IN_KEY_OF_SLIME = frozenset(
    {"spike_threshold", "spike_floor", "spike_action", "spike_limit", "tokens_per_micro_batch"}
)
PREFIX = "slime_"


def without_slime(args: argparse.Namespace) -> argparse.Namespace:
    """The arguments of a training with the other engine: what slime alone reads says nothing there."""
    return argparse.Namespace(**{name: value for name, value in vars(args).items() if not name.startswith(PREFIX)})


@dataclass(frozen=True)
class Layout:
    """GPUs and how they are used: ``tensor * pipeline * context`` of them share a model, ``data`` such groups."""

    nodes: int
    tensor: int
    pipeline: int
    context: int
    data: int

    @classmethod
    def of(cls, args: argparse.Namespace) -> Layout:
        """From the arguments of train.py."""
        return cls(args.slime_nodes, args.tensor, args.slime_pipeline, args.slime_context, args.data)

    @property
    def gpus(self) -> int:
        """All GPUs."""
        return self.tensor * self.pipeline * self.context * self.data

    @property
    def gpus_per_node(self) -> int:
        """GPUs of each machine."""
        return self.gpus // self.nodes

    def problems(self, engine_gpus: int) -> Iterator[tuple[str, int, str]]:
        """Numbers that do not divide: the setting, its value, what is allowed."""
        if self.gpus % self.nodes:
            yield (
                "train.slime.nodes",
                self.nodes,
                f"a divisor of the GPUs, tensor x data x slime.pipeline x slime.context ({self.gpus})",
            )
        elif self.gpus % engine_gpus or (self.gpus_per_node % engine_gpus and engine_gpus % self.gpus_per_node):
            yield (
                "train.slime.engine_gpus",
                engine_gpus,
                f"a divisor of the GPUs of a node ({self.gpus_per_node}), "
                f"or a multiple of them that divides all ({self.gpus})",
            )

    def check(self, engine_gpus: int) -> None:
        """Refuse numbers that do not divide.

        Raises
        ------
        InputError
            Names the setting.
        """
        for setting, value, what in self.problems(engine_gpus):
            raise InputError(f"{setting}: given {value}; allowed: {what}.")
