"""The loop on a toy task: it learns, resumes bit for bit, and takes no step on a spike."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.errors import InputError
from grpo import loop as loop_module
from grpo.checkpoint import folder_name, iterations_in
from grpo.learner import Learner, full_weights
from grpo.loop import Loop, LoopSettings, own_places
from grpo.metrics import merged_metrics
from grpo.rollout import Rollouts
from grpo.stored_weights import read_weights
from grpo.task import Judgement, Task
from tensor_sums import checksum

STOP = 5


def task(reward: Callable[[int, str], float] | None = None) -> Task:
    """Say small even numbers: the reward is the share of them in the answer."""

    def judge(number: int, text: str, truncated: bool) -> Judgement:
        words = text.split()
        value = reward(number, text) if reward else sum(int(w) % 2 == 0 for w in words) / len(words)
        return Judgement(value, {"buy": float(words[0] == "6"), "invalid": float(truncated)})

    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(6, 64, (4 + n % 3,), generator=generator) for n in range(12)]
    return Task(
        prompts=prompts,
        strata=[list(range(6)), list(range(6, 12))],
        judge=judge,
        decode=lambda answers: [" ".join(map(str, a)) for a in answers],
        stop=STOP,
        validation_prompts=prompts[:5],
        validation_judge=judge,
    )


def settings(**changes: object) -> LoopSettings:
    values: dict[str, object] = {
        "iterations": 6,
        "prompts_per_iteration": 4,
        "group_size": 4,
        "max_new_tokens": 5,
        "learning_rate": 3e-3,
        "save_every": 2,
        "keep": 2,
        "seed": 1,
    }
    return LoopSettings(**{**values, **changes})


def quiet(_: str) -> None:
    return None


def weights_of(learner: Learner) -> str:
    return checksum({name: p.detach() for name, p in full_weights(learner.model).items()})


def test_reward_rises_and_with_shuffled_advantages_it_does_not(
    make_learner: Callable[..., Learner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gain(name: str) -> float:
        loop = Loop(
            make_learner(),
            task(),
            settings(iterations=60, learning_rate=5e-3, save_every=1000),
            tmp_path / name,
        )
        rewards = [loop.iterate(i, quiet)["reward"] for i in range(1, 61)]
        return sum(rewards[-10:]) / 10 - sum(rewards[:10]) / 10

    learned = gain("learned")
    from grpo import loop as module

    original = module.group_advantages

    def shuffled(*args: object) -> torch.Tensor:
        advantages = original(*args)
        return advantages[torch.randperm(len(advantages), generator=torch.Generator().manual_seed(0))]

    monkeypatch.setattr(module, "group_advantages", shuffled)
    control = gain("control")
    assert learned > 0.2
    assert control < learned / 2


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
    monkeypatch.setattr("grpo.loop.signal.raise_signal", raised.append)
    try:
        loop._on_signal(signal.SIGTERM, None)
        assert raised == []
        loop.stop_time -= 60
        loop._on_signal(signal.SIGTERM, None)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert raised == [signal.SIGTERM]


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


def test_groups_without_a_difference_are_counted_and_teach_nothing(
    make_learner: Callable[..., Learner], tmp_path: Path
) -> None:
    from grpo.loss import LossSettings

    learner = make_learner(loss=LossSettings(kl_beta=0.0, entropy=0.0))
    loop = Loop(learner, task(reward=lambda number, text: 1.0), settings(), tmp_path)
    before = {name: p.detach().clone() for name, p in full_weights(learner.model).items()}
    row = loop.iterate(1, quiet)
    assert row["flat_groups"] == 4
    assert row["grad_norm"] == 0.0
    assert all(torch.equal(before[name], p) for name, p in full_weights(learner.model).items())


def test_micro_batches_do_not_change_the_step(make_learner: Callable[..., Learner], tmp_path: Path) -> None:
    rows = [
        Loop(make_learner(tokens_per_micro_batch=n), task(), settings(), tmp_path).iterate(1, quiet)
        for n in (10**6, 20)
    ]
    assert rows[0]["grad_norm"] == pytest.approx(rows[1]["grad_norm"], rel=1e-5)
    assert rows[0]["update_loss"] == pytest.approx(rows[1]["update_loss"], abs=1e-6)


def test_validation_judges_every_prompt(make_learner: Callable[..., Learner], tmp_path: Path) -> None:
    loop = Loop(make_learner(), task(reward=lambda number, text: float(number)), settings(), tmp_path)
    assert loop.validate()["reward"] == 2.0


@pytest.mark.parametrize("prompts", [0, 5])
def test_without_validation_prompts_there_is_no_validation(
    make_learner: Callable[..., Learner], tmp_path: Path, prompts: int
) -> None:
    given = task()
    given = replace(given, validation_prompts=given.validation_prompts[:prompts])
    Loop(make_learner(), given, settings(validate_every=2), tmp_path).run(quiet)
    rows = merged(tmp_path)
    assert [row["iteration"] for row in rows if "validation" in row] == ([2, 4, 6] if prompts else [])


def test_tensor_ranks_take_the_answers_of_the_first_to_their_own_device(
    make_learner: Callable[..., Learner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = Loop(make_learner(), task(), settings(), tmp_path)
    rollouts = loop._sample(1)[1]
    sent = []

    class Watched(Rollouts):
        def to(self, device: torch.device | str) -> Rollouts:
            sent.append(device)
            return super().to(device)

    def broadcast(shared: list[Rollouts], src: int, group: object) -> None:
        sent.append("broadcast")

    monkeypatch.setattr(loop_module.dist, "broadcast_object_list", broadcast)
    loop.ranks = replace(loop.ranks, tensor=2, device=torch.device("meta"))  # stands for a GPU that is not the sender's
    own = loop._same_on_tensor_ranks(Watched(**vars(rollouts)))
    assert sent == ["cpu", "broadcast"]  # a pickled tensor would come back on the sender's GPU
    held = [*own.prompts, *(value for name, value in vars(own).items() if name != "prompts")]
    assert {value.device.type for value in held} == {"meta"}
    assert [value.shape for value in own.prompts] == [value.shape for value in rollouts.prompts]


def test_data_ranks_share_every_minibatch_equally() -> None:
    parts = [own_places(16, updates=2, data_rank=r, data=2) for r in range(2)]
    assert parts == [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]]


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


def test_shown_answers_stand_behind_their_prompts(make_learner: Callable[..., Learner], tmp_path: Path) -> None:
    lines: list[str] = []
    Loop(make_learner(), task(), settings(show_rollouts_every=1), tmp_path).iterate(1, lines.append)
    assert sum(line.startswith("  asked: ") for line in lines) == 2
    assert sum(line.startswith("    ") for line in lines) == 6
