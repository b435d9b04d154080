"""What slime calls: the reward of an answer, the advantages of a batch, and the learning rate of an iteration.

slime imports this module in its own processes and gives its functions its own arguments, to which
``--custom-config-path`` adds the ones read here (`hook_settings`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from trading.reward import Scales, judge

REWARD = "slime_engine.hooks.reward"
ADVANTAGES = "slime_engine.hooks.advantages"
LEARNING_RATE = "slime_engine.hooks.set_learning_rate"
TRAIN = "train"
SHOWN_GROUPS, SHOWN_ANSWERS = 2, 3  # of an iteration whose answers are shown


async def reward(args: Any, sample: Any) -> float:
    """The study's reward of one answer; writes what was judged to the journal. slime awaits it for every sample.

    Parameters
    ----------
    args
        slime's arguments, with those of `hook_settings`.
    sample
        slime's Sample: ``response``, ``status``, ``tokens`` (prompt and answer), ``metadata`` (a line of
        samples/*.jsonl) and ``index``, which counts the answers of the whole training, across resumed runs.

    Returns
    -------
    float
        As `trading.reward.reward`.
    """
    hour = sample.metadata
    truncated = sample.status.value == "truncated"
    text = answer_text(sample.response, args.hook_stop_texts)
    scales = Scales(args.hook_reward_scale, args.hook_reward_valid, args.hook_reward_invalid)
    judged = judge(text, truncated, hour, scales)
    iteration, place = divmod(sample.index, args.hook_answers_per_iteration)
    group, number = divmod(place, args.hook_group_size)
    row = {
        "split": hour["split"],
        "iteration": iteration + 1,
        "group": group,
        "number": number,
        "reward": judged.reward,
        "buy": judged.buy,
        "invalid": judged.invalid,
        "tokens": sample.response_length,
        "prompt_tokens": len(sample.tokens) - sample.response_length,
    }
    every = args.hook_show_every
    due = hour["split"] == TRAIN and every and row["iteration"] % every == 0
    if due and group < SHOWN_GROUPS and number < SHOWN_ANSWERS:
        row |= {"asked": " ".join(turn["content"] for turn in sample.prompt), "said": text}
    append(Path(args.hook_journal), row)
    return judged.reward


def answer_text(response: str, stop_texts: list[str]) -> str:
    """The answer without the token that ended it, which slime leaves in the text."""
    for stop in stop_texts:
        if response.endswith(stop):
            return response.removesuffix(stop)
    return response


def append(path: Path, row: dict[str, Any]) -> None:
    """One line at the end of a file, in one write; opened anew, so that other machines see it."""
    line = (json.dumps(row, ensure_ascii=False) + "\n").encode()
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


def advantages(args: Any, samples: list[Any]) -> tuple[list[float], list[float]]:
    """This project's advantages: slime calls it with all answers of an iteration, group by group.

    slime's own are near 1 where all rewards of a group are equal: in float32 their mean may be a rounding error off,
    which it divides by 1e-6.

    Returns
    -------
    tuple
        The rewards, and what `grpo.advantages.group_advantages` makes of them.
    """
    import torch

    from grpo.advantages import group_advantages

    rewards = [sample.reward for sample in samples]
    made = group_advantages(torch.tensor(rewards, dtype=torch.float), args.hook_group_size, args.hook_normalise_by_std)
    return rewards, made.tolist()


def set_learning_rate(args: Any, rollout_id: int, _step: int, _model: Any, optimizer: Any, _scheduler: Any) -> None:
    """This project's schedule: slime calls it before each optimiser step; Megatron's own schedule is constant.

    The rate follows from the iteration's number alone, so a resumed or prolonged training needs no state.
    """
    from grpo.schedule import learning_rate

    rate = learning_rate(
        rollout_id + 1, args.hook_learning_rate, args.hook_warm_up_iterations, args.hook_decay_iterations
    )
    for group in optimizer.param_groups:
        group["lr"] = rate


def hook_settings(settings: Any, journal: Path, stop_texts: list[str]) -> dict[str, Any]:
    """What the hooks find in slime's arguments: the content of the file behind ``--custom-config-path``.

    Parameters
    ----------
    settings
        Arguments of train.py.
    journal
        Where the judgements go.
    stop_texts
        What may end an answer's text without being part of the answer.
    """
    return {
        "hook_journal": str(journal),
        "hook_stop_texts": list(stop_texts),
        "hook_reward_scale": settings.reward_scale,
        "hook_reward_valid": settings.reward_valid,
        "hook_reward_invalid": settings.reward_invalid,
        "hook_group_size": settings.group_size,
        "hook_normalise_by_std": settings.normalise_by_std,
        "hook_answers_per_iteration": settings.prompts_per_iteration * settings.group_size,
        "hook_show_every": settings.show_rollouts_every,
        "hook_learning_rate": settings.learning_rate,
        "hook_warm_up_iterations": settings.warm_up_iterations,
        "hook_decay_iterations": settings.decay_iterations,
        # Of the data source.
        "hook_seed": settings.seed,
        "hook_prompts_per_iteration": settings.prompts_per_iteration,
        "hook_balance_directions": settings.balance_directions,
    }
