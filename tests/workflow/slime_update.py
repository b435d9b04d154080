"""The own loop's updates on what slime trained on, and how near they come to slime's: prints it, in JSON.

Arguments: the folder of slime's dumps, the run's folder ``model``, and the training's manifest.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from grpo import parallel
from grpo.learner import ComputeSettings, Learner, UpdateSettings, full_weights
from grpo.loss import LossSettings
from grpo.qwen3 import read_shape
from grpo.rollout import Rollouts
from grpo.schedule import learning_rate
from grpo.stored_weights import read_weights

TAKEN = ("tokens", "response_lengths", "log_probs", "ref_log_probs", "advantages")
# The same update, and controls: each changes one thing.
CASES: dict[str, dict[str, float]] = {
    "same": {},
    "advantages negated": {"advantages": -1.0},
    "half the learning rate": {"learning_rate": 0.5},
    "entropy punished": {"entropy": -1.0},
}


def dumped(folder: Path, iteration: int) -> list[dict[str, Any]]:
    """The answers of an iteration in the order of their prompts, each from a rank that has all of it."""
    answers: dict[int, dict[str, Any]] = {}
    for path in folder.glob(f"{iteration - 1}_*.pt"):
        data = torch.load(path, weights_only=False)["rollout_data"]
        if "log_probs" in data:  # the last stage of a pipeline
            for place, index in enumerate(data["sample_indices"]):
                answers[index] = {name: data[name][place] for name in TAKEN}
    return [answers[index] for index in sorted(answers)]


def rollouts_of(answers: list[dict[str, Any]], size: int) -> tuple[Rollouts, torch.Tensor, torch.Tensor]:
    """Groups of answers as the own loop has them, their advantages, and the reference's log-probabilities."""
    lengths = [one["response_lengths"] for one in answers]
    rollouts = Rollouts(
        [one["tokens"][: -one["response_lengths"]] for one in answers[::size]],
        torch.cat([one["tokens"][-one["response_lengths"] :] for one in answers]),
        torch.tensor(lengths),
        torch.cat([one["log_probs"].float() for one in answers]),
        torch.zeros(sum(lengths)),
        torch.zeros(len(answers), dtype=torch.bool),
    )
    advantages = torch.stack([one["advantages"][0].float() for one in answers])
    return rollouts, advantages, torch.cat([one["ref_log_probs"].float() for one in answers])


def change(after: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> torch.Tensor:
    """Of all weights, in one row."""
    return torch.cat([(after[name].detach().float() - before[name].float()).flatten() for name in sorted(before)])


def recorded_norms(learner: Learner) -> list[float]:
    """The gradient's norm at each step, as they are taken."""
    norms: list[float] = []
    step = learner.optimizer.step

    def recorded() -> Any:
        done = step()
        norms.append(float(done[1]))
        return done

    learner.optimizer.step = recorded
    return norms


def main() -> None:
    """Read, take the steps of both iterations, print."""
    folder, model, manifest = (Path(given) for given in sys.argv[1:])
    told = json.loads(manifest.read_text())
    settings, size = told["parameters"], told["parameters"]["group_size"]
    batches = [dumped(folder, iteration) for iteration in (1, 2)]
    assert [len(batch) for batch in batches] == [settings["prompts_per_iteration"] * size] * 2
    shape, start = read_shape(model / "base"), model / "megatron/iter_0000000"
    before = dict(read_weights(start))
    theirs = change(dict(read_weights(manifest.parent / told["checkpoint"])), before)
    ranks, found = parallel.start("cpu", 1, 1, 0), {}
    for case, factors in CASES.items():
        given = settings | {name: settings[name] * factors[name] for name in factors if name in settings}
        loss = LossSettings(*(given[name] for name in ("clip_low", "clip_high", "kl_beta", "entropy")))
        update = UpdateSettings(loss, size, settings["updates_per_iteration"], weight_decay=settings["weight_decay"])
        learner = Learner(shape, start, ranks, update, ComputeSettings("bf16"))
        norms = recorded_norms(learner)
        made: dict[str, float] = {}
        for iteration, batch in enumerate(batches, 1):
            rollouts, advantages, reference = rollouts_of(batch, size)
            own = learner.reference_logprobs(rollouts)
            rate = learning_rate(
                iteration, given["learning_rate"], settings["warm_up_iterations"], settings["decay_iterations"]
            )
            measured = learner.update(rollouts, advantages * factors.get("advantages", 1.0), reference, rate)
            made = made or measured | {"reference_difference": float((own - reference).abs().mean())}
        made["first_norm"] = norms[0]
        ours = change(full_weights(learner.model), before)
        made["cosine"] = float(torch.cosine_similarity(ours, theirs, dim=0))
        made["length"] = float(ours.norm() / theirs.norm())
        found[case] = made
    parallel.stop()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
