"""Memory and time of the questions that SGLang is asked on GPUs, and what of them cannot work, before they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from common.datasheet import Gpu
from grpo.shape import Qwen3Shape
from planning.machine import SLIME, Task
from planning.memory import footprint, serving
from planning.model import weights
from planning.pace import LEAST_WEIGHTS, sampling_seconds
from planning.refusal import too_long, unshared

# Tokens of the longest prompt, chat template included, counted with Qwen's own vocabulary
# (tests/unit/test_qwen_vocabulary.py): a report with prices and dates, and one with both hidden.
PROMPT = {"report": 640, "masked": 400, "compact": 64}


def longest_prompt(samples: Mapping[str, Any]) -> int:
    """Tokens of the longest prompt of a style."""
    if samples["prompt"] != "report":
        return PROMPT["compact"]
    return PROMPT["masked" if samples["mask"] else "report"]


def question_of(settings: Mapping[str, Any], task: Task, own: Mapping[str, Any]) -> Task:
    """A question of `infer`, or of a variant with settings of its own, as the server sees it."""
    infer = settings["infer"]
    return replace(
        task,
        prompt=longest_prompt({**settings["samples"], **{key: own[key] for key in own if own[key] is not None}}),
        answer=own.get("max_new_tokens") or infer["max_new_tokens"],
        pool=infer.get("memory_fraction", 0.85),
        server_gpus=infer.get("tensor", 1),
    )


def asking(settings: Mapping[str, Any], shape: Qwen3Shape, gpu: Gpu, task: Task) -> dict[str, float]:
    """Seconds of the questions of each rule that asks; empty where the test hours or the pace are not known.

    A probe asks its hours as they are and with each change; variants are asked one after another. As many questions
    as `infer.batch` says run at a time, shared out among the copies of the model, or as many as fit.
    """
    from inference.changes import CHANGES  # with NumPy, which nothing else here needs

    infer, hours, probe = settings["infer"], settings["samples"]["test"], settings["probe"]
    if not isinstance(hours, int) or weights(shape) < LEAST_WEIGHTS:
        return {}

    def seconds(questions: int, **own: Any) -> float | None:
        """Seconds of as many questions, answered to the limit of tokens."""
        one = question_of(settings, task, own)
        at_once = footprint(shape, SLIME, one, gpu.memory).at_once
        if not at_once:
            return None
        together, copies = one.server_gpus, infer.get("data", 1)
        share, most = -(-questions // copies), -(-infer["batch"] // copies)
        running = min(most, at_once * together)
        return sampling_seconds(shape, gpu, share, running, one.prompt, one.answer, gpus=together)

    found = {"infer": seconds(hours)}
    if probe["enabled"]:
        found["probe"] = seconds((1 + len(CHANGES)) * min(probe["hours"], hours))
    if settings["variants"]:
        each = [seconds(hours, **variant) for variant in settings["variants"]]
        found["variants"] = None if None in each else sum(each)
    return {rule: took for rule, took in found.items() if took is not None}


def refused(settings: Mapping[str, Any], shape: Qwen3Shape, gpu: Gpu, task: Task) -> list[str]:
    """What of the questions cannot work, one line each. The probe asks as `infer` does."""
    asked = {"infer": question_of(settings, task, {})}
    asked |= {f"variants.{n}": question_of(settings, task, own) for n, own in enumerate(settings["variants"])}
    found = unshared("infer.tensor", asked["infer"].server_gpus, shape)
    for place, question in asked.items():
        # A variant without a limit of its own has that of infer, which is refused already.
        if place == "infer" or question.length > asked["infer"].length:
            found += too_long(f"{place}.max_new_tokens", question, shape)
    longest = max(asked.values(), key=lambda question: question.length)
    if not footprint(shape, SLIME, longest, gpu.memory).at_once:
        found.append(
            f"infer: {gpu.name} does not hold the model and one answer of {longest.answer} tokens: raise "
            "infer.tensor or infer.memory_fraction, or lower max_new_tokens."
        )
    total = sum(serving(shape, asked["infer"], gpu.memory).values())
    if total > gpu.memory:
        found.append(
            f"infer: asking takes {total / 1e9:.1f} GB of each GPU, {gpu.name} has {gpu.memory / 1e9:.1f} GB: lower "
            "infer.memory_fraction."
        )
    return found
