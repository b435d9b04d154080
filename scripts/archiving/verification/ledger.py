"""The claims ledger: every number on a slide, the field of a result that it comes from, and that field's value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from archiving.verification.container import ArchiveError, Files, content
from archiving.verification.slides import Slide, read_slides
from archiving.verification.values import NUMBER, exactly, field, shows

LEDGER, RESULTS, WITHHELD = "data/claims.json", "data/results/", "data/withheld.json"
NOTE = re.compile(r"- (.*) \[([^\[\]]*)\]")
# Numbers that belong to a sentence's fixed words and to nothing that was computed.
FIXED = re.compile(r"(?<=above )1(?=\))")

# A field with more values than this is a curve or a table that a picture shows.
CURVE = 50

Sources = Mapping[str, Any]  # file below the results to what it holds
Claim = dict[str, Any]


def cited(note: str) -> list[tuple[str, str]]:
    """Files and fields behind a line of the speaker notes, as the deck writes it: "- text [file: field; ...]"."""
    match = NOTE.fullmatch(note)
    found = []
    for source in match[2].split("; ") if match else []:
        file, colon, fields = source.partition(": ")
        found += [(file, name) for name in fields.split(", ")] if colon else []
    return found


def said(note: str) -> str:
    """The text that a line of the speaker notes is about."""
    match = NOTE.fullmatch(note)
    return match[1] if match else ""


def claims_of(slides: Sequence[Slide], sources: Sources) -> list[Claim]:
    """One claim for each number on the slides; one without a file is explained by nothing.

    A number is looked for among the fields that the notes cite for its sentence, then among all fields that the
    deck cites: titles and footers have no note of their own.
    """

    @cache
    def values_of(file: str, name: str) -> list[tuple[str, Any]]:
        return field(sources[file], name) if file in sources else []

    everywhere = [place for slide in slides for note in slide.notes for place in cited(note)]
    everywhere = [place for place in everywhere if len(values_of(*place)) <= CURVE]
    found = []
    for slide in slides:
        for text in slide.texts:
            used: set[tuple[str, str]] = set()
            own = [place for note in slide.notes if text in said(note) for place in cited(note)]
            # Some value of a curve matches any number: curves come last, and only where the sentence cites them.
            narrow, curves = ([p for p in own if (len(values_of(*p)) > CURVE) == wide] for wide in (False, True))
            for match in NUMBER.finditer(text):
                where = {"slide": slide.number, "text": text, "at": match.start(), "number": match[0]}
                claim = _explained(text, match, slide, (narrow, everywhere, curves), values_of, used)
                used.add((claim.get("file", ""), claim.get("field", "")))
                found.append(where | claim)
    return found


def _explained(
    text: str,
    match: re.Match[str],
    slide: Slide,
    places: Sequence[Sequence[tuple[str, str]]],
    values_of: Callable[[str, str], list[tuple[str, Any]]],
    used: set[tuple[str, str]],
) -> Claim:
    if text == str(slide.number):
        return {"how": "number of the slide"}
    if any(fixed.span() == match.span() for fixed in FIXED.finditer(text)):
        return {"how": "fixed words"}
    in_basis_points = any("basis point" in other or " bp " in other for other in slide.texts)
    forms = [_in_text, _as_value, _as_sum, _in_other_words, _as_bound, *([_in_basis_points] if in_basis_points else [])]
    for cited_places in places:
        values = [
            (file, path, value) for file, name in dict.fromkeys(cited_places) for path, value in values_of(file, name)
        ]
        # What was not rounded comes first, and what the sentence has not shown yet.
        values.sort(key=lambda v: (not exactly(match[0], v[2]), (v[0], v[1]) in used))
        for form in forms:
            claim = form(text, match, values)
            if claim:
                return claim
    return {"how": "unexplained"}


def _in_text(text: str, match: re.Match[str], values: Sequence[tuple[str, str, Any]]) -> Claim | None:
    """Part of a text that a field holds: a name, a version, a time or a whole sentence."""
    for file, path, value in values:
        if isinstance(value, str) and value:
            at = text.find(value)
            while at >= 0:
                if at <= match.start() and match.end() <= at + len(value):
                    return {"how": "text", "file": file, "field": path, "value": value}
                at = text.find(value, at + 1)
            if re.fullmatch(r"\d{4}-\d\d-\d\d", match[0]) and value.startswith(f"{match[0]}T"):
                return {"how": "text", "file": file, "field": path, "value": value}
    return None


def _in_other_words(text: str, match: re.Match[str], values: Sequence[tuple[str, str, Any]]) -> Claim | None:
    """A number of a field's text that the slide words otherwise: "24 bars" as "24 hours"."""
    alone = re.compile(rf"(?<![\w.,]){re.escape(match[0])}(?![\w.,]*\d)")
    for file, path, value in values:
        if isinstance(value, str) and alone.search(value):
            return {"how": "in other words", "file": file, "field": path, "value": value}
    return None


def _as_value(text: str, match: re.Match[str], values: Sequence[tuple[str, str, Any]]) -> Claim | None:
    for file, path, value in values:
        how = None if isinstance(value, str) else shows(match[0], value)
        if how:
            return {"how": how, "file": file, "field": path, "value": value}
    return None


def _in_basis_points(text: str, match: re.Match[str], values: Sequence[tuple[str, str, Any]]) -> Claim | None:
    """A return in hundredths of a percent, on a slide that speaks of them."""
    for file, path, value in values:
        if type(value) is float and "%" not in match[0] and shows(match[0], 1e4 * value):
            return {"how": "basis points", "file": file, "field": path, "value": value}
    return None


def _as_bound(text: str, match: re.Match[str], values: Sequence[tuple[str, str, Any]]) -> Claim | None:
    """A p-value too small to be written out: "p < 0.0001"."""
    if text[: match.start()].endswith("p < "):
        for file, path, value in values:
            if path.endswith("p_value") and type(value) in (int, float) and value < float(match[0]):
                return {"how": "less than", "file": file, "field": path, "value": value}
    return None


def _as_sum(text: str, match: re.Match[str], values: Sequence[tuple[str, str, Any]]) -> Claim | None:
    """The sum of two counts of the same row, such as truncated and unparsable answers."""
    counts = [(file, path, value) for file, path, value in values if type(value) is int]
    for i, (file, path, value) in enumerate(counts):
        for other_file, other, more in counts[i + 1 :]:
            same_row = file == other_file and path.rpartition(".")[0] == other.rpartition(".")[0]
            if same_row and shows(match[0], value + more):
                return {"how": "sum", "file": file, "field": f"{path} + {other}", "value": [value, more]}
    return None


def deck_entry(name: str, blob: bytes, sources: Sources, pictures: Mapping[str, str]) -> dict[str, Any]:
    """What the ledger holds of one deck.

    Parameters
    ----------
    name
        Of the deck, below the results.
    sources
        The run's JSON files by name.
    pictures
        SHA-256 of the run's pictures to their names.
    """
    slides = read_slides(name, blob)
    return {
        "deck": name,
        "slides": [
            {"slide": s.number, "texts": s.texts, "pictures": [pictures.get(sha, sha) for sha in s.pictures]}
            for s in slides
        ],
        "claims": claims_of(slides, sources),
    }


def read_sources(files: Files) -> dict[str, Any]:
    """The run's JSON files by their name below the results."""
    found = {}
    for name in files.names():
        if name.startswith(RESULTS) and name.endswith(".json"):
            try:
                found[name.removeprefix(RESULTS)] = json.loads(content(files, name))
            except ValueError:
                raise ArchiveError(f"{name}: not JSON") from None
    return found


def check_ledger(files: Files, pictures: Mapping[str, str]) -> tuple[list[str], int]:
    """Problems, one line each, and how many numbers were followed from a slide to a file.

    The decks' slides must be the ledger's, and each number must still follow from the field that the ledger names.
    """
    try:
        entries = {entry["deck"]: entry for entry in json.loads(content(files, LEDGER))["decks"]}
        sources = read_sources(files)
    except (ValueError, KeyError, TypeError):
        return [f"{LEDGER}: not a ledger of claims"], 0
    decks = [n.removeprefix(RESULTS) for n in files.names() if n.startswith(RESULTS) and n.endswith(".pptx")]
    problems = [f"{LEDGER}: {RESULTS}{deck} is not in it" for deck in decks if deck not in entries]
    problems += [f"{LEDGER}: names {deck}, which is not there" for deck in entries if deck not in decks]
    count = 0
    for deck in decks:
        if deck in entries:
            found = deck_entry(deck, content(files, RESULTS + deck), sources, pictures)
            problems += _differences(deck, entries[deck], found)
            count += sum("file" in claim for claim in found["claims"])
    return problems, count


def _differences(deck: str, ledger: dict[str, Any], found: dict[str, Any]) -> list[str]:
    problems = []
    for mine, theirs in zip(ledger["slides"], found["slides"], strict=False):
        where = f"{RESULTS}{deck}, slide {theirs['slide']}"
        for before, now in _changed(mine["texts"], theirs["texts"]):
            problems.append(f"{where}: says {now!r}, the ledger has {before!r}")
        if mine["pictures"] != theirs["pictures"]:
            shown = ", ".join(theirs["pictures"]) or "no picture"
            problems.append(f"{where}: shows {shown}, the ledger has {', '.join(mine['pictures']) or 'no picture'}")
    if len(ledger["slides"]) != len(found["slides"]):
        problems.append(f"{RESULTS}{deck}: {len(found['slides'])} slides, the ledger has {len(ledger['slides'])}")
    if not problems:
        for mine, theirs in zip(ledger["claims"], found["claims"], strict=False):
            if mine != theirs:
                problems.append(_claim_problem(deck, mine, theirs))
        if len(ledger["claims"]) != len(found["claims"]):
            problems.append(
                f"{LEDGER}: {len(ledger['claims'])} claims of {deck}, its slides make {len(found['claims'])}"
            )
    return problems


def _changed(before: Sequence[str], now: Sequence[str]) -> list[tuple[str, str]]:
    missing = [text for text in before if text not in now]
    new = [text for text in now if text not in before]
    size = max(len(missing), len(new))
    pad = [""] * size
    return list(zip((missing + pad)[:size], (new + pad)[:size], strict=True))


def _claim_problem(deck: str, mine: Claim, theirs: Claim) -> str:
    where = f"{RESULTS}{deck}, slide {theirs['slide']}: {theirs['number']} in {theirs['text']!r}"
    before = f"{mine['file']}: {mine['field']} = {mine['value']!r}" if "file" in mine else "no file"
    if "file" not in theirs:
        return (
            f"{where}: by the ledger of {before}, which no longer gives it"
            if "file" in mine
            else f"{where}: no file gives it"
        )
    return f"{where}: by the ledger of {before}, now {theirs['file']}: {theirs['field']} = {theirs['value']!r} gives it"
