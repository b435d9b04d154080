"""What the benchmarks of throughput share: the machine in words, and starting the project's programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import gpus
from common.errors import InputError
from common.nvidia import seen
from common.processor import processor


def machine(device: str) -> str:
    """What it ran on: GPUs, their driver, the processor."""
    cores = f"{os.cpu_count()} cores ({processor()})"
    if device == "cpu":
        return cores
    import torch

    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()} (driver {driver()}), {cores}"


def driver() -> str:
    """Version of the GPUs' driver; unknown where nvidia-smi does not say."""
    try:
        return seen(gpus.asked, os.environ)[0].driver
    except (InputError, IndexError):
        return "unknown"


def started(command: list[Any]) -> None:
    """Run a program; InputError if it fails."""
    if subprocess.run(list(map(str, command)), check=False).returncode:
        raise InputError(f"{Path(command[1]).name} failed; what it said is above.")
