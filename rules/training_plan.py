"""Memory and time of a training on GPUs, as text, and what cannot work, before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.hub import snapshot
from grpo.shape import Qwen3Shape, read_shape
from isolation import hub_cache
from planning.machine import SLIME, Gpu, Task, engine_of
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
    infer
        Seconds of the questions to one model; None if not known.
    """

    name: str
    origin: str
    shape: Qwen3Shape
    task: Task
    gpu: Gpu
    engine: str
    footprint: Footprint
    pace: Pace | None
    infer: float | None
    iterations: int

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of the jobs of rules, as far as they can be told."""
        found = {"train": self.pace.iteration * self.iterations} if self.pace else {}
        return found | ({"infer": self.infer} if self.infer else {})


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
    memory = footprint(shape, engine, task, gpu)
    infer = settings["infer"]
    asking = replace(
        task,
        answer=infer["max_new_tokens"],
        pool=infer.get("memory_fraction", 0.85),
        server_gpus=infer.get("tensor", 1),
    )
    at_once = footprint(shape, SLIME, asking, gpu).at_once
    hours, test = settings["samples"]["test"], None
    if isinstance(hours, int) and at_once and weights(shape) >= LEAST_WEIGHTS:
        share, together = -(-hours // infer.get("data", 1)), asking.server_gpus
        held = at_once * together
        test = sampling_seconds(shape, gpu, share, held, asking.prompt, asking.answer, gpus=together)
    return TrainingPlan(
        name=settings["base_model"]["name"],
        origin=origin,
        shape=shape,
        task=task,
        gpu=gpu,
        engine=engine.name,
        footprint=memory,
        pace=pace(shape, engine, task, gpu, memory.at_once),
        infer=test,
        iterations=settings["train"]["iterations"],
    )


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
    report = "masked" if settings["samples"]["mask"] else "report"
    return Task(
        tensor=train["tensor"],
        pipeline=several.get("pipeline", 1),
        context=several.get("context", 1),
        data=train["data"],
        samples=train["prompts_per_iteration"] * train["group_size"],
        group=train["group_size"],
        prompt=PROMPT[report if settings["samples"]["prompt"] == "report" else "compact"],
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
    return refusals(plan.shape, plan.task, plan.footprint, plan.gpu.name, plan.gpu.memory)


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
    if plan.infer:
        lines.append(f"  questions to one model: {plan.infer / 3600:.1f} h")
    lines.append(
        "  That is if every answer runs to its limit, without validations. Such estimates met the published memory of "
        f"one run within 5% (allow {100 * MEMORY_ERROR:.0f}%), and published times within a factor of {FACTOR}."
    )
    return "\n".join(lines)
