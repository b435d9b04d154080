"""SGLang's offline engine: prompts as token ids in, answers as token ids out, each as it is finished.

Greedy decoding takes the likeliest token. Sampling runs in SGLang's deterministic mode: a token depends on
the sample's seed and its place in the text, not on what else is in the batch. On a GPU greedy decoding does
too, as 16-bit sums differ with the batch by enough to change a word. On a CPU, in 32 bits, they differ in the
sixth decimal of an answer's log-probability (the largest of 1706: 0.000005), which is recorded with four.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import math
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any

from common.errors import InputError
from inference.journal import Answer
from inference.model import Model
from inference.processes import Fork, child, socket_folder
from inference.sampling import Sampling
from inference.termination import uninterrupted
from inference.watchdog import Watchdog

# Memory for keys and values on a CPU; a batch that needs more is worked off in parts.
CACHE_BYTES = 2**30
# Tokens between two signs of life of an answer that is not finished yet.
STREAM_INTERVAL = 50


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
        Seconds without a sign of life (start-up, tokens received) after which everything is
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
        self._folder = socket_folder()
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

    def answer(self, prompts: Sequence[list[int]], numbers: Sequence[int], take: Callable[[int, Answer], None]) -> None:
        """Answer a batch.

        Parameters
        ----------
        prompts
            Token ids of each prompt.
        numbers
            Running number of each sample, which its seed is made of.
        take
            Called with each answer as soon as it is finished, and its place in `prompts`: not in their order.

        Raises
        ------
        InputError
            If the engine refuses a prompt, or the model's probabilities are not numbers.
        """
        self._engine.loop.run_until_complete(self._receive(prompts, numbers, take))
        self._watchdog.beat()

    async def _receive(
        self, prompts: Sequence[list[int]], numbers: Sequence[int], take: Callable[[int, Answer], None]
    ) -> None:
        # One message for the whole batch: what is computed together does not depend on when a message arrives.
        outputs: AsyncIterator[dict[str, Any]] = await self._engine.async_generate(
            input_ids=[list(prompt) for prompt in prompts],
            sampling_params=[self._settings(number) for number in numbers],
            return_logprob=True,
            stream=True,
        )
        async for output in outputs:
            # Each holds all tokens so far; those of an unfinished answer are only a sign of life.
            if output["meta_info"]["finish_reason"] is not None:
                take(output["index"], self._answer(output))

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
            raise InputError(f"{self.model.folder}: the model's probabilities are not numbers. Its weights are broken.")
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
                setattr(sglang_engine, name, functools.partial(child, os.getpid(), getattr(sglang_engine, name)))
        if self.device == "cpu":
            sglang_engine.mp = Fork()
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
            "enable_deterministic_inference": self.device == "cuda" or not self.sampling.greedy,
            "stream_interval": STREAM_INTERVAL,
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
        dead = [own for own in self._children if not own.is_alive()]
        arrived = self._engine.tokenizer_manager.last_receive_tstamp
        return arrived, f"exit code {dead[0].exitcode}" if dead else None

    def _stop(self) -> None:
        """Kill every process of the engine, by its own handle, and what SGLang left on disk."""
        import psutil

        with uninterrupted():
            for own in multiprocessing.active_children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    for process in psutil.Process(own.pid).children(recursive=True):
                        process.kill()
                own.kill()
                own.join(timeout=10)
            shutil.rmtree(self._folder, ignore_errors=True)
            tempfile.tempdir = None
