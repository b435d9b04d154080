"""infer.py on a CPU whose processes are spawned, not forked, as they are on CUDA: nothing is inherited but files."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import infer
from inference import engine, processes


def controller(parent: int, device: str, target: Callable[..., None], *args: Any) -> None:
    """SGLang's dealer, whose processes are spawned too."""
    processes.controller(parent, "spawn", target, *args)


if __name__ == "__main__":
    engine.Fork = lambda: multiprocessing
    engine.controller = controller
    infer.run(infer.main)
