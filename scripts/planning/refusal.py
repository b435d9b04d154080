"""What of a training cannot work, in words."""

from __future__ import annotations

from common.shared_model import undealt
from grpo.shape import Qwen3Shape
from planning.machine import Task
from planning.memory import Footprint

# Memory of published runs lies within this share of the estimate.
MEMORY_ERROR = 0.15

# What lowers a part of the memory.
_LOWER = {
    "activations": "lower train.tokens_per_micro_batch or raise tensor",
    "logits": "lower train.tokens_per_micro_batch or train.max_new_tokens",
    "KV cache": "this engine samples a whole batch at once: lower train.prompts_per_iteration or train.max_new_tokens, "
    "raise train.data, or use train.engine: slime",
    "server's cache": "lower train.slime.memory_fraction",
}
_MORE_GPUS = "raise tensor, or take GPUs with more memory"


def refusals(shape: Qwen3Shape, task: Task, needed: Footprint, name: str, memory: float) -> list[str]:
    """What cannot work, one line each.

    Parameters
    ----------
    name, memory
        The GPU, and its bytes that the estimate may take.
    """
    found = []
    for part in ("heads", "query_groups", "ffn"):
        if getattr(shape, part) % task.tensor:
            found.append(f"train: tensor {task.tensor} does not divide the model's {part} ({getattr(shape, part)}).")
    if shape.layers % task.pipeline:
        found.append(f"train: pipeline {task.pipeline} does not divide the model's layers ({shape.layers}).")
    found += unshared("train.slime.engine_gpus", task.server_gpus, shape)
    found += too_long("train.max_new_tokens", task, shape)
    for doing, parts in (("an update", needed.training), ("sampling", needed.sampling)):
        total = sum(parts.values())
        if total > memory:
            largest = max(parts, key=lambda part: parts[part])
            found.append(
                f"train: {doing} takes {total / 1e9:.0f} GB of each GPU, {name} has {memory / 1e9:.0f} GB; the most is "
                f"{largest}, {parts[largest] / 1e9:.0f} GB: {_LOWER.get(largest, _MORE_GPUS)}."
            )
    if needed.at_once == 0:
        found.append(
            f"train: the server's pool, {100 * task.pool:.0f}% of a GPU, does not hold the weights and one answer of "
            f"{task.answer} tokens: {_MORE_GPUS}."
        )
    return found


def unshared(key: str, processes: int, shape: Qwen3Shape) -> list[str]:
    """Why so many processes of SGLang cannot share the model, if so, in one line."""
    for name, value, allowed in undealt(processes, shape.heads, shape.query_groups, shape.ffn):
        return [f"{key}: given {processes}; allowed: {allowed} of the model's {name} ({value})."]
    return []


def too_long(key: str, task: Task, shape: Qwen3Shape) -> list[str]:
    """That a prompt with its longest answer exceeds the model's positions, if so, in one line."""
    if task.length <= shape.max_positions:
        return []
    return [
        f"{key}: {task.prompt} tokens of a prompt and {task.answer} new ones exceed the model's "
        f"{shape.max_positions} positions."
    ]
