"""Variants of other prompts or other runs: what they were asked must be the same hours of the same market.

Timestamps alone do not say so: another market has the same hours. Decisions that answer the same prompts as the run's
own are of its market; for others, the samples that they answer, whose SHA-256 stands beside them, hold the prices.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import read_json, read_jsonl, sha256
from trading.answered import samples_of, summary_of
from trading.decisions import Decisions
from trading.prompts import style_of

FACTS = ("timestamp", "current_price", "next_price")


def check_variants(own: Decisions, variants: Mapping[str, Decisions], samples: Path, style: str) -> dict[str, str]:
    """Refuse variants that did not answer the same hours of the same market.

    Parameters
    ----------
    own
        The run's own decisions.
    variants
        Those of others, by name.
    samples
        The samples that `own` answers.
    style
        Style of their prompts.

    Returns
    -------
    dict
        Name to the style of the prompts that it answers.

    Raises
    ------
    InputError
        Names the variant's file, what is wrong with it and what to do.
    """
    found = {}
    for name, other in variants.items():
        check_times(own, other)
        answered = answered_samples(own, other, samples)
        found[name] = style_of(first_prompt(answered)) if answered else style
    return found


def check_times(one: Decisions, other: Decisions) -> None:
    """Refuse a variant that did not answer the same hours; its prompts may differ."""
    if len(one) != len(other):
        raise InputError(
            f"{other.path}: {len(other)} decisions, but {one.path} has {len(one)}. Run infer again on the same samples."
        )
    for number, (a, b) in enumerate(zip(one.timestamps, other.timestamps, strict=True), start=1):
        if a != b:
            raise InputError(f"{other.path}, line {number}: is for {b}, {one.path} for {a}. Run infer again.")


def answered_samples(own: Decisions, other: Decisions, samples: Path) -> Path | None:
    """The other samples that `other` answers, which have the prices of `samples`; None if it answers `samples`.

    They lie beside its decisions, where it has prompts of its own, or where a run keeps them.
    """
    if own.asked_as(other):
        return None
    record = summary_of(other.path)
    if not record.is_file():
        raise InputError(
            f"{other.path}: answers other prompts than {own.path}, and no {record} says of which samples "
            "they are. Put the one there that infer made with it."
        )
    recorded = recorded_samples(record)
    if recorded == sha256(samples):
        return None
    places = samples_of(other.path)
    for place in places:
        if place.is_file() and sha256(place) == recorded:
            check_prices(samples, place, other.path)
            return place
    if other.path.parent.parent == own.path.parent.parent:
        return None  # the run asked it about its own bars; samples with prices may be held back from an archive
    raise InputError(
        f"{other.path}: the samples that it answers, by {record}, are not {samples}, and lie neither at {places[0]} "
        f"nor at {places[1]}: of which market they are cannot be said. Put them there, or leave the variant out."
    )


def recorded_samples(summary: Path) -> str | None:
    """SHA-256 of the samples that were answered, if infer's summary says it."""
    inputs = read_json(summary).get("inputs")
    return inputs.get("samples") if isinstance(inputs, dict) else None


def check_prices(samples: Path, others: Path, decisions: Path) -> None:
    """Refuse samples of other hours or other prices."""
    mine, theirs = facts(samples), facts(others)
    for number, (a, b) in enumerate(zip(mine, theirs, strict=False), start=1):
        if a != b:
            name = next(name for name in FACTS if a[name] != b[name])
            raise InputError(
                f"{decisions}: was made on another market: {others}, line {number}, has {name} {b[name]}, {samples} "
                f"has {a[name]}. Leave the variant out, or ask it on this market."
            )
    if len(mine) != len(theirs):
        raise InputError(f"{decisions}: answers {len(theirs)} samples of {others}, {samples} has {len(mine)}.")


def facts(samples: Path) -> list[dict[str, Any]]:
    """When each sample was decided on, and the prices then and after."""
    try:
        return [{name: row["metadata"][name] for name in FACTS} for row in read_jsonl(samples)]
    except (KeyError, TypeError):
        raise InputError(f"{samples}: a line has no metadata with {', '.join(FACTS)}. Run samples again.") from None


def first_prompt(samples: Path) -> str:
    """What the first sample asks."""
    try:
        prompt = read_jsonl(samples)[0]["prompt"][0]["content"]
    except (KeyError, TypeError, IndexError):
        prompt = None
    if not isinstance(prompt, str):
        raise InputError(f"{samples}, line 1: has no prompt. Run samples again.")
    return prompt
