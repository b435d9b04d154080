"""What an archive says of its run beside the slides: its README and cards, its settings, its sources' commit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

from archiving.cards import data_card, how_to_get, model_card, readme
from archiving.took import took
from archiving.verification.container import Files, content
from archiving.verification.facts import CONFIGURATION, JOBS, RUN
from archiving.verification.ledger import RESULTS, read_sources

README = "README.md"
LEFT_OUT = re.compile(r"^- (.*); SHA-256 in `(data/[^`]*)`$", re.MULTILINE)
# Result to the section of the configuration whose settings it was made with, and the part that is its own.
SECTIONS = {
    "market/summary.json": ("market", ""),
    "train/checkpoint.json": ("train", ""),
    "infer/trained/summary.json": ("infer", "trained"),
    "infer/base/summary.json": ("infer", "base"),
    "metrics.json": ("simulate", ""),
    "evidence.json": ("evaluate", ""),
}


def check_words(files: Files) -> tuple[list[str], int]:
    """Problems, one line each, and how many settings were compared with those that the results recorded."""
    run, settings = (json.loads(content(files, name)) for name in (RUN, CONFIGURATION))
    sources = read_sources(files)
    problems, count = settings_problems(settings, sources)
    for name, made in _texts(files, run, settings, sources):
        problems += _text_problems(name, content(files, name).decode("utf-8", "replace"), made)
    return problems, count


def settings_problems(settings: Mapping[str, Any], sources: Mapping[str, Any]) -> tuple[list[str], int]:
    """Where the configuration is not what results recorded of their making, and how many settings were compared."""
    problems, count = [], 0
    for name, record in sources.items():
        section, own = SECTIONS.get(name) or SECTIONS.get(name.rpartition("/")[2], ("", ""))
        given = settings.get(section, {})
        asked = dict(_flat(given)) | dict(_flat(given.get(own) or {}))
        recorded = record.get("parameters", {}) if section else {}
        for key in sorted(set(asked) & set(recorded)):
            if asked[key] is None or isinstance(recorded[key], list):
                continue
            count += 1
            wanted = asked[key] if isinstance(asked[key], list) else [asked[key]]
            if recorded[key] not in wanted:
                problems.append(
                    f"{CONFIGURATION}: {section}: {key} is {asked[key]!r}, {RESULTS}{name} was made with "
                    f"{recorded[key]!r}"
                )
    return problems, count


def _flat(section: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The settings by the names that programs know them by: reward.scale is reward_scale."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}_")
        else:
            yield f"{before}{key}", value


def _texts(
    files: Files, run: Mapping[str, Any], settings: Mapping[str, Any], sources: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """The texts for people, made again of the results. What was left out is taken as it is."""
    metrics, evidence = (
        [sources[f"leverage-{leverage}/{kind}.json"] for leverage in run["leverages"]]
        for kind in ("metrics", "evidence")
    )
    said = content(files, README).decode("utf-8", "replace")
    spent = took(json.loads(content(files, JOBS)))
    left_out = dict(LEFT_OUT.findall(said))
    yield README, readme(run, metrics, evidence, sources["market/summary.json"], spent, left_out)
    earlier = {name.removeprefix("model/"): sources[name] for name in sorted(sources) if "model/parity-" in name}
    records = (sources[n] for n in ("train/checkpoint.json", "infer/trained/summary.json", "model/parity.json"))
    yield "data/model-card.md", model_card(*records, evidence, earlier)
    parts = {part: f"{RESULTS}samples/{part}.jsonl" for part in ("train", "validation", "test")}
    if set(parts.values()) <= set(files.names()):  # prices that may not be published are in them
        counts = {part: len(content(files, name).splitlines()) for part, name in parts.items()}
        market, how = sources["market/summary.json"], how_to_get(settings)
        card = data_card(market, counts, settings["samples"], how, run["data_licence"])
        yield "data/data-card.md", card


def _text_problems(name: str, said: str, made: str) -> list[str]:
    for mine, theirs in zip_longest(said.split("\n"), made.split("\n"), fillvalue="nothing more"):
        if mine != theirs:
            return [f"{name}: says {mine!r}, the results give {theirs!r}"]
    return []
