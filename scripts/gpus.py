"""See that a job has the GPUs it asked for, before it loads anything: without torch, in a fraction of a second."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from common.errors import InputError, run
from common.nvidia import PATIENCE_S, Gpu, seen
from planning.start import checked


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True, help="cpu: nothing to check")
    parser.add_argument("--count", type=int, required=True, help="GPUs that the job uses")
    parser.add_argument("--memory-mb", type=int, default=0, help="least memory of each, in MB")
    parser.add_argument("--driver", type=int, default=0, help="least main version of the driver")
    parser.add_argument("--model", type=Path, help="Hugging Face folder of the model that is trained")
    parser.add_argument("--training", type=json.loads, help="JSON: what planning.machine calls engine and task")
    return parser.parse_args()


def main() -> None:
    """Check, and say what was found."""
    args = arguments()
    if args.device == "cpu":
        return
    gpus = seen(asked, os.environ)
    check(gpus, args.count, args.memory_mb, args.driver, describe(os.environ))
    print(f"{len(gpus)} x {gpus[0].name}, {gpus[0].memory_mb} MB, driver {gpus[0].driver}", flush=True)
    if args.training:
        smallest = min(gpus[: args.count], key=lambda gpu: gpu.memory_mb)
        print(checked(args.model, args.training, smallest.name, smallest.memory_mb, describe(os.environ)), flush=True)


def asked(*arguments: str) -> str:
    """What nvidia-smi says.

    Raises
    ------
    InputError
        If there is no nvidia-smi, it fails, or does not answer.
    """
    where = describe(os.environ)
    program = shutil.which("nvidia-smi")
    if program is None:
        devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
        seen = f"device files {', '.join(devices)} are there: is the driver's tool missing, or --nv?" if devices else ""
        raise InputError(f"{where}: no GPU: nvidia-smi is not found. {seen or 'Does the job run on a GPU node?'}")
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"{where}: nvidia-smi does not answer in {PATIENCE_S} s. Exclude this node.") from None
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise InputError(f"{where}: nvidia-smi fails ({said[0] if said else done.returncode}). Exclude this node.")
    return done.stdout


def check(gpus: list[Gpu], count: int, memory_mb: int, driver: int, where: str) -> None:
    """Refuse too few GPUs, too small ones, and a driver that is too old.

    Raises
    ------
    InputError
        Names the machine, what was found and what was asked for.
    """
    if len(gpus) < count:
        raise InputError(f"{where}: {len(gpus)} GPUs are seen, {count} are needed. Ask for them in slurm/config.yaml.")
    for gpu in gpus[:count]:
        if gpu.memory_mb < memory_mb:
            raise InputError(
                f"{where}: GPU {gpu.index} ({gpu.name}) has {gpu.memory_mb} MB, {memory_mb} are needed. "
                "Ask for another model (gpu_model), or lower gpu_memory_mb, in slurm/config.yaml."
            )
        main_version = gpu.driver.partition(".")[0]
        if driver and (not main_version.isdigit() or int(main_version) < driver):
            raise InputError(
                f"{where}: the driver is {gpu.driver}, at least {driver} is needed. "
                "Exclude this node, or lower gpu_driver in slurm/config.yaml."
            )


def describe(environment: Mapping[str, str]) -> str:
    """The machine and what Slurm and CUDA say of GPUs, for messages."""
    said = [f"{name}={environment[name]}" for name in ("SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES") if name in environment]
    return " ".join([environment.get("SLURMD_NODENAME") or os.uname().nodename, *(f"({one})" for one in said)])


if __name__ == "__main__":
    run(main, recorded=False)  # the job is that of the program behind it
