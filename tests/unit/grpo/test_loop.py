"""The loop on a toy task: it learns, whatever the micro-batches and ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy_task import quiet, settings, task

from common.files import read_jsonl
from grpo import loop as loop_module
from grpo.learner import Learner, full_weights
from grpo.loop import Loop, own_places
from grpo.rollout import Rollouts


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
    rows = read_jsonl(tmp_path / "metrics.jsonl")
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


def test_shown_answers_stand_behind_their_prompts(make_learner: Callable[..., Learner], tmp_path: Path) -> None:
    lines: list[str] = []
    Loop(make_learner(), task(), settings(show_rollouts_every=1), tmp_path).iterate(1, lines.append)
    assert sum(line.startswith("  asked: ") for line in lines) == 2
    assert sum(line.startswith("    ") for line in lines) == 6
