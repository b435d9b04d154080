"""The processes that SGLang runs in: what they find in their environment, how they start and end."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from multiprocessing.context import ForkContext
from pathlib import Path
from typing import Any

from common.errors import InputError
from inference.sampling import seeded_multinomial
from inference.settings import Hardware

STUBS = Path(__file__).parent / "cpu_stubs"
# Longest path of a Unix socket, less SGLang's own file names.
SOCKET_FOLDER = 80


def environment(device: str, threads: int, tensor: int = 1) -> dict[str, str]:
    """Environment variables that the engine's processes need, set before torch is imported."""
    shared = {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
    }
    if device == "cuda":
        return shared | {"SGLANG_USE_CPU_ENGINE": "0"}
    return shared | {
        "SGLANG_USE_CPU_ENGINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        # Otherwise the first batch compiles two small functions: half a minute, and a C++ compiler.
        "TORCHDYNAMO_DISABLE": "1",
        # A core for each process that shares the model; without it SGLang wants a NUMA node for each.
        "SGLANG_CPU_OMP_THREADS_BIND": "|".join(map(str, cores(tensor))) if tensor > 1 else "all",
    }


def cores(count: int) -> list[int]:
    """A core for each of some processes, of those that this one may use; where there are fewer they share."""
    allowed = sorted(os.sched_getaffinity(0))
    return [allowed[number % len(allowed)] for number in range(count)]


def prepare_process(hardware: Hardware, threads: int) -> None:
    """Make this process, and those it starts, ready to import SGLang on a device.

    Raises
    ------
    InputError
        If the device is cuda and torch sees too few GPUs, or if it is cpu and torch sees one all the same.
    """
    os.environ.update(environment(hardware.device, threads, hardware.tensor))
    warnings.simplefilter("ignore")
    logging.getLogger("sglang").setLevel(logging.ERROR)
    import torch

    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if hardware.device == "cpu":
        if seen:
            raise InputError(
                "device is cpu, but torch sees a GPU although CUDA_VISIBLE_DEVICES hides all: something used CUDA "
                "before. Start it as a program of its own."
            )
        # First on the path: on a workstation with a GPU the real ones would look for it.
        sys.path.insert(0, str(STUBS))
        return
    if stand_ins_on_path():
        raise InputError(f"device is cuda, but {STUBS} is on Python's path. Take it out of PYTHONPATH.")
    if seen < hardware.gpus:
        raise InputError(
            f"device is cuda, but torch sees {seen or 'no'} GPU{'s' * (seen > 1)} here, {hardware.gpus} "
            f"{'is' if hardware.gpus == 1 else 'are'} needed. Set device to cpu, or run where there are as many "
            f"(infer.tensor x infer.data) and a CUDA build of torch (this is torch {torch.__version__})."
        )


def stand_ins_on_path() -> bool:
    """Whether Python would find the stand-ins for CPUs, whatever put them on its path."""
    return any(Path(entry or ".").resolve() == STUBS.resolve() for entry in sys.path)


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


def controller(parent: int, device: str, target: Callable[..., None], *args: Any) -> None:
    """Run SGLang's process that deals samples out to copies of the model, each with processes of its own.

    These are its children, not this program's: they are prepared here, and their death is seen here. SGLang itself
    would wait for ever for one that is killed.
    """
    from sglang.srt.managers import data_parallel_controller as module

    own = os.getpid()
    module.run_scheduler_process = functools.partial(child, own, module.run_scheduler_process)
    if device == "cpu":
        module.mp = Fork()
    threading.Thread(target=_end_with_any_child, daemon=True).start()
    child(parent, target, *args)


def _end_with_any_child(every: float = 0.5) -> None:
    """End this process when one of its children has ended; nobody else asks how they are."""
    import psutil

    while True:
        time.sleep(every)
        for process in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_ZOMBIE:
                    os._exit(1)


def _no_bar(items: Iterable[Any], *_: Any, **__: Any) -> Iterable[Any]:
    """tqdm without its bar; SGLang has no setting for that."""
    return items


def socket_folder() -> str:
    """A new folder for SGLang's sockets, which it leaves behind; temporary files go there from now on."""
    base = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="infer-", dir=base if len(base) <= SOCKET_FOLDER else "/tmp")
    tempfile.tempdir = folder
    return folder
