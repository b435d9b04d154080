"""A training with slime, from settings to manifest: check, start, watch, take down, record."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from common.errors import InputError
from common.files import written_whole
from common.journal import Journal
from slime_engine import checkpoints, checks, cluster, hooks, nodes
from slime_engine.arguments import Job, Lengths, Paths, command_line
from slime_engine.collect import Collector
from slime_engine.keeper import descendants_ended
from slime_engine.layout import Layout
from slime_engine.model import check_parallel, check_vocabulary, check_weights, model_arguments
from slime_engine.reference import release, stored_sizes
from slime_engine.run import SAVE, Run, fill, sizes_of
from slime_engine.watch import SpikeError


@dataclass(frozen=True)
class Inputs:
    """What a training starts from.

    Attributes
    ----------
    imported
        Folder of the imported Megatron checkpoint.
    base
        Hugging Face folder.
    train, validation
        Files of samples, and how many they hold; validation is None where there is none.
    shape
        The fields of `grpo.qwen3.Qwen3Shape`.
    gpu
        A GPU's name.
    """

    imported: Path
    base: Path
    train: Path
    validation: Path | None
    samples: dict[Path, list[dict[str, Any]]]
    shape: Mapping[str, Any]
    gpu: str


def train(settings: argparse.Namespace, inputs: Inputs, folder: Path) -> list[dict[str, Any]]:
    """Train up to ``settings.iterations``, from the newest whole checkpoint; returns the journal's rows.

    Parameters
    ----------
    folder
        This training's own: checkpoints below ``slime/``, journal, logs.

    Raises
    ------
    InputError
        If something given cannot be used, or slime or Ray fails.
    WatchError
        If too much stands out; after spikes the next start goes on from the last checkpoint before them.
    SystemExit
        At SIGTERM or SIGINT, when everything is taken down.
    """
    check(settings, inputs)
    save = folder / SAVE
    done = checkpoints.prepare(save, settings.iterations)
    journal = Journal(folder / "metrics.jsonl")
    judged = folder / "judgements.jsonl"
    prompts = len(inputs.samples[inputs.validation]) if inputs.validation else 0
    sizes = sizes_of(settings, prompts, inputs.shape, inputs.gpu)
    fill(journal, Collector(sizes, judged), done)
    if done == settings.iterations:
        return journal.rows
    programs = cluster.find_programs()
    layout = Layout.of(settings)
    machines = nodes.nodes_of_job(layout.nodes, layout.gpus_per_node, os.environ)
    judged.unlink(missing_ok=True)
    job = made_job(settings, inputs, folder, judged)
    ports = nodes.free_ports(2)
    host = nodes.address_of(machines)
    imports = cluster.link_imports(folder / "imports")
    variables = cluster.own_variables(os.environ, programs, imports, f"{host}:{ports[0]}")
    checks.check_reward(hooks.REWARD, variables)
    if done:
        print(f"resuming after iteration {done}", flush=True)
    run = Run(settings, folder, journal, Collector(sizes, judged), done)
    command = [sys.executable, "-u", str(programs.train), *command_line(job)]
    with SignalsRaise():
        try:
            with descendants_ended(), cluster.ray(programs, machines, variables, ports, folder / "ray.log") as ray:
                run.follow(command, variables, ray)
        except SpikeError as stop:
            checkpoints.set_aside(save, stop.good, settings.iterations)
            raise
        finally:
            run.leave()
            journal.sync()
    if settings.iterations not in checkpoints.whole_iterations(save):
        raise InputError(f"slime: ended without the checkpoint of iteration {settings.iterations}; {run.hint()}")
    fill(journal, run.collector, settings.iterations)
    return journal.rows


def check(settings: argparse.Namespace, inputs: Inputs) -> None:
    """Refuse numbers that do not divide, samples that slime would not read, and weights of another shape.

    In the job, before Ray starts. Before there is a job, the configuration refuses a layout that does not divide, and
    base_model and import_weights, on CPUs, a config.json or tokenizer that does not belong to the weights.

    Raises
    ------
    InputError
        Names the setting or the file.
    """
    Layout.of(settings).check(settings.slime_engine_gpus)
    check_parallel(inputs.shape, settings.tensor, settings.slime_pipeline, settings.slime_engine_gpus)
    for path, rows in inputs.samples.items():
        checks.check_samples(path, len(rows), settings.prompts_per_iteration if path == inputs.train else 1)
    check_weights(model_arguments(inputs.shape), stored_sizes(inputs.imported))


def made_job(settings: argparse.Namespace, inputs: Inputs, folder: Path, judged: Path) -> Job:
    """What slime's arguments follow from, with the files that they name: the reference and the hooks' settings.

    Parameters
    ----------
    judged
        The hook's journal.
    """
    lengths, stops = _lengths(settings, inputs)
    reference, hook_settings = folder / "reference", folder / "hook_settings.yaml"
    release(inputs.imported, reference)
    given = hooks.hook_settings(settings, judged, stops) | {"hook_samples": len(inputs.samples[inputs.train])}
    with written_whole(hook_settings) as partial:
        partial.write_text(yaml.safe_dump(given, allow_unicode=True))
    paths = Paths(inputs.base, reference, folder / SAVE, inputs.train, inputs.validation, hook_settings)
    return Job(settings, paths, lengths, inputs.shape)


def _lengths(settings: argparse.Namespace, inputs: Inputs) -> tuple[Lengths, list[str]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(inputs.base, local_files_only=True)
    check_vocabulary(inputs.shape["vocabulary"], len(tokenizer))
    lengths = checks.prompt_lengths(tokenizer, inputs.samples, settings.max_new_tokens, inputs.shape["max_positions"])
    return lengths, checks.stop_texts(inputs.base, tokenizer)


class Stopped(SystemExit):
    """A signal ended the training."""


class SignalsRaise:
    """SIGTERM and SIGINT raise in the main thread, once; the second one finds the end already under way."""

    def __enter__(self) -> None:
        self.before = {number: signal.signal(number, self.stop) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(self, number: int, _frame: FrameType | None) -> None:
        for one in self.before:
            signal.signal(one, signal.SIG_IGN)
        message = "stopping: slime saves at its intervals only; run again to go on from the last checkpoint"
        print(message, file=sys.stderr, flush=True)
        raise Stopped(128 + number)

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
