"""Memory and time of a training on GPUs, as text, and what cannot work, before it runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from asking_plan import asking, longest_prompt, refused
from common.datasheet import Gpu
from common.errors import InputError
from common.hub import snapshot
from grpo.shape import Qwen3Shape, read_shape
from isolation import hub_cache
from planning.machine import Task, engine_of
from planning.memory import Footprint, footprint, main_memory
from planning.model import ASSUMED, weights
from planning.pace import FACTOR, Pace, pace
from planning.refusal import MEMORY_ERROR, refusals


@dataclass(frozen=True)
class TrainingPlan:
    """What a training on GPUs takes.

    Attributes
    ----------
    origin
        Where the model's numbers are from.
    main_memory
        Bytes of all nodes together, by part, besides what any program takes.
    asking
        Seconds of the questions of `infer` (to one model), `probe` and `variants`, as far as they are known.
    unasked
        What of the questions cannot work, one line each.
    """

    name: str
    origin: str
    shape: Qwen3Shape
    task: Task
    gpu: Gpu
    engine: str
    footprint: Footprint
    main_memory: Mapping[str, float]
    pace: Pace | None
    asking: Mapping[str, float]
    unasked: list[str]
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
        main_memory=main_memory(shape, engine, task),
        pace=pace(shape, engine, task, gpu, memory.at_once),
        asking=asking(settings, shape, gpu, task),
        unasked=refused(settings, shape, gpu, task),
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


def unknown(settings: Mapping[str, Any], configuration: Path) -> str:
    """One line: that nothing is known of the model's size, and what changes that.

    Parameters
    ----------
    configuration
        Its file.
    """
    model = settings["base_model"]
    if model["source"] == "hub":
        name = model["hub"]["name"]
        how = f".venv/bin/snakemake fetch_model --cores 1 --configfile {shlex.quote(str(configuration))}"
    else:
        name, how = model["folder"], "put it there"
    return f"{name}: nothing is known of its size, so neither memory nor hours, until its config.json is there: {how}"


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


def node_memory(settings: Mapping[str, Any], results: Path) -> int:
    """MB of main memory to ask for on each node of a training, the first time.

    On GPUs what a plan counts, with room for its error and for PyTorch, Megatron, CUDA, Ray and SGLang, of which
    nothing was measured; and at least 60 GB a process, twice what is counted for the paper run.
    """
    train, processes = settings["train"], processes_of_node(settings["train"])
    if settings["device"] == "cpu":
        return 2000 * processes
    try:
        known = shape_of(settings, results)
    except InputError:  # said by the rule that reads it
        known = None
    counted = main_memory(known[0], engine_of(**engine_settings(train)), task_of(settings)) if known else {}
    each = sum(counted.values()) / gpus_of(train) / 1e6
    return max(60_000, ceil(each * (1 + MEMORY_ERROR)) + 8000) * processes


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


def processes_of_node(train: Mapping[str, Any]) -> int:
    """Processes of a training on each of its nodes, with `device: cuda` a GPU each."""
    return gpus_of(train) // _several(train).get("nodes", 1)


def _several(train: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section of the engine for several nodes, if that is the engine."""
    return train.get("slime", {}) if train.get("engine") == "slime" else {}


def problems(plan: TrainingPlan) -> list[str]:
    """What cannot work, one line each."""
    return refusals(plan.shape, plan.task, plan.footprint, plan.gpu.name, plan.gpu.memory) + plan.unasked


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
    if plan.main_memory:
        listed = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in plan.main_memory.items())
        total = sum(plan.main_memory.values())
        lines.append(
            f"  main memory, GB of all nodes together: {listed}; {total / 1e9:.1f}, and what the programs take besides"
        )
    if plan.pace:
        hours = plan.pace.iteration * plan.iterations / 3600
        lines.append(
            f"  an iteration: sampling {plan.pace.rollout:.0f} s, update {plan.pace.update:.0f} s, handing over "
            f"{plan.pace.handover:.0f} s; {plan.pace.tokens_per_second:,.0f} tokens of answers/s; "
            f"{plan.iterations} iterations: {hours:.0f} h, {hours * task.gpus:.0f} GPU-hours"
        )
    else:
        lines.append("  time: not estimated for a model this small, whose kernels are over before the next is launched")
    names = {"infer": "to one model", "probe": "of the probe", "variants": "of all variants"}
    if plan.asking:
        each = [f"{names[rule]} {duration(took)}" for rule, took in plan.asking.items()]
        lines.append(f"  questions {', '.join(each)}")
    lines.append(
        "  That is if every answer runs to its limit, without validations. Such estimates met published weights, "
        "gradients and optimiser of two trainings and memory of two servers within 3%, one training's peak, with its "
        f"own loss, within 5% (allow {100 * MEMORY_ERROR:.0f}%), and published times within a factor of {FACTOR}."
    )
    return "\n".join(lines)
