"""The claims ledger: every number on a slide, the field of a result that it comes from, and that field's value."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from archiving.verification.container import ArchiveError, Files, content
from archiving.verification.slides import NO_ROW, Slide, read_slides
from archiving.verification.values import NUMBER, is_name, shows, terms

LEDGER, RESULTS, WITHHELD = "data/claims.json", "data/results/", "data/withheld.json"
NOTE = re.compile(r"- (.*) \[([^\[\]]*)\]")
# Numbers that belong to a sentence's fixed words and to nothing that was computed.
FIXED = re.compile(r"(?<=above )1(?=\))|(?<=^Total return above )0(?= \(block bootstrap\)$)")
# What is too small or too large to be written out.
BOUNDS = re.compile(r"(?<=p < )0\.0001|(?<=<)0\.001(?=x)|(?<=>)1,000,000(?=x)|(?<=more than )99\.9%")
BEYOND = re.compile(r"(?:[<>] ?|more than )$")
# A strategy's field, by its key.
STRATEGY = re.compile(r"(?:^|[.(])(?:strategies|differences)\.(\w+)")

Sources = Mapping[str, Any]  # file below the results to what it holds
Claim = dict[str, Any]


def cited(note: str) -> list[tuple[str, str]]:
    """Files and fields behind a line of the speaker notes, as the deck writes it: "- text [file: field; ...]"."""
    match = NOTE.fullmatch(note)
    places = [source.partition(": ") for source in match[2].split("; ")] if match else []
    return [(file, name) for file, colon, name in places if colon]


def said(note: str) -> str:
    """The text that a line of the speaker notes is about."""
    match = NOTE.fullmatch(note)
    return match[1] if match else ""


def claims_of(slides: Sequence[Slide], sources: Sources) -> list[Claim]:
    """One claim for each number on the slides, in what they show and in what they say of their pictures.

    A number must be given by a field that the notes cite for its own text. A text's numbers follow its citations in
    their order, each citation giving one number at most (a list one for each of its values), so that no number stands
    for the field of another. Equal texts, as in a table's cells, have the notes in their order. What cites another
    strategy than its row is about gives nothing. A claim without a file is explained by nothing.
    """
    found = []
    for slide in slides:
        notes: dict[str, list[str]] = {}
        for note in slide.notes:
            notes.setdefault(said(note), []).append(note)
        of_row: dict[int, str] = {}
        for text, row in [*zip(slide.texts, slide.rows, strict=True), *((text, NO_ROW) for text in slide.described)]:
            own = notes.get(text) or [""]
            places = cited(own.pop(0) if len(own) > 1 else own[0])
            if row != NO_ROW:
                about = of_row.setdefault(row, next(filter(None, (_strategy(name) for _, name in places)), ""))
                places = [place for place in places if not about or _strategy(place[1]) in ("", about)]
            given = [(file, *term) for file, name in places if file in sources for term in terms(sources[file], name)]
            # Who made the deck may have a number in the name, which no result knows of.
            if text == slide.author and not places:
                given = [("the deck's properties", "author", slide.author)]
            found += _text_claims(slide.number, text, given)
    return found


def _strategy(name: str) -> str:
    """The key of the strategy whose field it is, if it is one's."""
    match = STRATEGY.search(name)
    return match[1] if match else ""


def _text_claims(slide: int, text: str, given: list[tuple[str, str, Any]]) -> list[Claim]:
    """The claims of one text, from what its citations give."""
    found = []
    for match in NUMBER.finditer(text):
        claim: Claim = {"how": "unexplained"}
        if text == str(slide):
            claim = {"how": "number of the slide"}
        elif any(fixed.span() == match.span() for fixed in FIXED.finditer(text)):
            claim = {"how": "fixed words"}
        else:
            for i, (file, path, value) in enumerate(given):
                how = _how(text, match, value)
                if how:
                    claim = {"how": how, "file": file, "field": path, "value": value}
                    if how != "text":  # a name may hold several numbers
                        # What was cited before it has been shown, or is no number; names may stand anywhere.
                        given = [term for term in given[:i] if is_name(term[2])] + given[i + 1 :]
                    break
        found.append({"slide": slide, "text": text, "at": match.start(), "number": match[0]} | claim)
    return found


def _how(text: str, match: re.Match[str], value: Any) -> str | None:
    """How a number in a text follows from a value, if it does."""
    how = shows(match[0], value)
    if isinstance(value, str) and how != "time":
        return "text" if _in_name(text, match, value) else None
    if BEYOND.search(text[: match.start()]):
        if type(value) not in (int, float) or not any(b.span() == match.span() for b in BOUNDS.finditer(text)):
            return None
        limit = float(match[0].rstrip("%").replace(",", "")) / (100 if match[0].endswith("%") else 1)
        below = "<" in text[: match.start()][-2:]
        return ("less than" if below else "more than") if (value < limit if below else value > limit) else None
    return how


def _in_name(text: str, match: re.Match[str], name: str) -> bool:
    """Whether a number is part of a name, a version or the like that stands in the text.

    A name may begin with a capital letter that is not its own, and a long one may be cut in its middle.
    """
    head, cut, tail = text.partition("…")
    if cut and name.lower().startswith(head.lower()) and name.endswith(tail):
        return True
    at = text.lower().find(name.lower())
    while at >= 0:
        if at <= match.start() and match.end() <= at + len(name):
            return True
        at = text.lower().find(name.lower(), at + 1)
    return False


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
            {
                "slide": s.number,
                "texts": s.texts,
                "pictures": [pictures.get(sha, sha) for sha in s.pictures],
                "described": s.described,
                "notes": s.notes,
            }
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
        for part, what in (("texts", ""), ("described", "of a picture "), ("notes", "in its notes ")):
            changed = _changed(mine[part], theirs[part])
            problems += [f"{where}: says {what}{now!r}, the ledger has {before!r}" for before, now in changed]
            if not changed and mine[part] != theirs[part]:
                problems.append(f"{where}: what it says {what}is in another order than in the ledger")
        if mine["pictures"] != theirs["pictures"]:
            shown = ", ".join(theirs["pictures"]) or "no picture"
            problems.append(f"{where}: shows {shown}, the ledger has {', '.join(mine['pictures']) or 'no picture'}")
    if len(ledger["slides"]) != len(found["slides"]):
        problems.append(f"{RESULTS}{deck}: {len(found['slides'])} slides, the ledger has {len(ledger['slides'])}")
    if not problems:
        for mine, theirs in zip(ledger["claims"], found["claims"], strict=False):
            if mine != theirs or mine["how"] == "unexplained":
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
