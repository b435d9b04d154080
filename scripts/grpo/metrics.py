"""An iteration's metrics: measured, for people, and as the training's record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch

from common.errors import InputError
from grpo.advantages import flat_groups
from grpo.task import Judgement

Sums = dict[str, float]


@dataclass
class Clock:
    """Seconds of the parts of an iteration."""

    device: torch.device
    parts: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.perf_counter)

    def lap(self, name: str) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.parts[name] = now - self.last
        self.last = now
        return self.parts[name]

    def join(self, name: str, *parts: str) -> None:
        self.parts[name] = sum(self.parts.pop(part) for part in parts)


def reward_metrics(
    rewards: torch.Tensor, judgements: list[Judgement], group_size: int, sum_over_data: Callable[[Sums], Sums]
) -> dict[str, float]:
    """Mean and spread of the rewards, shares of what was judged, groups that carry no gradient; over all ranks.

    Parameters
    ----------
    rewards
        Of this rank's answers, group by group, shape (prompts * group_size,).
    sum_over_data
        Adds sums over the data ranks.
    """
    sums: Sums = {
        "answers": float(len(judgements)),
        "reward": float(rewards.double().sum()),
        "squares": float((rewards.double() ** 2).sum()),
        "flat_groups": float(flat_groups(rewards, group_size).sum()),
    }
    for name in judgements[0].shares:
        sums[name] = sum(judgement.shares[name] for judgement in judgements)
    sums = sum_over_data(sums)
    count = sums.pop("answers")
    mean = sums.pop("reward") / count
    spread = max(0.0, sums.pop("squares") / count - mean**2) ** 0.5
    flat = int(sums.pop("flat_groups"))
    return {
        "reward": mean,
        "reward_std": spread,
        **{name: value / count for name, value in sums.items()},
        "flat_groups": flat,
    }


def finite(value: Any) -> Any:
    """The value, or None for a float that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def describe(row: dict[str, Any], kl: bool = True) -> str:
    """One iteration as a person reads it.

    Parameters
    ----------
    kl
        Whether there is a KL divergence to speak of: slime computes none that has no weight.
    """
    shares = f"buy {row['buy']:.0%}, invalid {row['invalid']:.1%}, " if "buy" in row else ""
    validation = row.get("validation")
    checked = f", validation reward {validation['reward']:+.3f}" if validation else ""
    speed = f"{row['tokens_per_second']:.0f} tokens/s"
    if row["model_flops_per_second"] is not None:  # slime's lines may be lost
        speed += f", {row['model_flops_per_second'] / 1e12:.3g} TFLOP/s"
    share = "" if row["mfu"] is None else f", {row['mfu']:.1%} of peak"
    said = {"KL": row["kl"]} if kl else {}
    said["entropy"] = row["entropy"]
    loss = ", ".join(f"{name} {'not finite' if value is None else f'{value:.4f}'}" for name, value in said.items())
    return f"reward {row['reward']:+.3f}, {shares}{loss}, {speed}{share}{checked}"


def show_rollouts(
    iteration: int,
    prompts: list[str],
    texts: list[str],
    judgements: list[Judgement],
    group_size: int,
    log: Callable[[str], None],
) -> None:
    """Print the first groups' prompts and some of their answers: people look at samples."""
    log(f"answers of iteration {iteration}:")
    # Texts lie group by group; as many groups as prompts were given are shown, three answers of each.
    for number, prompt in enumerate(prompts):
        log(f"  asked: {' '.join(prompt.split())}")
        first = number * group_size
        for text, judgement in islice(zip(texts, judgements, strict=True), first, first + 3):
            log(f"    {judgement.reward:+.3f}  {' '.join(text.split())}")


def merged_metrics(rows: list[dict[str, Any]], iterations: int) -> list[dict[str, Any]]:
    """The journal's rows up to `iterations`, one each: where a resumed run did one again, the later one.

    Raises
    ------
    InputError
        If an iteration is missing.
    """
    latest = {row["iteration"]: row for row in rows if row["iteration"] <= iterations}
    missing = [n for n in range(1, iterations + 1) if n not in latest]
    if missing:
        raise InputError(
            f"metrics.jsonl: iteration {missing[0]} is missing though a checkpoint after it exists. "
            "Delete the checkpoint folder and train again."
        )
    return [latest[n] for n in range(1, iterations + 1)]
