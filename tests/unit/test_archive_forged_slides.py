"""verify.py: slides and figures that a forger changed, with new checksums."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from archive_inputs import (
    DECK,
    METRICS,
    hashed,
    in_deck,
    in_json,
    problems,
    read,
    replaced,
    shown_return,
    tampered,
)

from archiving.verification.ledger import LEDGER, deck_entry


def test_a_changed_number_on_a_slide_is_named(packed: Path, tmp_path: Path) -> None:
    number = shown_return(packed)
    other = re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), number)
    change = in_deck("ppt/slides/slide4.xml", replaced(number.encode(), other.encode()))
    found = problems(tampered(packed, tmp_path / "other.zip", change))
    assert any(f"{DECK}, slide 4" in line and other in line and number in line for line in found)


def test_a_number_changed_on_the_slide_and_in_the_ledger_is_named(packed: Path, tmp_path: Path) -> None:
    number = shown_return(packed)
    other = re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), number)

    def everywhere(files: dict[str, bytes]) -> None:
        files[LEDGER] = files[LEDGER].replace(number.encode(), other.encode())

    changes = [
        in_deck(f"ppt/{part}/{kind}{page}.xml", lambda content: content.replace(number.encode(), other.encode()) + b" ")
        for page in range(1, 10)
        for part, kind in (("slides", "slide"), ("notesSlides", "notesSlide"))
    ]
    found = problems(tampered(packed, tmp_path / "other.zip", everywhere, *changes))
    assert any(other in line and "no longer gives it" in line for line in found)


def test_a_changed_p_value_is_named(packed: Path, tmp_path: Path) -> None:
    """Alone, and with a ledger that was made again to go with it."""

    def better(evidence: Any) -> None:
        evidence["tests"]["bootstrap"]["differences"]["always_buy"]["p_value_corrected"] = 0.003

    def ledger(files: dict[str, bytes]) -> None:
        (deck,) = json.loads(files[LEDGER])["decks"]
        sources = {
            name.removeprefix("data/results/"): json.loads(c) for name, c in files.items() if name[-5:] == ".json"
        }
        pictures = {hashed(c): name.removeprefix("data/results/") for name, c in files.items() if name[-4:] == ".png"}
        files[LEDGER] = json.dumps({"decks": [deck_entry(deck["deck"], files[DECK], sources, pictures)]}).encode()

    evidence = "data/results/leverage-2/evidence.json"
    found = problems(tampered(packed, tmp_path / "other.zip", in_json(evidence, better)))
    assert any("p_value_corrected" in line and "no longer gives it" in line for line in found)
    found = problems(tampered(packed, tmp_path / "other.zip", in_json(evidence, better), ledger))
    assert any(line.startswith(f"{DECK}, slide 7: ") and line.endswith("no file gives it") for line in found)
    assert problems(tampered(packed, tmp_path / "same.zip", ledger)) == []  # a control


def test_a_changed_number_in_notes_and_of_a_picture_s_description_is_named(packed: Path, tmp_path: Path) -> None:
    number = shown_return(packed)
    for part, what in (("notesSlides/notesSlide4.xml", "in its notes "), ("slides/slide5.xml", "of a picture ")):
        change = in_deck(f"ppt/{part}", replaced(number.encode(), b"+999%"))
        found = problems(tampered(packed, tmp_path / "other.zip", change))
        assert any(f"says {what}" in line and "+999%" in line for line in found), found


def test_a_swapped_figure_is_named(packed: Path, tmp_path: Path) -> None:
    figures = "data/results/leverage-2"

    def swapped(files: dict[str, bytes]) -> None:
        one, two = f"{figures}/equity_curve.png", f"{figures}/bootstrap_fan.png"
        files[one], files[two] = files[two], files[one]

    found = "\n".join(problems(tampered(packed, tmp_path / "other.zip", swapped)))
    assert "shows leverage-2/bootstrap_fan.png, the ledger has leverage-2/equity_curve.png" in found


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_two_swapped_figures_that_no_slide_shows_are_named(packed: Path, tmp_path: Path, kind: str) -> None:
    one, two = (f"data/results/leverage-2/{name}.{kind}" for name in ("drawdown", "decisions"))

    def swapped(files: dict[str, bytes]) -> None:
        files[one], files[two] = files[two], files[one]

    found = problems(tampered(packed, tmp_path / "other.zip", swapped))
    assert f"{one}: is another figure, or none: its title is not drawdown" in found
    assert f"{two}: is another figure, or none: its title is not decisions" in found


def test_a_figure_swapped_inside_the_deck_is_named(packed: Path, tmp_path: Path) -> None:
    foreign = read(packed)["data/results/leverage-2/drawdown.png"]
    change = in_deck("ppt/media/image1.png", lambda content: foreign)
    found = "\n".join(problems(tampered(packed, tmp_path / "other.zip", change)))
    assert "shows leverage-2/drawdown.png, the ledger has" in found


def test_a_figure_of_another_run_is_named(packed: Path, tmp_path: Path) -> None:
    name = "data/results/leverage-2/drawdown.png"

    def foreign(files: dict[str, bytes]) -> None:
        files[name] = files[name].replace(hashed(files[METRICS]).encode(), b"0" * 64)

    found = problems(tampered(packed, tmp_path / "other.zip", foreign))
    assert f"{name}: was not drawn of {METRICS}" in found
