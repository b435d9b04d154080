"""Ask a model for its decision on each test sample, with SGLang's offline engine."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import InputError, run
from common.files import sha256, write_json, write_jsonl
from common.progress import Progress, duration
from common.provenance import record, version
from inference.engine import Engine
from inference.journal import Answers, open_answers, settings_of
from inference.model import Model, read_model
from inference.processes import prepare_process
from inference.questions import Question, ask, load_tokenizer, read_samples
from inference.sampling import Sampling
from inference.termination import terminable
from trading.answers import parse_answer

PACKAGES = ("sglang", "torch", "transformers", "tokenizers")


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder of a Qwen3")
    parser.add_argument("--variant", choices=("trained", "base"), required=True, help="which of the run's models it is")
    parser.add_argument("--samples", type=Path, required=True, help="samples/test.jsonl")
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True, help="cpu hides any GPU")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch on the CPU (default: 1)")
    parser.add_argument("--max-new-tokens", type=int, required=True, help="an answer is cut after so many tokens")
    parser.add_argument("--temperature", type=float, required=True, help="0: the likeliest token each time")
    parser.add_argument("--seed", type=int, help="of the first sample's draws; one more for each that follows")
    parser.add_argument("--top-p", type=float, help="draw from the likeliest tokens of this summed probability")
    parser.add_argument("--top-k", type=int, help="draw from so many likeliest tokens")
    parser.add_argument("--batch", type=int, required=True, help="samples answered at a time")
    parser.add_argument(
        "--timeout-s", type=float, required=True, help="give up after so many seconds without a sign of life"
    )
    parser.add_argument("--journal", type=Path, required=True, help="folder for answers as they come")
    parser.add_argument("--output-decisions", type=Path, required=True, help="decisions.jsonl")
    parser.add_argument("--output-summary", type=Path, required=True, help="summary.json")
    parser.add_argument("--output-timing", type=Path, required=True, help="timing.json")
    return parser.parse_args()


def main() -> None:
    """Ask what is not answered yet, write the decisions."""
    args = arguments()
    with terminable():
        infer(args)


def infer(args: argparse.Namespace) -> None:
    """Check everything that can be checked first; the engine's start is the slow part."""
    start = time.monotonic()
    samples = read_samples(args.samples)
    sampling = Sampling(args.max_new_tokens, args.temperature, args.top_p, args.top_k, args.seed)
    check_arguments(args, sampling, len(samples))
    model = read_model(args.model)
    prepare_process(args.device, args.threads)
    tokenizer = load_tokenizer(model)
    model = model.stopping_at(tokenizer)
    questions = ask(samples, args.samples, tokenizer, model, room=sampling.max_new_tokens)
    settings = {**sampling.meaning(), "device": args.device, "sglang": version("sglang")}
    determined_by = settings_of(questions, sha256(args.model), sha256(args.samples), settings)
    with open_answers(args.journal, determined_by) as answers:
        timing = answer(questions, answers, model, sampling, args)
        rows = [decision(question, answers, tokenizer, sampling) for question in questions]
    write_jsonl(args.output_decisions, rows)
    provenance = record(args, {"model": args.model, "samples": args.samples}, PACKAGES)
    write_json(args.output_summary, {**summary(rows, model.name, args), **provenance})
    write_json(args.output_timing, {"seconds": round(time.monotonic() - start, 1), **timing})


def check_arguments(args: argparse.Namespace, sampling: Sampling, samples: int) -> None:
    """Refuse numbers that make no sense."""
    sampling.check(samples)
    if args.batch < 1:
        raise InputError(f"--batch {args.batch}: give at least 1.")
    if args.threads < 1:
        raise InputError(f"--threads {args.threads}: give at least 1.")
    if not args.timeout_s > 0:
        raise InputError(f"--timeout-s {args.timeout_s}: give more than 0 seconds.")


def answer(
    questions: Sequence[Question],
    answers: Answers,
    model: Model,
    sampling: Sampling,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Have the missing questions answered, batch by batch, each written to the journal as it is finished.

    Returns
    -------
    dict
        How long it took: seconds to start the engine, answers given and found, tokens, tokens a second.
    """
    timing: dict[str, Any] = {"answers": len(questions) - len(answers), "resumed": answers.resumed}
    batches = list(answers.missing(questions, args.batch))
    if not batches:
        say(f"all {len(questions)} answers are in the journal")
        return {**timing, "startup_seconds": 0.0, "tokens": 0, "tokens_per_second": None}
    say(f"{model.name} ({args.variant}): {timing['answers']} samples to ask, {answers.resumed} in the journal")
    longest = max(len(question.prompt_ids) for question in questions)
    began = time.monotonic()
    with Engine(model, sampling, args.device, args.batch, longest, args.timeout_s) as engine:
        ready = time.monotonic()
        say(f"SGLang {version('sglang')} is ready on {args.device} after {duration(ready - began)}")
        progress = Progress(len(questions), "sample", done=len(answers))
        tokens = 0
        for batch in batches:
            given = engine.generate([q.prompt_ids for q in batch], [q.number for q in batch])
            answers.add(batch, given)
            tokens += sum(len(a.output_ids) for a in given)
            speed = tokens / (time.monotonic() - ready)
            progress.update(len(answers), f"{speed:.0f} tokens/s")
    return {
        **timing,
        "startup_seconds": round(ready - began, 1),
        "tokens": tokens,
        "tokens_per_second": round(speed, 1),
    }


def decision(question: Question, answers: Answers, tokenizer: Any, sampling: Sampling) -> dict[str, Any]:
    """One line of decisions.jsonl: what the model said, and how it is read."""
    given = answers[question]
    said = given.output_ids
    if said and given.finish_reason == "stop":
        said = said[:-1]  # the end-of-turn token
    text = tokenizer.decode(said, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    word, status = parse_answer(text, truncated=given.finish_reason == "length")
    return {
        "id": question.id,
        "timestamp": question.timestamp,
        "decision": word,
        "status": status,
        "text": text,
        "output_ids": given.output_ids,
        "finish_reason": given.finish_reason,
        "logprob": given.logprob,
        "prompt_sha256": question.prompt_sha256,
        "seed": sampling.seed_of(question.number),
    }


def summary(rows: Sequence[dict[str, Any]], name: str, args: argparse.Namespace) -> dict[str, Any]:
    """The counts of summary.json."""
    words = Counter(row["decision"] for row in rows)
    statuses = Counter(row["status"] for row in rows)
    return {
        "model": name,
        "variant": args.variant,
        "samples": len(rows),
        "buy": words["BUY"],
        "sell": words["SELL"],
        "truncated": statuses["truncated"],
        "unparsable": statuses["unparsable"],
        "mean_tokens": round(sum(len(row["output_ids"]) for row in rows) / len(rows), 3),
        "engine": f"SGLang {version('sglang')}",
        "device": args.device,
    }


def say(message: str) -> None:
    """A line for people, on the stream of the progress lines."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run(main)
