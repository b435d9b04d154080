"""Ask the model some of its questions again with dates, name and price level changed; count changed decisions."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import InputError, run
from common.files import read_json, write_json
from common.options import add_setting, add_settings
from common.provenance import check_input, record
from inference.asking import PACKAGES, add_flags, answer_all, answer_room, checked_sampling, load_model
from inference.changes import CHANGES, CONFIDENCE, Changes, changed_prompts, choose, count, reading
from inference.finishing import read_reply
from inference.questions import Question, ask, read_samples
from inference.sampling import Sampling
from inference.termination import terminable
from trading.bars import Bars, format_times, read_bars
from trading.decisions import Decisions, read_decisions
from trading.prompts import LOOK_BACK

# Name of the control: nothing changed, but asked again.
AGAIN = "again"


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_flags(parser)
    add = parser.add_argument
    add("--bars", type=Path, required=True, help="the market that the samples were made of")
    add("--samples", type=Path, required=True, help="samples/test.jsonl")
    add("--decisions", type=Path, required=True, help="the model's answers to them: infer/trained/decisions.jsonl")
    add("--summary", type=Path, required=True, help="summary.json of these")
    add_setting(parser, "--prompt", "samples.prompt", required=True, meaning="Style of the samples' prompts.")
    add_setting(parser, "--mask", "samples.mask", meaning="Whether they were masked.")
    add_setting(parser, "--gaps", "market.gaps")
    add_settings(parser, "probe", leave_out=["enabled", "names"])
    add("--names", nargs="*", default=[], help="names of the market, replaced where a prompt holds one")
    add("--output", type=Path, required=True, help="probe.json")
    return parser.parse_args()


def main() -> None:
    """Ask what differs and write what came of it."""
    args = arguments()
    with terminable():
        probe(args)


def probe(args: argparse.Namespace) -> None:
    """Check the files against each other first; the engine's start is the slow part."""
    sampling = checked_sampling(args)
    bars = read_bars(args.bars, args.gaps)
    samples = read_samples(args.samples)
    original = read_decisions(args.decisions)
    check_summary(args, sampling)
    if [row["metadata"]["id"] for row in samples] != original.ids:
        raise InputError(f"{args.decisions}: are not the decisions on {args.samples}. Run infer again.")
    numbers = choose(len(samples), args.hours, args.choice_seed)
    prompts = probed_prompts(args, bars, samples, numbers)
    model, tokenizer = load_model(args)
    questions: list[Question] = []
    for change, texts in prompts.items():
        rows = [
            {"prompt": [{"role": "user", "content": text}], "metadata": samples[number]["metadata"]}
            for number, text in zip(numbers, texts, strict=True)
        ]
        asked = ask(rows, args.samples, tokenizer, model, answer_room(args, tokenizer), numbers)
        if change == AGAIN:
            check_prompts(asked, original)
        questions += [
            dataclasses.replace(question, id=f"{change}/{question.id}")
            for question, text, before in zip(asked, texts, prompts[AGAIN], strict=True)
            if change == AGAIN or text != before
        ]
    replies, _ = answer_all(questions, model, tokenizer, sampling, args, f"{model.name} (probe)")
    words = {q.id: read_reply(r, tokenizer)[1] for q, r in zip(questions, replies, strict=True)}
    inputs = {name: getattr(args, name) for name in ("model", "bars", "samples", "decisions", "summary")}
    write_json(
        args.output,
        {
            **findings([original.ids[n] for n in numbers], [original.decisions[n] for n in numbers], words, sampling),
            **record(args, inputs, (*PACKAGES, "numpy", "pandas")),
        },
    )


def check_summary(args: argparse.Namespace, sampling: Sampling) -> None:
    """Refuse decisions of another model, on other samples, or drawn in another way."""
    summary = read_json(args.summary)
    check_input(summary, args.summary, "model", args.model)
    check_input(summary, args.summary, "samples", args.samples)
    parameters = summary.get("parameters", {})
    names = ("max_new_tokens", "temperature", "top_p", "top_k", "seed")
    recorded = Sampling(**{name: parameters.get(name) for name in names}).meaning()
    others = ("device", "finish", "tensor", "attention", "prefix_cache")
    for name, value in {**sampling.meaning(), **{other: getattr(args, other) for other in others}}.items():
        was = {**recorded, **{other: parameters.get(other) for other in others}}.get(name)
        if was != value:
            raise InputError(
                f"{args.summary}: {name} was {was}, here it is {value}. Give the settings of that inference, "
                "or run it again."
            )


def probed_prompts(
    args: argparse.Namespace, bars: Bars, samples: Sequence[dict[str, Any]], numbers: Sequence[int]
) -> dict[str, list[str]]:
    """Prompts of the chosen hours: as they are (under `AGAIN`), and with each change.

    Raises
    ------
    InputError
        If the samples were not made of these bars, or with other settings.
    """
    place_of = {time: place for place, time in enumerate(format_times(bars.time))}
    places = []
    for number in numbers:
        time = samples[number]["metadata"]["timestamp"]
        if place_of.get(time, -1) < LOOK_BACK[args.prompt]:
            raise InputError(
                f"{args.samples}, line {number + 1}: {args.bars} has no bar for {time}, or too few before."
            )
        places.append(place_of[time])
    changes = Changes(args.weeks, args.price_factor, tuple(args.names))
    prompts = changed_prompts(bars, places, args.prompt, args.mask, changes)
    prompts = {AGAIN: prompts.pop("none"), **prompts}
    for number, text in zip(numbers, prompts[AGAIN], strict=True):
        if samples[number]["prompt"] != [{"role": "user", "content": text}]:
            raise InputError(
                f"{args.samples}, line {number + 1}: is not the prompt that {args.bars} gives with --prompt "
                f"{args.prompt} and {'--mask' if args.mask else '--no-mask'}. Run samples and infer again."
            )
    return prompts


def check_prompts(questions: Sequence[Question], original: Decisions) -> None:
    """Refuse decisions that were answers to other prompts."""
    for question in questions:
        if original.prompts[question.number] != question.prompt_sha256:
            raise InputError(
                f"{original.path}, line {question.number + 1}: was the answer to another prompt. Run infer again."
            )


def findings(
    ids: Sequence[str], original: Sequence[str], words: Mapping[str, str], sampling: Sampling
) -> dict[str, Any]:
    """What probe.json says.

    Parameters
    ----------
    ids, original
        Identifiers and decisions of the probed hours.
    words
        New decisions, by change and identifier ("dates/test-000012"); a prompt that a change leaves as it is
        has none, and keeps its decision.
    sampling
        How they were drawn.
    """

    def asked(change: str) -> dict[int, str]:
        named = {place: words.get(f"{change}/{identifier}") for place, identifier in enumerate(ids)}
        return {place: word for place, word in named.items() if word is not None}

    control = count(original, asked(AGAIN))["decisions_changed"]
    found = {change: count(original, asked(change)) for change in CHANGES}
    return {
        "hours": len(ids),
        "confidence": CONFIDENCE,
        "control": {"asked_again": len(ids), "decisions_changed": control},
        "changes": found,
        "reading": reading(len(ids), control, found, sampling.greedy),
    }


if __name__ == "__main__":
    run(main)
