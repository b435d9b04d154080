"""Train the policy with GRPO on Megatron-core or with slime; safe to kill, resumes where it was."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError, run
from common.files import read_json, sha256, write_json, write_jsonl
from common.lease import lease
from common.model_folder import folder_sum, listing_sum, weight_sums
from common.options import add_setting, add_settings
from common.provenance import record, version
from slime_engine.arguments import refuse
from slime_engine.layout import Layout, without_slime
from training import validated
from training.key import determinants, training_version
from training.stops import remembered
from training.task import build_task, checked_samples

if TYPE_CHECKING:
    from grpo.loop import LoopSettings
    from grpo.qwen3 import Qwen3Shape

PACKAGES = {
    "megatron": ("torch", "megatron-core", "transformers", "tokenizers"),
    "slime": ("torch", "megatron-core", "transformers", "tokenizers", "ray", "sglang", "slime"),
}


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    files = parser.add_argument_group("files")
    files.add_argument("--weights", type=Path, required=True, help="folder of the imported Megatron checkpoint")
    files.add_argument("--base", type=Path, required=True, help="Hugging Face folder it came from (tokenizer)")
    files.add_argument("--train", type=Path, required=True, help="training samples")
    files.add_argument("--validation", type=Path, required=True, help="validation samples, may be empty")
    files.add_argument("--checkpoints", type=Path, required=True, help="folder; each training gets its own below")
    files.add_argument("--output-manifest", type=Path, required=True, help="checkpoint.json")
    files.add_argument("--output-metrics", type=Path, required=True, help="metrics.jsonl")
    add_setting(parser, "--device", "device")
    parser.add_argument("--threads", type=int, default=1, help="Threads of torch on the CPU. Default: 1.")
    add_settings(parser, "train")
    args = parser.parse_args()
    return args if args.engine == "slime" else without_slime(args)


@dataclass(frozen=True)
class Training:
    """What is trained: the settings, the model's shape, the samples, and the folder of checkpoints."""

    args: argparse.Namespace
    shape: Qwen3Shape
    samples: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    folder: Path

    def begin(self, held: contextlib.ExitStack) -> None:
        """Take the folder's lease, and note there on which samples it validates from now on."""
        held.enter_context(lease(self.folder))
        validated.begin(self.folder, sha256(self.args.validation))

    def announce(self) -> None:
        """Say what is trained on what."""
        args, weights = self.args, read_json(self.args.base / "model.json")["weights"]
        print(
            f"{weights:,} weights, {len(self.samples)} training and {len(self.validation)} validation prompts, "
            f"{args.prompts_per_iteration} x {args.group_size} answers an iteration; checkpoints in {self.folder}",
            flush=True,
        )


@dataclass(frozen=True)
class Trained:
    """What an engine leaves: the journal's rows, the checkpoint's folder, and what it ran on.

    Attributes
    ----------
    layers
        Whose: the local ones or TransformerEngine's.
    versions
        Beside those of the packages.
    """

    rows: list[dict[str, Any]]
    checkpoint: Path
    device_name: str
    layers: str
    versions: Mapping[str, str | None] = field(default_factory=dict)


def main() -> None:
    """Train up to the iteration asked for, then write metrics and, last, the manifest."""
    args = arguments()
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # Megatron forks to write checkpoints
    warnings.filterwarnings("ignore")
    check(args)
    samples = checked_samples(args.train)
    validation = checked_samples(args.validation) if args.validation.stat().st_size else []
    from grpo import checkpoint
    from grpo.qwen3 import read_shape

    shape = read_shape(args.base)
    base = check_imported(args.weights, args.base, shape.as_dict())
    made_from = record(args, {"train": args.train, "validation": args.validation}, PACKAGES[args.engine])
    made_from["inputs"] = {"base": base, **made_from["inputs"], "weights": listing_sum(weight_sums(args.base))}
    key = checkpoint.key_of(determinants(args))
    folder = args.checkpoints / key
    engine = with_slime if args.engine == "slime" else with_megatron
    # The folder's lease is held until the manifest is written.
    with remembered(folder, vars(args)), contextlib.ExitStack() as held:
        trained = engine(Training(args, shape, samples, validation, folder), held)
        if trained is not None:
            write_results(args, trained, shape, key, folder, made_from)


def check_imported(weights: Path, base: Path, shape: dict[str, Any]) -> str:
    """See that the weights are those of this base model; its SHA-256.

    Read of the base model are its tokenizer and configuration: its weights were hashed by import_weights.

    Raises
    ------
    InputError
        If they were made from another one.
    """
    record, found = read_json(weights / "parity.json"), folder_sum(base)
    inputs = record.get("inputs")
    if record.get("shape") != shape or not isinstance(inputs, dict) or inputs.get("base") != found:
        raise InputError(f"{weights}: was not imported from {base} as it is now. Run import_weights again.")
    return found


def write_results(
    args: argparse.Namespace, trained: Trained, shape: Qwen3Shape, key: str, folder: Path, made_from: dict[str, Any]
) -> None:
    """Metrics and, last, the manifest."""
    from grpo import checkpoint
    from grpo.metrics import merged_metrics
    from grpo.weights import weights_sum

    samples, every = made_from["inputs"]["validation"], args.validate_every if args.validation.stat().st_size else 0
    rows = merged_metrics(validated.of_samples(trained.rows, folder, samples, every), args.iterations)
    made = validated.iterations(rows)
    if said := validated.gap(made, args.iterations, every):
        print(said, flush=True)
    if args.tensorboard:
        write_tensorboard(folder / "tensorboard", rows)
    write_jsonl(args.output_metrics, rows)
    name = checkpoint.folder_name(args.iterations)
    write_json(
        args.output_manifest,
        {
            "engine": args.engine,
            "device": args.device,
            "layers": trained.layers,
            "device_name": trained.device_name,
            "iteration": args.iterations,
            "name": name,
            "checkpoint": os.path.relpath(trained.checkpoint, args.output_manifest.parent),
            "key": key,
            "weights_sha256": weights_sum(trained.checkpoint, shape),
            "shape": shape.as_dict(),
            "spikes": sum(row["spike"] is True for row in rows),
            "judged": sum(row["spike"] is not None for row in rows),
            "skipped": sum(row["skipped"] for row in rows),
            "validated": made,
            "training_version": training_version(args),
            **made_from,
            "versions": made_from["versions"] | trained.versions,
        },
    )
    print(f"{name}: {sum(row['spike'] is True for row in rows)} spikes in {args.iterations} iterations")


def with_megatron(training: Training, held: contextlib.ExitStack) -> Trained | None:
    """Train with this project's own loop; every process calls it, the first one gets the result."""
    import torch

    from common.journal import Journal
    from grpo import checkpoint, parallel
    from grpo.learner import ComputeSettings, Learner, UpdateSettings
    from grpo.loop import Loop
    from grpo.loss import LossSettings
    from grpo.qwen3 import layers_of

    args, shape, folder = training.args, training.shape, training.folder
    torch.set_num_threads(host_threads(args))
    settings = loop_settings(args)
    ranks = parallel.start(args.device, args.tensor, args.data, args.seed)
    task = build_task(args, training.samples, training.validation, shape.max_positions)
    if ranks.first:
        training.begin(held)
    update = UpdateSettings(
        loss=LossSettings(args.clip_low, args.clip_high, args.kl_beta, args.entropy),
        group_size=args.group_size,
        updates=args.updates_per_iteration,
        temperature=args.temperature,
        grad_clip=args.grad_clip,
        weight_decay=args.weight_decay,
        tokens_per_micro_batch=args.tokens_per_micro_batch,
    )
    compute = ComputeSettings(args.precision, args.recompute, args.optimizer)
    learner = Learner(shape, args.weights / checkpoint.folder_name(0), ranks, update, compute)
    if ranks.first:
        training.announce()
    loop = Loop(learner, task, settings, folder)
    loop.run(log=lambda line: print(line, flush=True))
    parallel.stop()
    if not ranks.first:
        return None
    device_name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    iteration = checkpoint.folder_name(args.iterations)
    return Trained(Journal(folder / "metrics.jsonl").rows, folder / iteration, device_name, layers_of(compute.dtype))


def host_threads(args: argparse.Namespace) -> int:
    """Threads of torch on the CPU: those asked for, or, where Adam's steps are taken there, all that there are."""
    if args.optimizer != "offloaded":
        return args.threads
    return max(args.threads, len(os.sched_getaffinity(0)) // (args.tensor * args.data))


def with_slime(training: Training, held: contextlib.ExitStack) -> Trained:
    """Train with slime on Ray, Megatron-LM and SGLang."""
    import gpus
    from grpo.checkpoint import folder_name
    from slime_engine import commit
    from slime_engine.checkpoints import folder_of
    from slime_engine.program import SAVE, Inputs, train

    args, folder = training.args, training.folder.absolute()
    layout = Layout.of(args)
    seen = gpus.seen(gpus.asked, os.environ)
    gpus.check(seen, layout.gpus_per_node, 0, 0, gpus.describe(os.environ))
    given = {args.train: training.samples} | ({args.validation: training.validation} if training.validation else {})
    # slime runs in another folder, and Ray elsewhere: paths as they are from everywhere.
    inputs = Inputs(
        (args.weights / folder_name(0)).absolute(),
        args.base.absolute(),
        args.train.absolute(),
        args.validation.absolute() if training.validation else None,
        {path.absolute(): rows for path, rows in given.items()},
        training.shape.as_dict(),
        seen[0].name,
    )
    training.begin(held)
    training.announce()
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES["slime"]), flush=True)
    found = commit.slime_commit()
    print("\n".join(commit.said(found)), flush=True)
    rows = train(args, inputs, folder)
    checkpoint, device = folder_of(folder / SAVE, args.iterations), f"{layout.gpus} x {seen[0].name}"
    return Trained(rows, checkpoint, device, "transformer_engine", {"slime_commit": found})


def check(args: argparse.Namespace) -> None:
    """Refuse sizes that do not divide, and what the engine cannot do, before anything is loaded."""
    if args.engine == "slime":
        refuse(args)
        if absent := [name for name in PACKAGES["slime"] if not installed(name)]:
            raise InputError(
                f"train.engine: slime is asked for, but {absent[0]} is not installed here. "
                "Run with --software-deployment-method apptainer: the image train-slime has it."
            )
    parts = args.updates_per_iteration * args.data * (2 if args.balance_directions else 1)
    if args.prompts_per_iteration % parts:
        raise InputError(
            f"train: prompts_per_iteration ({args.prompts_per_iteration}) must be a multiple of {parts} "
            "(updates_per_iteration x data, x 2 with balance_directions): the minibatches of all ranks are equal."
        )
    if args.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise InputError("train: tensorboard is on, but not installed. pip install tensorboard, or switch it off.")
    if args.engine != "megatron" or args.optimizer == "replicated":
        return
    if args.device == "cpu":
        raise InputError(f"train: optimizer {args.optimizer} needs device: cuda. Use replicated.")
    if args.optimizer == "distributed" and not importlib.util.find_spec("transformer_engine"):
        # Megatron saves a distributed state of torch's Adam, but cannot load it.
        raise InputError(
            "train: optimizer distributed needs TransformerEngine, whose Adam can be resumed. "
            "Use replicated or offloaded."
        )


def installed(package: str) -> bool:
    """Whether a distribution is there."""
    try:
        version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def loop_settings(args: argparse.Namespace) -> LoopSettings:
    """The arguments that the loop takes, by name."""
    import dataclasses

    from grpo.loop import LoopSettings

    return LoopSettings(**{field.name: getattr(args, field.name) for field in dataclasses.fields(LoopSettings)})


def write_tensorboard(folder: Path, rows: list[dict[str, Any]]) -> None:
    """The metrics as TensorBoard events."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for row in rows:
            for name, value in row.items():
                if isinstance(value, (int, float)) and name != "iteration":
                    writer.add_scalar(name, value, row["iteration"])


if __name__ == "__main__":
    run(main)
