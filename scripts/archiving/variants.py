"""Decisions of other runs in an archive: what comes along with them, so that a replay can check their market."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from archiving.collect import Run, variant_place
from common.errors import InputError
from common.files import sha256
from trading.answered import summary_of
from trading.decisions import read_decisions
from trading.evidence.variants import answered_samples, first_prompt, recorded_samples
from trading.prompts import hides_prices

ANSWERS = re.compile(r"sources/variant-[^/]+/(decisions\.jsonl|summary\.json)")
HOW_TO_GET = "ask who made the variant's run for the file with the SHA-256 that stands here."


def beside_variants(run: Run) -> dict[str, Path]:
    """What lies beside decisions of other runs and evaluate.py needs with them, by its name in the archive.

    Of decisions on the run's own prompts nothing; of others summary.json, and their samples unless they are the run's.

    Raises
    ------
    InputError
        If it is not there: nobody could replay such an archive.
    """
    found: dict[str, Path] = {}
    variants = run.configuration["evaluate"]["variants"]
    if not variants:
        return found
    own, samples = read_decisions(run.path("infer/trained/decisions.jsonl")), run.path("samples/test.jsonl")
    for name, _, path in (variant.partition("=") for variant in variants):
        other = read_decisions(path)
        if own.asked_as(other):
            continue
        record, answered = summary_of(other.path), answered_samples(own, other, samples)
        found[variant_place(name, "summary.json")] = record
        if answered:
            found[variant_place(name, "samples.jsonl")] = answered
        elif recorded_samples(record) != sha256(samples):
            raise InputError(
                f"{other.path}: the samples that it answers are gone, no replay could tell of which market they are. "
                "Put them back, or leave it out of evaluate.variants."
            )
    return found


def with_prices(names: Iterable[str]) -> set[str]:
    """Those of the files from elsewhere that hold the market's prices: all but answers and what counts them."""
    return {name for name in names if not ANSWERS.fullmatch(name)}


def shown_prices(beside: Mapping[str, Path]) -> list[str]:
    """Variants whose own prompts show prices, which their answers may quote."""
    return [
        f"evaluate.variants, {name.split('/')[1].removeprefix('variant-')}"
        for name in sorted(with_prices(beside))
        if not hides_prices(first_prompt(beside[name]))
    ]
