"""A training that is killed, stopped, continued or shortened ends with the bits of an undisturbed one."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_task import quiet, settings, task, weights_of

from common.errors import InputError
from grpo.checkpoint import folder_name, iterations_in
from grpo.learner import Learner
from grpo.loop import Loop
from grpo.metrics import merged_metrics
from grpo.stored_weights import read_weights
from tensor_sums import checksum


def test_killed_and_started_again_it_ends_with_the_same_bits(
    make_learner: Callable[..., Learner], tmp_path: Path
) -> None:
    whole = make_learner()
    Loop(whole, task(), settings(), tmp_path / "whole").run(quiet)
    # Killed after iteration 5: the checkpoint of 4 stands, the row of 5 is in the journal.
    first = Loop(make_learner(), task(), settings(), tmp_path / "killed")

    def kill(iteration: int, log: object) -> dict:
        if iteration == 6:
            raise RuntimeError("killed")
        return Loop.iterate(first, iteration, quiet)

    first.iterate = kill
    with pytest.raises(RuntimeError, match="killed"):
        first.run(quiet)
    again = make_learner()
    Loop(again, task(), settings(), tmp_path / "killed").run(quiet)
    assert weights_of(again) == weights_of(whole)
    rows = [merged(tmp_path / name) for name in ("whole", "killed")]
    assert [r["reward"] for r in rows[0]] == [r["reward"] for r in rows[1]]
    assert [r["grad_norm"] for r in rows[0]] == [r["grad_norm"] for r in rows[1]]
    other = make_learner()
    Loop(other, task(), settings(seed=2), tmp_path / "other").run(quiet)
    assert weights_of(other) != weights_of(whole)


def merged(folder: Path) -> list[dict]:
    return merged_metrics([json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()], 6)


def test_more_iterations_continue_and_fewer_are_found(make_learner: Callable[..., Learner], tmp_path: Path) -> None:
    Loop(make_learner(), task(), settings(iterations=4), tmp_path / "a").run(quiet)
    longer = make_learner()
    Loop(longer, task(), settings(iterations=6), tmp_path / "a").run(quiet)
    straight = make_learner()
    Loop(straight, task(), settings(iterations=6), tmp_path / "b").run(quiet)
    assert weights_of(longer) == weights_of(straight)
    before = checksum(read_weights(tmp_path / "a" / folder_name(6)))
    Loop(make_learner(), task(), settings(iterations=4), tmp_path / "a").run(quiet)
    assert checksum(read_weights(tmp_path / "a" / folder_name(6))) == before


def test_a_signal_saves_and_stops(make_learner: Callable[..., Learner], tmp_path: Path) -> None:
    loop = Loop(make_learner(), task(), settings(save_every=1000), tmp_path)

    def iterate(iteration: int, log: object) -> dict:
        if iteration == 3:
            signal.raise_signal(signal.SIGTERM)
        return Loop.iterate(loop, iteration, quiet)

    loop.iterate = iterate
    with pytest.raises(SystemExit):
        loop.run(quiet)
    assert (tmp_path / folder_name(3)).is_dir()
    done = make_learner()
    Loop(done, task(), settings(save_every=1000), tmp_path).run(quiet)
    straight = make_learner()
    Loop(straight, task(), settings(), tmp_path / "straight").run(quiet)
    assert weights_of(done) == weights_of(straight)


def test_a_stop_costs_no_checkpoint_that_an_undisturbed_training_keeps(
    make_learner: Callable[..., Learner], tmp_path: Path
) -> None:
    loop = Loop(make_learner(), task(), settings(), tmp_path)

    def iterate(iteration: int, log: object) -> dict:
        if iteration == 5:
            signal.raise_signal(signal.SIGTERM)
        return Loop.iterate(loop, iteration, quiet)

    loop.iterate = iterate
    with pytest.raises(SystemExit):
        loop.run(quiet)
    assert iterations_in(tmp_path) == [2, 4, 5]
    Loop(make_learner(), task(), settings(), tmp_path).run(quiet)
    assert iterations_in(tmp_path) == [4, 6]


def test_the_last_checkpoint_is_kept_wherever_it_falls(make_learner: Callable[..., Learner], tmp_path: Path) -> None:
    Loop(make_learner(), task(), settings(iterations=5), tmp_path).run(quiet)
    assert iterations_in(tmp_path) == [4, 5]


def test_the_same_signal_again_within_moments_still_saves(make_learner: Callable[..., Learner], tmp_path: Path) -> None:
    loop = Loop(make_learner(), task(), settings(save_every=1000), tmp_path)

    def iterate(iteration: int, log: object) -> dict:
        if iteration == 2:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        return Loop.iterate(loop, iteration, quiet)

    loop.iterate = iterate
    with pytest.raises(SystemExit):
        loop.run(quiet)
    assert (tmp_path / folder_name(2)).is_dir()


def test_a_second_signal_later_ends_at_once(
    make_learner: Callable[..., Learner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop(make_learner(), task(), settings(), tmp_path)
    before, raised = signal.getsignal(signal.SIGTERM), []
    monkeypatch.setattr("grpo.stopping.signal.raise_signal", raised.append)
    try:
        loop.stop._heard(signal.SIGTERM, None)
        assert raised == []
        loop.stop.time -= 60
        loop.stop._heard(signal.SIGTERM, None)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert raised == [signal.SIGTERM]


def test_a_missing_iteration_is_named() -> None:
    rows = [{"iteration": i, "value": 0} for i in (1, 2, 2, 4)]
    with pytest.raises(InputError, match="iteration 3 is missing"):
        merged_metrics(rows, 4)
    rows = [{"iteration": 1, "value": 0}, {"iteration": 2, "value": 1}, {"iteration": 2, "value": 2}]
    assert [row["value"] for row in merged_metrics(rows, 2)] == [0, 2]


def test_a_shorter_training_after_a_longer_one_keeps_its_own_checkpoint(
    make_learner: Callable[..., Learner], tmp_path: Path
) -> None:
    Loop(make_learner(), task(), settings(iterations=6, keep=1), tmp_path).run(quiet)
    shorter = make_learner()
    Loop(shorter, task(), settings(iterations=3, keep=1), tmp_path).run(quiet)
    assert (tmp_path / folder_name(3)).is_dir()
    assert (tmp_path / folder_name(6)).is_dir()
