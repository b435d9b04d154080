"""Memory and time of a training on GPUs, as text, and what cannot work, before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.datasheet import Gpu
from common.hub import snapshot
from grpo.shape import Qwen3Shape, read_shape
from isolation import hub_cache
from planning.machine import SLIME, Task, engine_of
from planning.memory import Footprint, footprint
from planning.model import ASSUMED, weights
from planning.pace import FACTOR, LEAST_WEIGHTS, Pace, pace, sampling_seconds
from planning.refusal import MEMORY_ERROR, refusals

# Tokens of the longest prompt, chat template included, counted with Qwen's own vocabulary
# (tests/unit/test_qwen_vocabulary.py): a report with prices and dates, and one with both hidden.
PROMPT = {"report": 640, "masked": 400, "compact": 64}


@dataclass(frozen=True)
class TrainingPlan:
    """What a training on GPUs takes.

    Attributes
    ----------
    origin
        Where the model's numbers are from.
    asking
        Seconds of the questions of `infer` (to one model), `probe` and `variants`, as far as they are known.
    unanswered
        Tokens of the longest answers to questions that do not fit a GPU beside the model; None if all do.
    """

    name: str
    origin: str
    shape: Qwen3Shape
    task: Task
    gpu: Gpu
    engine: str
    footprint: Footprint
    pace: Pace | None
    asking: Mapping[str, float]
    unanswered: int | None
    iterations: int

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of the jobs of rules, as far as they can be told."""
        found = {"train": self.pace.iteration * self.iterations} if self.pace else {}
        return found | dict(self.asking)


def plan_of(settings: Mapping[str, Any], results: Path, gpu: Gpu) -> TrainingPlan | None:
    """The plan of a complete configuration; None on a CPU, or if nothing is known of the model.

    Raises
    ------
    InputError
        If the model's config.json is none that this project trains.
    """
    known = shape_of(settings, results)
    if settings["device"] != "cuda" or known is None:
        return None
    shape, origin = known
    task, engine = task_of(settings), engine_of(**engine_settings(settings["train"]))
    memory = footprint(shape, engine, task, gpu.memory)
    return TrainingPlan(
        name=settings["base_model"]["name"],
        origin=origin,
        shape=shape,
        task=task,
        gpu=gpu,
        engine=engine.name,
        footprint=memory,
        pace=pace(shape, engine, task, gpu, memory.at_once),
        asking=asking(settings, shape, gpu, task),
        unanswered=unanswered(settings, shape, gpu, task),
        iterations=settings["train"]["iterations"],
    )


def asking(settings: Mapping[str, Any], shape: Qwen3Shape, gpu: Gpu, task: Task) -> dict[str, float]:
    """Seconds of the questions of each rule that asks; empty where the test hours or the pace are not known.

    A probe asks its hours as they are and with each change; variants are asked one after another.
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
        share, together = -(-questions // infer.get("data", 1)), one.server_gpus
        return sampling_seconds(shape, gpu, share, at_once * together, one.prompt, one.answer, gpus=together)

    found = {"infer": seconds(hours)}
    if probe["enabled"]:
        found["probe"] = seconds((1 + len(CHANGES)) * min(probe["hours"], hours))
    if settings["variants"]:
        each = [seconds(hours, **variant) for variant in settings["variants"]]
        found["variants"] = None if None in each else sum(each)
    return {rule: took for rule, took in found.items() if took is not None}


def unanswered(settings: Mapping[str, Any], shape: Qwen3Shape, gpu: Gpu, task: Task) -> int | None:
    """Tokens of the longest answer asked for, if a GPU does not hold one beside the model; None if it does."""
    asked = [question_of(settings, task, own) for own in ({}, *settings["variants"])]
    one = max(asked, key=lambda question: question.length)
    return None if footprint(shape, SLIME, one, gpu.memory).at_once else one.answer


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


def longest_prompt(samples: Mapping[str, Any]) -> int:
    """Tokens of the longest prompt of a style."""
    if samples["prompt"] != "report":
        return PROMPT["compact"]
    return PROMPT["masked" if samples["mask"] else "report"]


def shape_of(settings: Mapping[str, Any], results: Path) -> tuple[Qwen3Shape, str] | None:
    """The model's numbers and where they are from: the run's base model, its source, or what is assumed of it."""
    model, made = settings["base_model"], results / "model" / "base"
    if (made / "config.json").is_file():
        return read_shape(made), "from its config.json"
    if model["source"] == "folder" and Path(model["folder"] or "").is_dir():
        return read_shape(Path(model["folder"])), "from its config.json"
    if model["source"] == "hub":
        fetched = snapshot(hub_cache(model), model["hub"]["name"], model["hub"]["commit"])
        if (fetched / "config.json").is_file():
            return read_shape(fetched), "from its config.json"
        if model["hub"]["name"] in ASSUMED:
            return ASSUMED[model["hub"]["name"]], "assumed: its config.json is not there yet"
    return None


def task_of(settings: Mapping[str, Any]) -> Task:
    """What a configuration asks of the engine."""
    train = settings["train"]
    several = _several(train)
    return Task(
        tensor=train["tensor"],
        pipeline=several.get("pipeline", 1),
        context=several.get("context", 1),
        data=train["data"],
        samples=train["prompts_per_iteration"] * train["group_size"],
        group=train["group_size"],
        prompt=longest_prompt(settings["samples"]),
        answer=train["max_new_tokens"],
        micro_batch=train["tokens_per_micro_batch"],
        pool=several.get("memory_fraction", 0.7),
        server_gpus=several.get("engine_gpus", 1),
    )


def engine_settings(train: Mapping[str, Any]) -> dict[str, Any]:
    """What `planning.machine.engine_of` takes."""
    several = _several(train)
    return {
        "name": train["engine"],
        "recompute": train.get("recompute", False),
        "released": several.get("offload", True),
        "precision": train.get("precision", "fp32"),
        "optimizer": train.get("optimizer", "replicated"),
    }


def gpus_of(section: Mapping[str, Any]) -> int:
    """GPUs that a job of the section `train` or `infer` asks for."""
    several = _several(section)
    split = section.get("tensor", 1) * several.get("pipeline", 1) * several.get("context", 1)
    return split * section.get("data", 1)


def _several(train: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section of the engine for several nodes, if that is the engine."""
    return train.get("slime", {}) if train.get("engine") == "slime" else {}


def problems(plan: TrainingPlan) -> list[str]:
    """What cannot work, one line each."""
    found = refusals(plan.shape, plan.task, plan.footprint, plan.gpu.name, plan.gpu.memory)
    if plan.unanswered is not None:
        found.append(
            f"infer: {plan.gpu.name} does not hold the model and one answer of {plan.unanswered} tokens: raise "
            "infer.tensor or infer.memory_fraction, or lower max_new_tokens."
        )
    return found


def duration(seconds: float | None) -> str:
    """A time for reading.

    >>> [duration(value) for value in (None, 7.4, 90, 7200)]
    ['?', '7 s', '1.5 min', '2.0 h']
    """
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def described(plan: TrainingPlan) -> str:
    """The plan as text."""
    task = plan.task
    split = "".join(f" x {name} {getattr(task, name)}" for name in ("pipeline", "context") if getattr(task, name) > 1)
    lines = [
        f"{plan.name}: {weights(plan.shape) / 1e9:.2f} billion weights ({plan.origin}); engine {plan.engine} on "
        f"{task.gpus} x {plan.gpu.name} (tensor {task.tensor} x data {task.data}{split})"
    ]
    for doing, parts in (("sampling", plan.footprint.sampling), ("an update", plan.footprint.training)):
        listed = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in parts.items() if size)
        total = sum(parts.values())
        tight = ", tight" if plan.gpu.memory / (1 + MEMORY_ERROR) < total <= plan.gpu.memory else ""
        lines.append(f"  {doing}, GB of each GPU: {listed}; {total / 1e9:.1f} of {plan.gpu.memory / 1e9:.1f}{tight}")
    if plan.footprint.at_once:
        lines.append(
            f"  The server of a GPU holds {plan.footprint.at_once:,} answers of {task.length:,} tokens at once."
        )
    if plan.pace:
        hours = plan.pace.iteration * plan.iterations / 3600
        lines.append(
            f"  an iteration: sampling {plan.pace.rollout:.0f} s, update {plan.pace.update:.0f} s, handing over "
            f"{plan.pace.handover:.0f} s; {plan.pace.tokens_per_second:,.0f} tokens/s; {plan.iterations} iterations: "
            f"{hours:.0f} h, {hours * task.gpus:.0f} GPU-hours"
        )
    else:
        lines.append("  time: not estimated for a model this small, whose kernels are over before the next is launched")
    names = {"infer": "to one model", "probe": "of the probe", "variants": "of all variants"}
    if plan.asking:
        each = [f"{names[rule]} {duration(took)}" for rule, took in plan.asking.items()]
        lines.append(f"  questions {', '.join(each)}")
    lines.append(
        "  That is if every answer runs to its limit, without validations. Such estimates met published memory of two "
        f"trainings and two servers within 5% (allow {100 * MEMORY_ERROR:.0f}%), and published "
        f"times within a factor of {FACTOR}."
    )
    return "\n".join(lines)
