"""The hooks, called as slime calls them: awaited with its arguments and a sample."""

from __future__ import annotations

import argparse
import asyncio
import enum
import inspect
import json
import random
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from grpo.schedule import learning_rate
from slime_engine import hooks
from slime_engine.collect import Judgements, reward_metrics, shown


class Status(enum.Enum):
    """slime's own."""

    COMPLETED = "completed"
    TRUNCATED = "truncated"


def arguments(folder: Path, **changed: Any) -> argparse.Namespace:
    settings = argparse.Namespace(
        reward_scale=1000.0, reward_valid=0.01, reward_invalid=-10.0, group_size=2, prompts_per_iteration=3,
        show_rollouts_every=2, learning_rate=0.1, warm_up_iterations=4, decay_iterations=0, seed=0,
        balance_directions=True, normalise_by_std=True,
    )  # fmt: skip
    given = hooks.hook_settings(settings, folder / "judgements.jsonl", ["<|im_end|>"])
    return argparse.Namespace(**{**json.loads(json.dumps(given)), **changed})  # as the file gives them


def sample(response: str, index: int = 0, split: str = "train", status: Status = Status.COMPLETED) -> SimpleNamespace:
    hour = {"id": f"{split}-000000", "timestamp": "t", "current_price": 100.0, "next_price": 101.0, "split": split}
    prompt = [{"role": "user", "content": "rising\nstrong"}]
    return SimpleNamespace(
        response=response,
        status=status,
        metadata=hour,
        index=index,
        prompt=prompt,
        response_length=4,
        tokens=[0] * 11,
    )


def rewarded(args: argparse.Namespace, one: SimpleNamespace) -> float:
    """As slime.rollout.rm_hub.async_rm does it."""
    module, _, name = hooks.REWARD.rpartition(".")
    return asyncio.run(getattr(import_module(module), name)(args, one))


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<answer>Buy</answer><|im_end|>", 10.01),
        ("thinking</think>\n\n<answer>Sell</answer><|im_end|>", -9.99),
        ("<answer>Buy</answer>", 10.01),
        ("<answer>Buy</answer> and so on<|im_end|>", -10.0),
        ("<|im_end|>", -10.0),
        ("", -10.0),
    ],
)
def test_the_reward_is_the_studys_and_the_stop_token_no_part_of_the_answer(
    tmp_path: Path, response: str, expected: float
) -> None:
    assert rewarded(arguments(tmp_path), sample(response)) == pytest.approx(expected)


def test_with_the_stop_token_left_in_no_answer_would_be_valid(tmp_path: Path) -> None:
    args = arguments(tmp_path, hook_stop_texts=[])
    assert rewarded(args, sample("<answer>Buy</answer><|im_end|>")) == -10.0


def test_the_reward_is_a_coroutine_function_as_slime_needs_it() -> None:
    assert inspect.iscoroutinefunction(hooks.reward)


def test_the_journal_says_which_iteration_and_group_an_answer_belongs_to(tmp_path: Path) -> None:
    args = arguments(tmp_path)
    for index in range(12):  # two iterations of three groups of two
        rewarded(args, sample(("<answer>Buy</answer>", "<answer>Sell</answer>", "?")[index % 3], index))
    rewarded(args, sample("<answer>Buy</answer>", 0, "validation"))
    judgements = Judgements(tmp_path / "judgements.jsonl")
    judged = judgements.of_iteration(2)
    assert [(row["group"], row["number"]) for row in judged] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    metrics = reward_metrics(judged)
    assert (metrics["buy"], metrics["invalid"], metrics["flat_groups"]) == (1 / 3, 1 / 3, 0)
    assert metrics["reward"] == pytest.approx((10.01 - 9.99 - 10) / 3)
    assert judgements.of_validation(1) == {"reward": pytest.approx(10.01), "buy": 1.0, "invalid": 0.0}
    assert judgements.of_validation(1) is None
    # The second iteration is one whose answers are shown: of its first two groups.
    assert shown(judged) == [
        "  asked: rising strong",
        "    +10.010  <answer>Buy</answer>",
        "    -9.990  <answer>Sell</answer>",
        "    -10.000  ?",
        "    +10.010  <answer>Buy</answer>",
    ]
    assert shown(judgements.of_iteration(1)) == []


def test_a_line_that_is_being_written_waits(tmp_path: Path) -> None:
    path = tmp_path / "judgements.jsonl"
    rewarded(arguments(tmp_path), sample("<answer>Buy</answer>", 0, "validation"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    judgements = Judgements(path)
    assert judgements.of_validation(1) is not None
    path.write_bytes(whole + whole)
    assert judgements.of_validation(1) is not None


def test_a_validation_that_is_heard_of_late_takes_no_answers_of_the_next_one(tmp_path: Path) -> None:
    args = arguments(tmp_path)
    for answer in ("Buy", "Sell", "Buy", "Buy"):  # two validations of two prompts
        rewarded(args, sample(f"<answer>{answer}</answer>", 0, "validation"))
    judgements = Judgements(tmp_path / "judgements.jsonl")
    found = [judgements.of_validation(2) for _ in range(3)]
    assert [means and means["buy"] for means in found] == [0.5, 1.0, None]
    means = Judgements(tmp_path / "judgements.jsonl").of_validation(2, lost=1)
    assert means is not None
    assert means["buy"] == 1.0


def test_groups_whose_rewards_are_equal_are_counted() -> None:
    rows = [
        {"group": group, "reward": value, "buy": True, "invalid": False}
        for group, value in ((0, 1.0), (0, 1.0), (1, 1.0), (1, 2.0))
    ]
    assert reward_metrics(rows)["flat_groups"] == 1


def slimes_advantages(rewards: list[float], group: int) -> list[float]:
    """As slime v0.2.1's RolloutManager._post_process_rewards makes them without the hook."""
    grouped = torch.tensor(rewards, dtype=torch.float).reshape(-1, group)
    grouped = grouped - grouped.mean(dim=-1, keepdim=True)
    return (grouped / (grouped.std(dim=-1, keepdim=True) + 1e-6)).flatten().tolist()


def post_processed(args: argparse.Namespace, rewards: list[float]) -> tuple[list[float], list[float]]:
    """As slime calls it."""
    module, _, name = hooks.ADVANTAGES.rpartition(".")
    return getattr(import_module(module), name)(args, [SimpleNamespace(reward=reward) for reward in rewards])


def test_a_group_of_equal_rewards_has_no_advantage(tmp_path: Path) -> None:
    args = arguments(tmp_path, hook_group_size=8)
    generator = random.Random(0)
    groups = [[generator.uniform(-10, 10)] * 8 for _ in range(300)]
    # The control: slime's own formula blows a rounding error up.
    assert max(abs(one) for group in groups for one in slimes_advantages(group, 8)) > 0.5
    rewards = [reward for group in groups for reward in group]
    assert post_processed(args, rewards) == (rewards, [0.0] * len(rewards))


def test_the_advantages_of_other_groups_are_slimes(tmp_path: Path) -> None:
    rewards = [10.01, -9.99, -10.0, 10.01, 1.0, 2.0]
    _, made = post_processed(arguments(tmp_path), rewards)
    assert made == pytest.approx(slimes_advantages(rewards, 2))
    raw, centred = post_processed(arguments(tmp_path, hook_normalise_by_std=False), rewards)
    assert raw == rewards
    assert centred == pytest.approx([10.0, -10.0, -10.005, 10.005, -0.5, 0.5])


def test_the_learning_rate_is_the_other_engines(tmp_path: Path) -> None:
    optimizer = SimpleNamespace(param_groups=[{"lr": 9.0}, {"lr": 9.0}])
    for rollout in range(8):  # called as slime's train_one_step does
        hooks.set_learning_rate(arguments(tmp_path), rollout, 1, [], optimizer, None)
        expected = learning_rate(rollout + 1, 0.1, 4, 0)
        assert [group["lr"] for group in optimizer.param_groups] == [expected, expected]
