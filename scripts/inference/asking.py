"""Asking a model: the flags of it, what is missing in the journal, how an answer is read."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError
from common.progress import Progress, duration
from common.provenance import version
from inference.engine import Engine
from inference.journal import Answer, Answers, open_answers, settings_of
from inference.model import Model, answering_sha256, read_model
from inference.processes import prepare_process
from inference.questions import Question, load_tokenizer
from inference.sampling import Sampling
from trading.answers import parse_answer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PACKAGES = ("sglang", "torch", "transformers", "tokenizers")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of every program that asks a model."""
    add = parser.add_argument
    add("--model", type=Path, required=True, help="Hugging Face folder of a Qwen3")
    add("--device", choices=("cpu", "cuda"), required=True, help="cpu hides any GPU")
    add("--threads", type=int, default=1, help="threads of torch on the CPU (default: 1)")
    add("--max-new-tokens", type=int, required=True, help="an answer is cut after so many tokens")
    add("--temperature", type=float, required=True, help="0: the likeliest token each time")
    add("--seed", type=int, help="of the draws; each sample's own is made of it and its running number")
    add("--top-p", type=float, help="draw from the likeliest tokens of this summed probability")
    add("--top-k", type=int, help="draw from so many likeliest tokens")
    add("--batch", type=int, required=True, help="samples given to the engine at a time")
    add("--timeout-s", type=float, required=True, help="give up after so many seconds without a sign of life")
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
    if args.batch < 1:
        raise InputError(f"--batch {args.batch}: give at least 1.")
    if args.threads < 1:
        raise InputError(f"--threads {args.threads}: give at least 1.")
    if not args.timeout_s > 0:
        raise InputError(f"--timeout-s {args.timeout_s}: give more than 0 seconds.")
    return sampling


def load_model(args: argparse.Namespace) -> tuple[Model, PreTrainedTokenizerBase]:
    """Check the model folder, prepare this process for the engine, and load the tokenizer."""
    model = read_model(args.model)
    prepare_process(args.device, args.threads)
    tokenizer = load_tokenizer(model)
    return model.stopping_at(tokenizer), tokenizer


def answer_all(
    questions: Sequence[Question], model: Model, sampling: Sampling, args: argparse.Namespace, name: str
) -> tuple[list[Answer], dict[str, Any]]:
    """Answers to all questions, in their order: from the journal where they are, from the engine else.

    Parameters
    ----------
    questions, model, sampling
        What is asked, who answers, and how.
    args
        Values of the flags of `add_flags`.
    name
        What the model is called in the lines for people.

    Returns
    -------
    list of Answer
        One a question.
    dict
        How long it took: seconds to start the engine, answers given and found, tokens, tokens a second.
    """
    settings = {**sampling.meaning(), "device": args.device, "sglang": version("sglang"), "torch": version("torch")}
    determined_by = settings_of(questions, answering_sha256(model.folder), settings)
    with open_answers(args.journal, determined_by) as answers:
        timing = _ask_missing(questions, answers, model, sampling, args, name)
        return [answers[question] for question in questions], timing


def _ask_missing(
    questions: Sequence[Question],
    answers: Answers,
    model: Model,
    sampling: Sampling,
    args: argparse.Namespace,
    name: str,
) -> dict[str, Any]:
    """Have what is missing answered; each answer is in the journal as soon as it is finished."""
    timing: dict[str, Any] = {"answers": len(questions) - len(answers), "resumed": answers.resumed}
    batches = list(answers.missing(questions, args.batch))
    if not batches:
        say(f"all {len(questions)} answers are in the journal")
        return {**timing, "startup_seconds": 0.0, "tokens": 0, "tokens_per_second": None}
    say(f"{name}: {timing['answers']} samples to ask, {answers.resumed} in the journal")
    longest = max(len(question.prompt_ids) for question in questions)
    began = time.monotonic()
    tokens, speed = 0, 0.0
    with Engine(model, sampling, args.device, args.batch, longest, args.timeout_s) as engine:
        ready = time.monotonic()
        say(f"SGLang {version('sglang')} is ready on {args.device} after {duration(ready - began)}")
        progress = Progress(len(questions), "sample", done=len(answers))
        for batch in batches:

            def take(place: int, given: Answer, batch: Sequence[Question] = batch) -> None:
                nonlocal tokens, speed
                answers.add(batch[place], given)
                tokens += len(given.output_ids)
                speed = tokens / (time.monotonic() - ready)
                # The first few say nothing about the time left: those of a batch end together.
                if time.monotonic() - ready > progress.every or len(answers) == len(questions):
                    progress.update(len(answers), f"{speed:.0f} tokens/s")

            engine.answer([q.prompt_ids for q in batch], [q.number for q in batch], take)
    return {
        **timing,
        "startup_seconds": round(ready - began, 1),
        "tokens": tokens,
        "tokens_per_second": round(speed, 1),
    }


def read_answer(given: Answer, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str, str]:
    """Text, decision and status of an answer."""
    said = given.output_ids
    if said and given.finish_reason == "stop":
        said = said[:-1]  # the end-of-turn token
    text = tokenizer.decode(said, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text, *parse_answer(text, truncated=given.finish_reason == "length")


def say(message: str) -> None:
    """A line for people, on the stream of the progress lines."""
    print(message, file=sys.stderr, flush=True)
