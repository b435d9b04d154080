"""What the benchmarks of throughput share: the machine in words, and starting the project's programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from common.errors import InputError


def machine(device: str) -> str:
    """What it ran on."""
    cores = f"{os.cpu_count()} cores"
    if device == "cpu":
        return cores
    import torch

    return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, {cores}"


def started(command: list[Any]) -> None:
    """Run a program; InputError if it fails."""
    if subprocess.run(list(map(str, command)), check=False).returncode:
        raise InputError(f"{Path(command[1]).name} failed; what it said is above.")
