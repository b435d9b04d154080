"""A loss that jumps or is not finite takes no step, is logged, or stops the training, as asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toy_task import quiet, settings, task, weights_of

from common.errors import InputError
from grpo.checkpoint import folder_name
from grpo.learner import Learner
from grpo.loop import Loop
from grpo.stored_weights import read_weights


def spoil(loop: Loop, at: int) -> None:
    """From iteration `at` on the reference is another model: KL and loss jump."""
    original = loop.learner.reference_logprobs
    count = 0

    def far_away(rollouts: object) -> torch.Tensor:
        nonlocal count
        count += 1
        return original(rollouts) + (8.0 if count == at else 0.0)

    loop.learner.reference_logprobs = far_away


def test_an_injected_spike_takes_no_optimiser_step_and_training_goes_on(
    make_learner: Callable[..., Learner], tmp_path: Path
) -> None:
    loop = Loop(make_learner(), task(), settings(), tmp_path)
    spoil(loop, at=3)
    lines: list[str] = []
    sums, rows = [], []
    for i in range(1, 6):
        rows.append(loop.iterate(i, lines.append))
        sums.append(weights_of(loop.learner))
    assert [row["spike"] for row in rows] == [False, False, True, False, False]
    assert rows[2]["grad_norm"] is None
    assert sums[2] == sums[1]
    assert len(set(sums)) == 4
    assert any("iteration 3: spiky loss" in line for line in lines)


def test_a_spike_can_be_logged_only_or_stop_the_training(make_learner: Callable[..., Learner], tmp_path: Path) -> None:
    loop = Loop(make_learner(), task(), settings(spike_action="log"), tmp_path)
    spoil(loop, at=2)
    loop.iterate(1, quiet)
    before = weights_of(loop.learner)
    row = loop.iterate(2, quiet)
    assert row["spike"]
    assert not row["skipped"]
    assert weights_of(loop.learner) != before
    loop = Loop(make_learner(), task(), settings(spike_action="stop"), tmp_path / "stop")
    spoil(loop, at=2)
    with pytest.raises(InputError, match="iteration 2: spiky loss"):
        loop.run(quiet)


def test_spikes_without_end_stop_the_training(make_learner: Callable[..., Learner], tmp_path: Path) -> None:
    loop = Loop(make_learner(), task(), settings(iterations=30, spike_limit=3), tmp_path)
    loop.iterate(1, quiet)
    original = loop.learner.reference_logprobs
    loop.learner.reference_logprobs = lambda rollouts: original(rollouts) + 8.0
    for i in (2, 3):
        assert loop.iterate(i, quiet)["skipped"]
    with pytest.raises(InputError, match="3 iterations skipped in a row"):
        loop.iterate(4, quiet)


def test_spikes_that_are_only_logged_never_stop_the_training(
    make_learner: Callable[..., Learner], tmp_path: Path
) -> None:
    loop = Loop(make_learner(), task(), settings(spike_action="log", spike_limit=1), tmp_path)
    loop.iterate(1, quiet)
    original = loop.learner.reference_logprobs
    loop.learner.reference_logprobs = lambda rollouts: original(rollouts) + 2.0
    assert [loop.iterate(i, quiet)["spike"] for i in (2, 3, 4)] == [True, False, False]


def test_a_loss_that_is_not_finite_is_skipped_and_recorded_as_null(
    make_learner: Callable[..., Learner], tmp_path: Path
) -> None:
    loop = Loop(make_learner(), task(), settings(iterations=4), tmp_path)
    original, count = loop.learner.reference_logprobs, 0

    def once_broken(rollouts: object) -> torch.Tensor:
        nonlocal count
        count += 1
        return original(rollouts) * (float("nan") if count == 2 else 1.0)

    loop.learner.reference_logprobs = once_broken
    loop.run(quiet)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["skipped"] for row in rows] == [False, True, False, False]
    assert rows[1]["loss"] is None
    assert all(torch.isfinite(p).all() for p in loop.learner.model.parameters())


def test_a_gradient_that_is_not_finite_stops_before_a_checkpoint(
    make_learner: Callable[..., Learner], tmp_path: Path
) -> None:
    loop = Loop(make_learner(), task(), settings(spike_action="log", save_every=1), tmp_path)
    original, count = loop.learner.reference_logprobs, 0

    def broken_from_the_third(rollouts: object) -> torch.Tensor:
        nonlocal count
        count += 1
        return original(rollouts) * (float("nan") if count >= 3 else 1.0)

    loop.learner.reference_logprobs = broken_from_the_third
    with pytest.raises(InputError, match="iteration 3: the gradient is not finite"):
        loop.run(quiet)
    assert not (tmp_path / folder_name(3)).exists()
    assert all(torch.isfinite(t).all() for t in read_weights(tmp_path / folder_name(2)).values())
