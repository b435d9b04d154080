"""SGLang's offline engine: prompts as token ids in, answers as token ids out, each as it is finished.

Greedy decoding takes the likeliest token. Sampling runs in SGLang's deterministic mode: a token depends on
the sample's seed and its place in the text, not on what else is in the batch. On a GPU greedy decoding does
too, as 16-bit sums differ with the batch by enough to change a word. On a CPU, in 32 bits, they differ in the
sixth decimal of an answer's log-probability (the largest of 1706: 0.000005), which is recorded with four.
"""

from __future__ import annotations

import asyncio
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
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from common.errors import InputError
from inference.journal import Answer
from inference.model import Model
from inference.processes import Fork, child, controller, socket_folder
from inference.questions import Question
from inference.sampling import Sampling
from inference.settings import Hardware, Load, engine_settings
from inference.termination import uninterrupted
from inference.watchdog import Watchdog


@dataclass
class Counts:
    """What the engine has worked off: tokens of prompts, those of them found in its cache, tokens of answers."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, name) - getattr(other, name) for name in vars(self)))


class Engine:
    """SGLang's engine with one model loaded, as a context manager; no process of it outlives the block.

    Parameters
    ----------
    model
        What answers.
    hardware
        Where; `prepare_process` was called with it.
    load
        How much it has to bear.
    timeout_s
        Seconds without a sign of life (start-up, tokens received) after which everything is
        killed and the program ends with exit code 1. However long an answer is, its tokens are signs of life.

    Attributes
    ----------
    counts
        What was worked off; of unfinished answers the tokens that are known of.
    """

    def __init__(self, model: Model, hardware: Hardware, load: Load, timeout_s: float) -> None:
        self.model, self.hardware, self.load = model, hardware, load
        self.counts = Counts()
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

    def answer(
        self,
        questions: Sequence[Question],
        sampling: Sampling,
        take: Callable[[Question, Answer], None],
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Answer a batch.

        Parameters
        ----------
        questions
            What is asked; the running number of each is what its seed is made of.
        sampling
            How answers are drawn.
        take
            Called with each answer as soon as it is finished: not in the order of the questions.
        alive
            Called whenever tokens came.

        Raises
        ------
        InputError
            If the engine refuses a prompt, or the model's probabilities are not numbers.
        """
        self._engine.loop.run_until_complete(self._receive_all(questions, sampling, take, alive))
        self._watchdog.beat()

    async def _receive_all(
        self,
        questions: Sequence[Question],
        sampling: Sampling,
        take: Callable[[Question, Answer], None],
        alive: Callable[[], None],
    ) -> None:
        known = [0] * len(questions)  # tokens of each answer so far

        async def receive(place: int | None, asked: dict[str, Any]) -> None:
            outputs: AsyncIterator[dict[str, Any]] = await self._engine.async_generate(
                **asked, return_logprob=True, stream=True
            )
            async for output in outputs:
                at = output["index"] if place is None else place
                # Each holds all tokens so far; those of an unfinished answer are only a sign of life.
                self.counts.tokens += len(output["output_ids"]) - known[at]
                known[at] = len(output["output_ids"])
                if output["meta_info"]["finish_reason"] is not None:
                    answer = self._answer(output)
                    self.counts.prompt_tokens += output["meta_info"]["prompt_tokens"]
                    self.counts.cached_tokens += output["meta_info"]["cached_tokens"]
                    take(questions[at], answer)
                alive()

        prompts = [list(question.prompt_ids) for question in questions]
        settings = [self._settings(sampling, question.number) for question in questions]
        if self.hardware.data == 1:
            # One message for the whole batch: what is computed together does not depend on when a message arrives.
            await receive(None, {"input_ids": prompts, "sampling_params": settings})
            return
        # Such a message SGLang 0.5.6 would hand to every copy of the model: all would answer all of it, and their
        # tokens would be mixed. Dealt out one by one, which copy answers is fixed by the place in the batch.
        copies = self.hardware.data
        each = [
            {"input_ids": prompt, "sampling_params": how, "data_parallel_rank": at % copies}
            for at, (prompt, how) in enumerate(zip(prompts, settings, strict=True))
        ]
        await asyncio.gather(*(receive(at, asked) for at, asked in enumerate(each)))

    def _settings(self, sampling: Sampling, number: int) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "temperature": sampling.temperature,
            "max_new_tokens": sampling.max_new_tokens,
            "stop_token_ids": sorted(self.model.stop_ids),
        }
        if sampling.regex:
            settings["regex"] = sampling.regex
        if not sampling.greedy:
            settings["top_p"] = 1.0 if sampling.top_p is None else sampling.top_p
            settings["top_k"] = -1 if sampling.top_k is None else sampling.top_k
            settings["sampling_seed"] = sampling.seed_of(number)
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
        from sglang.srt import server_args

        for backends, add in (
            (server_args.DETERMINISTIC_ATTENTION_BACKEND_CHOICES, "add_deterministic_attention_backend_choices"),
            (
                server_args.RADIX_SUPPORTED_DETERMINISTIC_ATTENTION_BACKEND,
                "add_radix_supported_deterministic_attention_backend_choices",
            ),
        ):
            if "torch_native" not in backends:
                getattr(server_args, add)(["torch_native"])
        # SGLang starts its processes through these names.
        starters: dict[str, functools.partial[None]] = {
            "run_scheduler_process": functools.partial(child, os.getpid()),
            "run_detokenizer_process": functools.partial(child, os.getpid()),
            "run_data_parallel_controller_process": functools.partial(controller, os.getpid(), self.hardware.device),
        }
        for name, starter in starters.items():
            if not isinstance(getattr(sglang_engine, name), functools.partial):
                setattr(sglang_engine, name, functools.partial(starter, getattr(sglang_engine, name)))
        if self.hardware.device == "cpu":
            sglang_engine.mp = Fork()
        gc.freeze()
        gc.enable()
        on_term = signal.getsignal(signal.SIGTERM)
        settings = engine_settings(self.model, self.hardware, self.load, self._timeout_s)
        self._engine = sglang_engine.Engine(**settings)
        self._children = multiprocessing.active_children()
        self._engine.loop.run_until_complete(self._listen())
        # On SIGTERM SGLang would drain its queue and then kill this process; the program's own handler stays.
        self._engine.loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, on_term)
        self._watchdog.beat()

    async def _listen(self) -> None:
        """Let SGLang begin to receive, which installs its signal handlers; else the first prompt would."""
        self._engine.tokenizer_manager.auto_create_handle_loop()

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
