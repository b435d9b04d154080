"""SGLang's offline engine: prompts as token ids in, answers as token ids out.

Greedy decoding takes the likeliest token. Sampling runs in SGLang's deterministic mode: a token depends on
the sample's seed and its place in the text, not on what else is in the batch.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import math
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.context import ForkContext
from pathlib import Path
from types import TracebackType
from typing import Any

from common.errors import InputError
from inference.journal import Answer
from inference.model import Model
from inference.sampling import Sampling, seeded_multinomial
from inference.termination import uninterrupted
from inference.watchdog import Watchdog

STUBS = Path(__file__).parent / "cpu_stubs"
# Memory for keys and values on a CPU; a batch that needs more is worked off in parts.
CACHE_BYTES = 2**30
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


def cache_tokens(model: Model, sampling: Sampling, batch: int, longest: int) -> int:
    """Tokens whose keys and values have to be in memory at once: those of a whole batch, if they fit."""
    one = longest + sampling.max_new_tokens
    fit = CACHE_BYTES // model.cache_bytes_per_token
    # SGLang keeps one token of slack a request; one answer has to fit in any case.
    return max(min(batch * (one + 1), fit), one + 1)


class Engine:
    """SGLang's engine with one model loaded, as a context manager; no process of it outlives the block.

    Parameters
    ----------
    model, sampling
        What answers, and how.
    device
        cpu or cuda; `prepare_process` was called with it.
    batch
        Samples answered at a time.
    longest
        Tokens of the longest prompt.
    timeout_s
        Seconds without a sign of life (start-up, a batch done, tokens received) after which everything is
        killed and the program ends with exit code 1.
    """

    def __init__(
        self, model: Model, sampling: Sampling, device: str, batch: int, longest: int, timeout_s: float
    ) -> None:
        self.model, self.sampling, self.device = model, sampling, device
        self.batch, self.longest = batch, longest
        self._engine: Any = None
        self._children: list[Any] = []
        self._folder = ""
        self._watchdog = Watchdog(timeout_s, self._sign_of_life, self._stop)
        self._timeout_s = timeout_s

    def __enter__(self) -> Engine:
        # A child that fails sends SIGQUIT, on which SGLang would kill this process without a word; blocked,
        # the failure shows as a closed pipe or a dead child, and gets a message.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGQUIT})
        self._folder = _socket_folder()
        self._watchdog.start()
        try:
            self._start()
        except BaseException as error:
            self.__exit__(None, None, None)
            if isinstance(error, EOFError | RuntimeError):
                raise InputError(
                    f"SGLang could not start with {self.model.folder}; what it says is above. "
                    "Check the model and the free memory."
                ) from None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watchdog.stop()
        self._stop()

    def generate(self, prompts: Sequence[list[int]], numbers: Sequence[int]) -> list[Answer]:
        """Answer a batch.

        Parameters
        ----------
        prompts
            Token ids of each prompt.
        numbers
            Running number of each sample, which its seed is made of.

        Raises
        ------
        InputError
            If the engine refuses a prompt, or the model's probabilities are not numbers.
        """
        settings = [self._settings(number) for number in numbers]
        outputs = self._engine.generate(
            input_ids=[list(prompt) for prompt in prompts], sampling_params=settings, return_logprob=True
        )
        self._watchdog.beat()
        return [self._answer(output) for output in outputs]

    def _settings(self, number: int) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "temperature": self.sampling.temperature,
            "max_new_tokens": self.sampling.max_new_tokens,
            "stop_token_ids": sorted(self.model.stop_ids),
        }
        if not self.sampling.greedy:
            settings["top_p"] = 1.0 if self.sampling.top_p is None else self.sampling.top_p
            settings["top_k"] = -1 if self.sampling.top_k is None else self.sampling.top_k
            settings["sampling_seed"] = self.sampling.seed_of(number)
        return settings

    def _answer(self, output: dict[str, Any]) -> Answer:
        about = output["meta_info"]
        reason = about["finish_reason"]
        if reason["type"] not in ("stop", "length"):
            raise InputError(f"SGLang refused a prompt: {reason.get('message', reason['type'])}.")
        logprob = math.fsum(entry[0] for entry in about["output_token_logprobs"])
        if not math.isfinite(logprob):
            raise InputError(
                f"{self.model.folder}: the model's probabilities are not numbers. Its weights are broken."
            )
        # Rounded to what float32 carries, so that the last bit of a sum makes no difference.
        return Answer(list(output["output_ids"]), reason["type"], round(logprob, 4))

    def _start(self) -> None:
        # What is imported here lives as long as the program: the collector need not look at it, neither now
        # nor at the end, and without it children that are forked keep sharing its memory.
        gc.disable()
        import sglang.srt.entrypoints.engine as sglang_engine
        from sglang.srt.server_args import (
            DETERMINISTIC_ATTENTION_BACKEND_CHOICES,
            add_deterministic_attention_backend_choices,
        )

        if "torch_native" not in DETERMINISTIC_ATTENTION_BACKEND_CHOICES:
            add_deterministic_attention_backend_choices(["torch_native"])
        # SGLang starts its processes through these names.
        for name in ("run_scheduler_process", "run_detokenizer_process"):
            if not isinstance(getattr(sglang_engine, name), functools.partial):
                child = functools.partial(_child, os.getpid(), getattr(sglang_engine, name))
                setattr(sglang_engine, name, child)
        if self.device == "cpu":
            sglang_engine.mp = _Fork()
        gc.freeze()
        gc.enable()
        on_term = signal.getsignal(signal.SIGTERM)
        self._engine = sglang_engine.Engine(**self._engine_settings())
        self._children = multiprocessing.active_children()
        self._engine.loop.run_until_complete(self._listen())
        # On SIGTERM SGLang would drain its queue and then kill this process; the program's own handler stays.
        self._engine.loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, on_term)
        self._watchdog.beat()

    async def _listen(self) -> None:
        """Let SGLang begin to receive, which installs its signal handlers; else the first prompt would."""
        self._engine.tokenizer_manager.auto_create_handle_loop()

    def _engine_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "model_path": str(self.model.folder),
            "device": self.device,
            "context_length": self.model.context,
            # Token ids in, token ids out.
            "skip_tokenizer_init": True,
            "grammar_backend": "none",
            "max_running_requests": self.batch,
            # What was asked before must not change how a prompt is computed.
            "disable_radix_cache": True,
            "enable_deterministic_inference": not self.sampling.greedy,
            # The system picks a free port: two engines never want the same one.
            "nccl_port": 0,
            "random_seed": 0,
            "log_level": "error",
            # SGLang's own watchdog has the last word only.
            "watchdog_timeout": self._timeout_s + 60,
        }
        if self.device == "cpu":
            settings |= {
                "dtype": "float32",
                "attention_backend": "torch_native",
                "disable_cuda_graph": True,
                "disable_overlap_schedule": True,
                "max_total_tokens": cache_tokens(self.model, self.sampling, self.batch, self.longest),
            }
        return settings

    def _sign_of_life(self) -> tuple[object, str | None]:
        """Something that changes as tokens arrive, and the process that died, if one did."""
        if self._engine is None:
            return None, None
        dead = [child for child in self._children if not child.is_alive()]
        arrived = self._engine.tokenizer_manager.last_receive_tstamp
        return arrived, f"exit code {dead[0].exitcode}" if dead else None

    def _stop(self) -> None:
        """Kill every process of the engine, by its own handle, and what SGLang left on disk."""
        import psutil

        with uninterrupted():
            for child in multiprocessing.active_children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    for process in psutil.Process(child.pid).children(recursive=True):
                        process.kill()
                child.kill()
                child.join(timeout=10)
            shutil.rmtree(self._folder, ignore_errors=True)
            tempfile.tempdir = None


class _Fork(ForkContext):
    """multiprocessing as SGLang is given it on a CPU: children are forked.

    It asks for spawn, because CUDA does not survive a fork. Without CUDA a forked child shares what the
    parent has imported: each engine starts 15 s earlier and takes half of the memory.
    """

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Stay with fork."""


def _child(parent: int, target: Callable[..., None], *args: Any) -> None:
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


def _socket_folder() -> str:
    """A new folder for SGLang's sockets, which it leaves behind; temporary files go there until `_stop`."""
    base = tempfile.gettempdir()
    folder = tempfile.mkdtemp(prefix="infer-", dir=base if len(base) <= SOCKET_FOLDER else "/tmp")
    tempfile.tempdir = folder
    return folder
