"""The processes that SGLang runs in: what they find in their environment, how they start and end."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from multiprocessing.context import ForkContext
from pathlib import Path
from typing import Any

from common.errors import InputError
from inference.sampling import seeded_multinomial

STUBS = Path(__file__).parent / "cpu_stubs"
# Longest path of a Unix socket, less SGLang's own file names.
SOCKET_FOLDER = 80


def environment(device: str, threads: int) -> dict[str, str]:
    """Environment variables that the engine's processes need, set before torch is imported."""
    shared = {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }
    if device == "cuda":
        return shared
    return shared | {
        "SGLANG_USE_CPU_ENGINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        # Otherwise the first batch compiles two small functions: half a minute, and a C++ compiler.
        "TORCHDYNAMO_DISABLE": "1",
    }


def prepare_process(device: str, threads: int) -> None:
    """Make this process, and those it starts, ready to import SGLang on `device`.

    Raises
    ------
    InputError
        If `device` is cuda and torch sees no GPU.
    """
    os.environ.update(environment(device, threads))
    warnings.simplefilter("ignore")
    logging.getLogger("sglang").setLevel(logging.ERROR)
    if device == "cpu":
        # First on the path: on a workstation with a GPU the real ones would look for it.
        sys.path.insert(0, str(STUBS))
        return
    import torch

    if not torch.cuda.is_available():
        raise InputError(
            "device is cuda, but torch sees no GPU here. Set device to cpu, or run where there is a GPU "
            f"and a CUDA build of torch (this is torch {torch.__version__})."
        )


class Fork(ForkContext):
    """multiprocessing as SGLang is given it on a CPU: children are forked.

    It asks for spawn, because CUDA does not survive a fork. Without CUDA a forked child shares what the
    parent has imported: each engine starts 15 s earlier and takes half of the memory.
    """

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Stay with fork."""


def child(parent: int, target: Callable[..., None], *args: Any) -> None:
    """Run one of SGLang's processes: quiet, gone when its parent is, with this project's random numbers."""
    from sglang.srt.layers import sampler
    from sglang.srt.model_loader import weight_utils
    from sglang.srt.utils import kill_itself_when_parent_died

    kill_itself_when_parent_died()
    if os.getppid() != parent:  # it died before the line above could tell the system
        os._exit(1)
    # Ctrl-C in a terminal, or a cluster's SIGTERM, goes to the whole group; the parent ends its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.getLogger("sglang").setLevel(logging.ERROR)
    sampler.multinomial_with_seed = seeded_multinomial
    weight_utils.tqdm = _no_bar
    target(*args)


def _no_bar(items: Iterable[Any], *_: Any, **__: Any) -> Iterable[Any]:
    """tqdm without its bar; SGLang has no setting for that."""
    return items


def socket_folder() -> str:
    """A new folder for SGLang's sockets, which it leaves behind; temporary files go there from now on."""
    base = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="infer-", dir=base if len(base) <= SOCKET_FOLDER else "/tmp")
    tempfile.tempdir = folder
    return folder
