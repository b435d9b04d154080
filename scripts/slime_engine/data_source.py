"""The order of the prompts: slime's own reading of the samples, drawn in this project's order.

slime imports this module (``--data-source-path``); it needs slime. Iteration 317 asks the same prompts as the other
engine's, whatever was killed before it: their numbers follow from the iteration's number and the seed alone.
"""

from __future__ import annotations

import os
from typing import Any

from slime.rollout.data_source import RolloutDataSourceWithBuffer

from grpo.schedule import batch_of
from trading.strata import strata


class OrderedDataSource(RolloutDataSourceWithBuffer):
    """slime's data source, with the batches of `grpo.schedule.batch_of`."""

    def __init__(self, args: Any) -> None:
        super().__init__(args)
        hours = [sample.metadata for sample in self.dataset.samples]
        if len(hours) != args.hook_samples:
            raise RuntimeError(f"slime read {len(hours)} of {args.hook_samples} samples from {args.prompt_data}")
        self.all_samples = self.dataset.samples
        self.strata = strata(hours, args.hook_balance_directions)

    def get_samples(self, num_samples: int) -> list[list[Any]]:
        """The groups of the next iteration."""
        size = self.args.hook_prompts_per_iteration
        iteration, inside = divmod(self.sample_group_index, size)
        if inside or num_samples != size:
            raise RuntimeError(f"asked for {num_samples} prompts at place {inside} of a batch of {size}")
        batch = batch_of(iteration + 1, self.strata, size, self.args.hook_seed)
        # The parent hands out what comes next in its list, and counts.
        self.dataset.samples, self.sample_offset = [self.all_samples[number] for number in batch], 0
        return super().get_samples(num_samples)

    def add_samples(self, samples: list[list[Any]]) -> None:
        """Refuse what a rollout hands back: with the arguments given here slime finishes all that it asks."""
        if samples:
            raise RuntimeError(
                f"{len(samples)} groups were handed back, which would be asked again in place of an iteration's own"
            )

    def load(self, rollout_id: int | None = None) -> None:
        """Go on behind a rollout; unlike slime, refuse to begin anew because its state is missing."""
        if rollout_id is None or rollout_id < 0:
            return
        path = os.path.join(self.args.load, f"rollout/global_dataset_state_dict_{rollout_id}.pt")
        if not os.path.exists(path):
            raise RuntimeError(f"{path}: the data's state is missing, prompts would be asked in another order")
        super().load(rollout_id)
        expected = (rollout_id + 1) * self.args.hook_prompts_per_iteration
        if self.sample_group_index != expected:
            raise RuntimeError(f"{path}: stands at prompt {self.sample_group_index}, expected {expected}")
