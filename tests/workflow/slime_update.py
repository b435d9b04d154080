"""One iteration's update by this project's own loop, on what slime trained on: prints what it measures, in JSON.

Arguments: the folder of slime's dumps, the run's folder ``model``, and the training's manifest.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from grpo import parallel
from grpo.learner import ComputeSettings, Learner, UpdateSettings
from grpo.loss import LossSettings
from grpo.qwen3 import read_shape
from grpo.rollout import Rollouts

TAKEN = ("tokens", "response_lengths", "log_probs", "ref_log_probs", "advantages")


def dumped(folder: Path, iteration: int) -> list[dict[str, Any]]:
    """The answers of an iteration in the order of their prompts, each from a rank that has all of it."""
    answers: dict[int, dict[str, Any]] = {}
    for path in folder.glob(f"{iteration - 1}_*.pt"):
        data = torch.load(path, weights_only=False)["rollout_data"]
        if "log_probs" in data:  # the last stage of a pipeline
            for place, index in enumerate(data["sample_indices"]):
                answers[index] = {name: data[name][place] for name in TAKEN}
    return [answers[index] for index in sorted(answers)]


def main() -> None:
    """Read, take the steps, print."""
    folder, model, manifest = (Path(given) for given in sys.argv[1:])
    settings = json.loads(manifest.read_text())["parameters"]
    answers, size = dumped(folder, 1), settings["group_size"]
    rate = settings["learning_rate"] / settings["warm_up_iterations"]
    rollouts = Rollouts(
        [one["tokens"][: -one["response_lengths"]] for one in answers[::size]],
        torch.cat([one["tokens"][-one["response_lengths"] :] for one in answers]),
        torch.tensor([one["response_lengths"] for one in answers]),
        torch.cat([one["log_probs"].float() for one in answers]),
        torch.zeros(sum(one["response_lengths"] for one in answers)),
        torch.zeros(len(answers), dtype=torch.bool),
    )
    reference = torch.cat([one["ref_log_probs"].float() for one in answers])
    advantages = torch.stack([one["advantages"][0].float() for one in answers])
    loss = LossSettings(*(settings[name] for name in ("clip_low", "clip_high", "kl_beta", "entropy")))
    ranks = parallel.start("cpu", 1, 1, 0)
    update = UpdateSettings(loss, size, settings["updates_per_iteration"])
    learner = Learner(
        read_shape(model / "base"), model / "megatron/iter_0000000", ranks, update, ComputeSettings("bf16")
    )
    difference = (learner.reference_logprobs(rollouts) - reference).abs().mean()
    made = learner.update(rollouts, advantages, reference, rate)
    parallel.stop()
    print(json.dumps(made | {"reference_difference": float(difference)}))


if __name__ == "__main__":
    main()
