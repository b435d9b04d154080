"""Asking a model: the flags of it, what is missing in the journal, and the second pass of what was cut."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.model_folder import content_sum
from common.options import add_setting, add_settings
from common.progress import Progress, duration
from common.provenance import version
from inference.engine import Counts, Engine
from inference.finishing import Reply, finishing, room, second_question, text_of
from inference.journal import Answer, Answers, open_answers, settings_of
from inference.model import Model, read_model
from inference.processes import prepare_process
from inference.questions import Question, load_tokenizer
from inference.sampling import Sampling
from inference.settings import Hardware, Load

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PACKAGES = ("sglang", "torch", "transformers", "tokenizers")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of every program that asks a model."""
    add = parser.add_argument
    add("--model", type=Path, required=True, help="Hugging Face folder of a Qwen3")
    add_setting(parser, "--device", "device", required=True)
    add("--threads", type=int, default=1, help="Threads of torch on the CPU. Default: 1.")
    add_settings(parser, "infer", leave_out=["trained", "base"])
    add_setting(parser, "--temperature", "infer.trained.temperature", required=True)
    add_setting(parser, "--seed", "infer.trained.seed")
    add("--journal", type=Path, required=True, help="folder for answers as they come")


def checked_sampling(args: argparse.Namespace) -> Sampling:
    """How answers are drawn; numbers that make no sense are refused.

    Raises
    ------
    InputError
        Names the flag, what was given and what is allowed.
    """
    sampling = Sampling(args.max_new_tokens, args.temperature, args.top_p, args.top_k, args.seed)
    sampling.check()
    return sampling


def hardware_of(args: argparse.Namespace) -> Hardware:
    """Where the model runs."""
    names = (field.name for field in dataclasses.fields(Hardware))
    return Hardware(**{name: getattr(args, name) for name in names})


def load_model(args: argparse.Namespace) -> tuple[Model, PreTrainedTokenizerBase]:
    """Check the model folder, prepare this process for the engine, and load the tokenizer."""
    model = read_model(args.model)
    model.check_split(args.tensor)
    hardware = hardware_of(args)
    hardware.check()
    prepare_process(hardware, args.threads)
    hardware.check_model(model)
    tokenizer = load_tokenizer(model)
    return model.stopping_at(tokenizer), tokenizer


def answer_room(args: argparse.Namespace, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that may follow a prompt."""
    return args.max_new_tokens + (room(tokenizer) if args.finish else 0)


def answer_all(
    questions: Sequence[Question],
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    sampling: Sampling,
    args: argparse.Namespace,
    name: str,
) -> tuple[list[Reply], dict[str, Any]]:
    """Replies to all questions, in their order: from the journal where they are, from the engine else.

    Parameters
    ----------
    questions, model, tokenizer, sampling
        What is asked, who answers, and how.
    args
        Values of the flags of `add_flags`.
    name
        What the model is called in the lines for people.

    Returns
    -------
    list of Reply
        One a question.
    dict
        How long it took: seconds to start the engine, answers given and found, tokens, tokens a second, tokens of
        prompts and those of them that the cache had; of a second pass, if there was one, under "finishing".
    """
    with Asker(model, tokenizer, sampling, args, name, max(len(q.prompt_ids) for q in questions)) as asker:
        first, timing = asker.ask(questions, sampling, "sample")
        replies = [Reply(answer) for answer in first]
        cut = {}
        if args.finish:
            for place, (question, answer) in enumerate(zip(questions, first, strict=True)):
                if found := second_question(question, answer, text_of(answer, tokenizer), tokenizer):
                    cut[place] = found
        if cut:
            second, timing["finishing"] = asker.ask(
                [asked for asked, _ in cut.values()], finishing(sampling), "cut answer"
            )
            for (place, (_, reply)), answer in zip(cut.items(), second, strict=True):
                replies[place] = dataclasses.replace(reply, second=answer)
        return replies, {"startup_seconds": asker.startup_seconds, **timing}


class Asker:
    """Asks what the journal lacks; the engine is started when it is needed first, and ends with the block.

    Attributes
    ----------
    startup_seconds
        Of the engine; 0 if none was started.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        sampling: Sampling,
        args: argparse.Namespace,
        name: str,
        longest: int,
    ) -> None:
        self.startup_seconds = 0.0
        self._model, self._args, self._name = model, args, name
        self._hardware = hardware_of(args)
        self._load = Load(
            batch=args.batch,
            longest=longest + answer_room(args, tokenizer),
            max_new_tokens=args.max_new_tokens,
            greedy=sampling.greedy,
            constrained=args.finish,
        )
        self._sha256 = content_sum(model.folder)
        self._stack = contextlib.ExitStack()
        self._engine: Engine | None = None

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def ask(self, questions: Sequence[Question], sampling: Sampling, unit: str) -> tuple[list[Answer], dict[str, Any]]:
        """Answers to the questions, in their order, and how long it took."""
        versions = {"sglang": version("sglang"), "torch": version("torch")}
        settings = {**sampling.meaning(), **self._hardware.meaning(), **versions}
        with open_answers(self._args.journal, settings_of(questions, self._sha256, settings)) as answers:
            timing = self._ask_missing(questions, answers, sampling, unit)
            return [answers[question] for question in questions], timing

    def _started(self) -> Engine:
        """The engine."""
        if self._engine is None:
            began = time.monotonic()
            engine = Engine(self._model, self._hardware, self._load, self._args.timeout_s)
            self._engine = self._stack.enter_context(engine)
            took = time.monotonic() - began
            self.startup_seconds = round(took, 1)
            say(f"SGLang {version('sglang')} is ready on {self._hardware} after {duration(took)}")
        return self._engine

    def _ask_missing(
        self, questions: Sequence[Question], answers: Answers, sampling: Sampling, unit: str
    ) -> dict[str, Any]:
        """Have what is missing answered; each answer is in the journal as soon as it is finished."""
        timing: dict[str, Any] = {"answers": len(questions) - len(answers), "resumed": answers.resumed}
        batches = list(answers.missing(questions, self._args.batch))
        if not batches:
            say(f"all {len(questions)} {'answers' if unit == 'sample' else 'second answers'} are in the journal")
            return {**timing, **asdict(Counts()), "tokens_per_second": None}
        say(f"{self._name}: {timing['answers']} {unit}s to ask, {answers.resumed} in the journal")
        engine = self._started()
        before, began = dataclasses.replace(engine.counts), time.monotonic()
        progress = Progress(len(questions), unit, done=len(answers))
        truncated = 0

        def take(question: Question, given: Answer) -> None:
            nonlocal truncated
            answers.add(question, given)
            truncated += given.finish_reason == "length"

        def alive() -> None:
            # The first few say nothing about the time left: those of a batch end together.
            passed = time.monotonic() - began
            if passed > progress.every or len(answers) == len(questions):
                progress.update(len(answers), _said(engine.counts - before, passed, truncated))

        for batch in batches:
            engine.answer(batch, sampling, take, alive)
        counts = engine.counts - before
        return {**timing, **asdict(counts), "tokens_per_second": round(counts.tokens / (time.monotonic() - began), 1)}


def _said(counts: Counts, seconds: float, truncated: int) -> str:
    """What stands behind the time left in a line of progress."""
    return ", ".join(_parts(counts, seconds, truncated))


def _parts(counts: Counts, seconds: float, truncated: int) -> Iterator[str]:
    if truncated:
        yield f"{truncated} truncated"
    if counts.cached_tokens:
        yield f"{counts.cached_tokens / counts.prompt_tokens:.0%} of prompts from the cache"
    yield f"{counts.tokens / seconds:.0f} tokens/s"


def say(message: str) -> None:
    """A line for people, on the stream of the progress lines."""
    print(message, file=sys.stderr, flush=True)
