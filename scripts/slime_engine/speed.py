"""Seconds and arithmetic of an iteration of slime's, counted as the other engine counts its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grpo.flops import forward_flops, iteration_flops
from grpo.shape import Qwen3Shape

ROLLOUT, TRAIN = "perf/rollout_time", "perf/train_time"
# Between trainer and SGLang: the GPUs' memory, the weights, the GPUs' memory back, the answers.
_HANDOVER = tuple(f"perf/{name}_time" for name in ("sleep", "update_weights", "wake_up", "data_preprocess"))


def handover_seconds(perf: Mapping[str, float]) -> float | None:
    """Seconds in which an iteration's weights went to SGLang, and its answers to the trainer; None if none are known.

    slime times a push with the iteration after it, which samples with these weights. It does not time SGLang's part.
    """
    known = [perf[name] for name in _HANDOVER if name in perf]
    return sum(known) if known else None


def iteration_seconds(perf: Mapping[str, float]) -> float | None:
    """Seconds of an iteration: handover, rollout and training; None if one of the last two is not known.

    As with the other engine, checkpoints and validations are not among them. slime's step_time holds those of the
    iteration before.
    """
    if ROLLOUT not in perf or TRAIN not in perf:
        return None
    return perf[ROLLOUT] + perf[TRAIN] + (handover_seconds(perf) or 0.0)


def model_flops(judged: Sequence[Mapping[str, Any]], shape: Qwen3Shape, group_size: int, reference: bool) -> float:
    """FLOPs that the model asks for in an iteration, as `grpo.flops` counts them: each prompt once a group.

    slime computes more: a prompt with each of its answers, and the answers' probabilities once more before it trains.

    Parameters
    ----------
    judged
        All answers of the iteration, group by group, with the tokens of each and of its prompt.
    reference
        Whether they are compared with the reference.
    """
    prompts = [row["prompt_tokens"] for row in judged[::group_size]]
    forward = forward_flops(shape, prompts, [row["tokens"] for row in judged], group_size)
    return iteration_flops(forward, updated=True, reference=reference)
