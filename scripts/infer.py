"""Ask a model for its decision on each test sample, with SGLang's offline engine."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.errors import run
from common.files import write_json, write_jsonl
from common.provenance import record, version
from inference.asking import PACKAGES, add_flags, answer_all, answer_room, checked_sampling, load_model
from inference.finishing import Reply, finishing, read_reply
from inference.finishing import record as second_pass
from inference.questions import Question, ask, read_samples
from inference.sampling import Sampling
from inference.termination import terminable


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_flags(parser)
    parser.add_argument("--variant", choices=("trained", "base"), required=True, help="which of the run's models it is")
    parser.add_argument("--samples", type=Path, required=True, help="samples/test.jsonl")
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
    sampling = checked_sampling(args)
    model, tokenizer = load_model(args)
    questions = ask(samples, args.samples, tokenizer, model, room=answer_room(args, tokenizer))
    replies, timing = answer_all(questions, model, tokenizer, sampling, args, f"{model.name} ({args.variant})")
    rows = [decision(q, r, tokenizer, sampling) for q, r in zip(questions, replies, strict=True)]
    write_jsonl(args.output_decisions, rows)
    provenance = record(args, {"model": args.model, "samples": args.samples}, PACKAGES)
    write_json(args.output_summary, {**summary(rows, model.name, args), **provenance})
    write_json(args.output_timing, {"seconds": round(time.monotonic() - start, 1), **timing})


def decision(question: Question, reply: Reply, tokenizer: Any, sampling: Sampling) -> dict[str, Any]:
    """One line of decisions.jsonl: what the model said, and how it is read."""
    given = reply.first
    text, word, status = read_reply(reply, tokenizer)
    finish = second_pass(reply, tokenizer, finishing(sampling).seed_of(question.number))
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
        # Only where there was a second pass.
        **({"finish": finish} if finish else {}),
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
        "finished": statuses["finished"],
        "truncated": statuses["truncated"],
        "unparsable": statuses["unparsable"],
        "mean_tokens": round(sum(len(row["output_ids"]) for row in rows) / len(rows), 3),
        "engine": f"SGLang {version('sglang')}",
        "device": args.device,
    }


if __name__ == "__main__":
    run(main)
