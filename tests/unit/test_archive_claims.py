"""The claims ledger: each number of a deck belongs to one field, and to that one only."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from report_runs import KINDS, Shelf

from archiving.verification.ledger import cited, claims_of, said
from archiving.verification.slides import NO_ROW, Slide, read_slides
from archiving.verification.values import MINUS, NUMBER, field

DECK = "leverage-2/deck.pptx"
# Numbers that no field gives: of the slide's place in the deck, and of two fixed wordings.
WITHOUT_FIELD = ("number of the slide", "fixed words")


@pytest.fixture(scope="module")
def decks(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("claims"))


def evidence_of(decks: Shelf, kind: str) -> tuple[list[Slide], dict[str, Any], bytes]:
    """A deck's slides, the run's JSON files and the deck's file."""
    folder = decks[kind][0].folder
    leverage = f"leverage-{KINDS[kind].get('leverage', 2)}"
    sources = {p.relative_to(folder).as_posix(): json.loads(p.read_text()) for p in sorted(folder.rglob("*.json"))}
    sources |= {name.replace("leverage-2/", f"{leverage}/"): value for name, value in sources.items()}
    blob = (folder / DECK).read_bytes()
    return read_slides(DECK, blob), sources, blob


# --- what belongs to what ---


def claims(text: str, note: str, **sources: Any) -> list[dict[str, Any]]:
    slide = Slide(7, [text], [NO_ROW], [], [note], [])
    return claims_of([slide], {f"{name}.json": value for name, value in sources.items()})


def test_a_line_of_the_notes_is_read_back() -> None:
    line = "- It [really] fell 3.00%. [m.json: market.return; n.json: a + b; fixed wording]"
    assert said(line) == "It [really] fell 3.00%."
    assert cited(line) == [("m.json", "market.return"), ("n.json", "a + b")]
    assert cited("- n/a [fixed wording, no figure in it]") == []
    assert cited("Where each statement comes from:") == []


def test_two_equal_numbers_go_to_two_fields() -> None:
    found = claims("4 prompts x 4 answers", "- 4 prompts x 4 answers [m.json: a; m.json: b]", m={"a": 4, "b": 4})
    assert [claim["field"] for claim in found] == ["a", "b"]


def test_a_field_gives_one_number_unless_it_is_cited_twice() -> None:
    found = claims("4 prompts x 4 answers", "- 4 prompts x 4 answers [m.json: a; m.json: b]", m={"a": 4, "b": 8})
    assert [claim["how"] for claim in found] == ["number", "unexplained"]
    found = claims(
        "1 of 9, 2 of 9", "- 1 of 9, 2 of 9 [m.json: a; m.json: n; m.json: b; m.json: n]", m={"a": 1, "b": 2, "n": 9}
    )
    assert [claim["field"] for claim in found] == ["a", "n", "b", "n"]


def test_two_numbers_that_changed_places_are_unexplained() -> None:
    found = claims("8 prompts x 4 answers", "- 8 prompts x 4 answers [m.json: a; m.json: b]", m={"a": 4, "b": 8})
    assert "unexplained" in [claim["how"] for claim in found]


def test_a_number_that_only_the_fields_of_another_sentence_give_is_unexplained() -> None:
    notes = ["- It made 12.00%. [m.json: a]", "- Other. [m.json: other]", "- It made 12.00%. Really. [m.json: other]"]
    slide = Slide(7, ["It made 12.00%."], [NO_ROW], [], notes, [])
    (claim,) = claims_of([slide], {"m.json": {"a": 0.13, "other": 0.12}})
    assert claim["how"] == "unexplained"


def test_equal_cells_go_to_the_rows_that_they_stand_in() -> None:
    notes = [
        *("- One [m.json: strategies.a.label]", "- +12% [m.json: strategies.a.x]"),
        *("- Two [m.json: strategies.b.label]", "- +12% [m.json: strategies.b.x]"),
    ]
    rows = [{"key": "a", "label": "One", "x": 0.12}, {"key": "b", "label": "Two", "x": 0.12}]
    slide = Slide(4, ["One", "+12%", "Two", "+12%"], [0, 0, 1, 1], [], notes, [])
    assert [claim["field"] for claim in claims_of([slide], {"m.json": {"strategies": rows}})] == [
        "strategies.a.x",
        "strategies.b.x",
    ]
    swapped = replace(slide, notes=[notes[0], notes[3], notes[2], notes[1]])
    assert [claim["how"] for claim in claims_of([swapped], {"m.json": {"strategies": rows}})] == ["unexplained"] * 2


@pytest.mark.parametrize(
    ("text", "value", "how"),
    [
        ("p < 0.0001", 0.00003, "less than"),
        ("p < 0.0001", 0.003, "unexplained"),
        ("beats more than 99.9%", 0.9997, "more than"),
        ("beats more than 99.9%", 0.97, "unexplained"),
    ],
)
def test_a_bound_stands_for_what_lies_beyond_it(text: str, value: float, how: str) -> None:
    assert [claim["how"] for claim in claims(text, f"- {text} [m.json: a]", m={"a": value})] == [how]


def test_a_number_in_the_author_s_name_is_the_author_s() -> None:
    slide = Slide(1, ["Group 42", "Group 43"], [NO_ROW] * 2, [], [], [], "Group 42")
    assert [claim["how"] for claim in claims_of([slide], {})] == ["text", "unexplained"]


# --- whole decks ---


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_a_deck_has_one_field(decks: Shelf, kind: str) -> None:
    slides, sources, _ = evidence_of(decks, kind)
    found = claims_of(slides, sources)
    assert [(c["slide"], c["number"], c["text"]) for c in found if c["how"] == "unexplained"] == []
    assert sum("file" in claim for claim in found) > 100


def place_of(record: Any, path: str) -> tuple[Any, Any]:
    """The section or list in which a field stands, and its key there."""
    *sections, last = path.split(".")
    for part in sections:
        record = field(record, part)
    return record, int(last) if isinstance(record, list) else last


def fields_of(claim: dict[str, Any]) -> list[str]:
    """The fields that a claim's number is made of; of a count the first row."""
    return re.sub(r"^(abs|count)\(|^1e4\*|\)$", "", claim["field"]).split(" + ")


def changed(value: Any) -> Any:
    """Another value, far enough for any rounding."""
    if isinstance(value, str):
        return re.sub(r"\d", lambda digit: str(9 - int(digit[0])), value)
    return value + 1 if isinstance(value, int) else 1.37 * value + 1.0731


class Files:
    """An archive's files in memory."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def names(self) -> list[str]:
        return sorted(self.files)

    def chunks(self, name: str) -> Iterator[bytes]:
        yield self.files[name]


@pytest.mark.parametrize("kind", KINDS)
def test_each_changed_field_is_found_even_if_the_ledger_is_made_again(decks: Shelf, kind: str) -> None:
    slides, sources, _ = evidence_of(decks, kind)
    places = {(c["file"], path, c["how"]) for c in claims_of(slides, sources) if "file" in c for path in fields_of(c)}
    assert len(places) > 60
    for file, path, how in sorted(places):
        forged = sources | {file: copy.deepcopy(sources[file])}
        section, key = place_of(forged[file], path)
        if isinstance(section[key], dict):
            section[key].popitem()  # of which the deck shows the count
        else:
            section[key] = 0.5 if how in ("less than", "more than") else changed(section[key])
        assert any(c["how"] == "unexplained" for c in claims_of(slides, forged)), f"{file}: {path}"


def others(number: str) -> Iterator[str]:
    """Other numbers of the same form: each digit changed in each way, and the other sign."""
    for at, digit in enumerate(number):
        digits = next((d for d in ("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹") if digit in d), "")
        if not number.startswith("iter_"):
            yield from (f"{number[:at]}{new}{number[at + 1 :]}" for new in digits if new != digit)
    if number[0] in f"+{MINUS}" and re.search("[1-9]", number):
        yield (MINUS if number[0] == "+" else "+") + number[1:]
    if number.startswith("iter_"):
        yield f"{number[:-1]}{9 - int(number[-1])}"


@pytest.mark.parametrize("kind", KINDS)
def test_each_changed_number_is_found_even_if_notes_and_ledger_are_made_again(decks: Shelf, kind: str) -> None:
    slides, sources, _ = evidence_of(decks, kind)
    accepted = []
    for slide in slides:
        pieces = [*zip(slide.texts, slide.rows, strict=True), *((text, NO_ROW) for text in slide.described)]
        for at, (text, row) in enumerate(pieces):
            beside = [other for i, (other, its) in enumerate(pieces) if i != at and its == row != NO_ROW][:1]
            notes = [note for note in slide.notes if said(note) in (text, *beside)]
            for match in NUMBER.finditer(text):
                for other in others(match[0]):
                    new = text[: match.start()] + other + text[match.end() :]
                    noted = [note.replace(f"- {text} [", f"- {new} [") for note in notes]
                    forged = Slide(slide.number, [*beside, new], [row] * (1 + len(beside)), [], noted, [])
                    claimed = [claim for claim in claims_of([forged], sources) if claim["text"] == new]
                    assert claimed
                    if not any(claim["how"] == "unexplained" for claim in claimed):
                        accepted.append((slide.number, text, other))
    assert accepted == []
