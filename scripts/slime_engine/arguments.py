"""The table from this project's training settings to slime's arguments: complete, so that none is ignored.

Each of train.py's settings is in `ARGUMENTS` (slime does it), in `DONE_HERE` (this project does it, around slime or in
its hooks) or in `refusals.REFUSED` (values that have no counterpart). A test holds that.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from slime_engine import hooks
from slime_engine.layout import Layout
from slime_engine.model import model_arguments, rows_multiple
from slime_engine.refusals import refusals

Value = bool | int | float | str | tuple[str, ...] | None


@dataclass(frozen=True)
class Paths:
    """Files and folders that slime is given."""

    base: Path  # Hugging Face folder
    reference: Path  # what training starts from, and what the KL divergence refers to
    save: Path  # checkpoints, to write and to go on from
    train: Path
    validation: Path | None  # None: no validation
    hook_settings: Path


@dataclass(frozen=True)
class Lengths:
    """Tokens: the longest prompt, the longest answer, and the context that SGLang needs for both."""

    prompt: int
    answer: int
    context: int


@dataclass(frozen=True)
class Job:
    """All that the arguments follow from."""

    settings: argparse.Namespace
    paths: Paths
    lengths: Lengths
    shape: Mapping[str, Any]

    @property
    def layout(self) -> Layout:
        """The GPUs."""
        return Layout.of(self.settings)


@dataclass(frozen=True)
class Argument:
    """One of slime's arguments.

    Attributes
    ----------
    flag
        Its name.
    value
        From the job; True gives the flag alone, False and None nothing, a tuple several values.
    settings
        train.py's settings that it comes from.
    """

    flag: str
    value: Callable[[Job], Value]
    settings: tuple[str, ...] = ()


def _setting(flag: str, name: str) -> Argument:
    return Argument(flag, lambda job: getattr(job.settings, name), (name,))


def _always(flag: str, value: Value = True) -> Argument:
    return Argument(flag, lambda _: value)


def _steps(job: Job) -> int:
    """Answers of one optimiser step."""
    s = job.settings
    return s.prompts_per_iteration * s.group_size // s.updates_per_iteration


def _validation(value: Callable[[Job], Value]) -> Callable[[Job], Value]:
    """A value only if there is a validation."""
    return lambda job: value(job) if job.paths.validation and job.settings.validate_every else None


def save_interval(iterations: int, save_every: int) -> int:
    """slime saves at multiples of its interval only, so the last iteration must be one: a short training saves once."""
    return min(iterations, save_every)


ARGUMENTS: tuple[Argument, ...] = (
    # GRPO.
    _always("--advantage-estimator", "grpo"),
    _setting("--num-rollout", "iterations"),
    _setting("--rollout-batch-size", "prompts_per_iteration"),
    _setting("--n-samples-per-prompt", "group_size"),
    _setting("--num-steps-per-rollout", "updates_per_iteration"),
    Argument("--global-batch-size", _steps, ("prompts_per_iteration", "group_size", "updates_per_iteration")),
    _always("--custom-reward-post-process-path", hooks.ADVANTAGES),
    _always("--calculate-per-token-loss"),  # the mean over the tokens of a step, as the own engine's
    _setting("--eps-clip", "clip_low"),
    _setting("--eps-clip-high", "clip_high"),
    # Without --use-kl-loss the coefficient is ignored.
    Argument("--use-kl-loss", lambda job: job.settings.kl_beta > 0, ("kl_beta",)),
    Argument("--kl-loss-coef", lambda job: job.settings.kl_beta or None, ("kl_beta",)),
    Argument("--kl-loss-type", lambda job: "k3" if job.settings.kl_beta else None, ("kl_beta",)),
    _setting("--entropy-coef", "entropy"),
    # Optimiser. The schedule is this project's own, in a hook: Megatron's constant one stands behind it.
    _always("--optimizer", "adam"),
    _setting("--lr", "learning_rate"),
    _always("--lr-decay-style", "constant"),
    _always("--custom-megatron-before-train-step-hook-path", hooks.LEARNING_RATE),
    _setting("--weight-decay", "weight_decay"),
    _always("--adam-beta1", 0.9),
    _always("--adam-beta2", 0.999),
    _always("--adam-eps", 1e-8),
    _setting("--clip-grad", "grad_clip"),
    # Otherwise a checkpoint of a training with another number of iterations is refused.
    _always("--override-opt_param-scheduler"),
    # Rollouts. All three lengths: slime's defaults would drop prompts.
    _setting("--rollout-temperature", "temperature"),
    _always("--rollout-top-p", 1.0),
    _setting("--rollout-max-response-len", "max_new_tokens"),
    Argument("--rollout-max-prompt-len", lambda job: job.lengths.prompt),
    Argument("--rollout-max-context-len", lambda job: job.lengths.prompt + job.lengths.answer),
    Argument("--sglang-context-length", lambda job: job.lengths.context),
    _setting("--seed", "seed"),
    _setting("--rollout-seed", "seed"),
    # Data and reward.
    Argument("--prompt-data", lambda job: str(job.paths.train)),
    _always("--input-key", "prompt"),
    _always("--label-key", "label"),
    _always("--metadata-key", "metadata"),
    _always("--apply-chat-template"),
    _always("--data-source-path", "slime_engine.data_source.OrderedDataSource"),
    _always("--custom-rm-path", hooks.REWARD),
    Argument("--custom-config-path", lambda job: str(job.paths.hook_settings)),
    # Validation: greedy, one answer a prompt.
    Argument("--eval-interval", _validation(lambda job: job.settings.validate_every), ("validate_every",)),
    Argument("--eval-prompt-data", _validation(lambda job: ("validation", str(job.paths.validation)))),
    Argument("--n-samples-per-eval-prompt", _validation(lambda _: 1)),
    Argument("--eval-temperature", _validation(lambda _: 0.0)),
    Argument("--eval-max-response-len", _validation(lambda job: job.settings.max_new_tokens)),
    # Model and checkpoints.
    Argument("--hf-checkpoint", lambda job: str(job.paths.base)),
    Argument("--ref-load", lambda job: str(job.paths.reference)),
    # The same folder at each start: there slime finds what it saved.
    Argument("--load", lambda job: str(job.paths.save)),
    Argument("--save", lambda job: str(job.paths.save)),
    Argument(
        "--save-interval",
        lambda job: save_interval(job.settings.iterations, job.settings.save_every),
        ("save_every",),
    ),
    # Weights that Megatron imported on a CPU have no "extra state" of TransformerEngine, which is empty in 16 bits.
    _always("--dist-ckpt-strictness", "log_unexpected"),
    # GPUs.
    _always("--colocate"),
    Argument("--actor-num-nodes", lambda job: job.layout.nodes, ("slime_nodes",)),
    Argument("--actor-num-gpus-per-node", lambda job: job.layout.gpus_per_node, ("data",)),
    Argument("--num-gpus-per-node", lambda job: job.layout.gpus_per_node),
    _setting("--tensor-model-parallel-size", "tensor"),
    Argument(
        "--make-vocab-size-divisible-by",
        lambda job: rows_multiple(job.shape["vocabulary"], job.settings.tensor),
        ("tensor",),
    ),
    Argument("--sequence-parallel", lambda job: job.settings.tensor > 1, ("tensor",)),
    _setting("--pipeline-model-parallel-size", "slime_pipeline"),
    _setting("--context-parallel-size", "slime_context"),
    _setting("--rollout-num-gpus-per-engine", "slime_engine_gpus"),
    _setting("--sglang-mem-fraction-static", "slime_memory_fraction"),
    _always("--use-dynamic-batch-size"),
    _setting("--max-tokens-per-gpu", "tokens_per_micro_batch"),
    Argument("--recompute-granularity", lambda job: "full" if job.settings.recompute else None, ("recompute",)),
    Argument("--recompute-method", lambda job: "uniform" if job.settings.recompute else None),
    Argument("--recompute-num-layers", lambda job: 1 if job.settings.recompute else None),
    Argument("--no-offload-train", lambda job: not job.settings.slime_offload, ("slime_offload",)),
    Argument("--no-offload-rollout", lambda job: not job.settings.slime_offload, ("slime_offload",)),
    # Numbers. Megatron's dropout is 0.1 unless told.
    _always("--attention-dropout", 0.0),
    _always("--hidden-dropout", 0.0),
    _always("--accumulate-allreduce-grads-in-fp32"),
    _always("--attention-softmax-in-fp32"),
    _always("--attention-backend", "flash"),
)

DONE_HERE: Mapping[str, str] = {
    "engine": "train.py",
    "threads": "says nothing on GPUs",
    "warm_up_iterations": "hooks.set_learning_rate",
    "decay_iterations": "hooks.set_learning_rate",
    "normalise_by_std": "hooks.advantages",
    "balance_directions": "data_source",
    "reward_scale": "hooks.reward",
    "reward_valid": "hooks.reward",
    "reward_invalid": "hooks.reward",
    "show_rollouts_every": "hooks.reward and collect",
    "spike_threshold": "watch",
    "spike_floor": "watch",
    "spike_limit": "watch",
    "straggler_ratio": "watch",
    "slime_straggler_window": "watch",
    "slime_straggler_limit": "watch",
    "slime_timeout_s": "program",
    "keep": "checkpoints",
    "tensorboard": "train.py, when the training is done",
}


def refuse(settings: argparse.Namespace) -> None:
    """Refuse what slime has no counterpart for.

    Raises
    ------
    InputError
        Names the setting, its value, and why.
    """
    for key, value, allowed in refusals(vars(settings)):
        raise InputError(f"{key}: given {value}; allowed: {allowed}.")


def command_line(job: Job) -> list[str]:
    """All arguments of slime's train.py."""
    given = model_arguments(job.shape)
    for argument in ARGUMENTS:
        value = argument.value(job)
        if value is None or value is False:
            continue
        values = () if value is True else value if isinstance(value, tuple) else (value,)
        given += [argument.flag, *(repr(one) if isinstance(one, float) else str(one) for one in values)]
    return given
