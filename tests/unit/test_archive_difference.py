"""What replay and retrain call the same, close, or different."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from archiving.replaying import promise
from archiving.replaying.difference import CLOSE, OTHER, SAME, difference, told
from archiving.replaying.workplace import Workplace

METRICS = {"strategies": [{"key": "a", "final_capital": 100.0}], "inputs": {"bars": "aa"}, "seconds": 1.0}


def changed(**more: object) -> bytes:
    return json.dumps(METRICS | more).encode()


def kind(name: str, before: bytes, after: bytes) -> str:
    return difference(name, before, after, 1e-6).kind


def test_equal_bytes_are_the_same() -> None:
    assert kind("a.png", b"x", b"x") == SAME


def test_times_and_hashes_of_inputs_are_no_difference() -> None:
    assert kind("a.json", changed(), changed(seconds=2.0, inputs={"bars": "bb"})) == SAME


@pytest.mark.parametrize(("capital", "expected"), [(100.00001, CLOSE), (100.01, OTHER), (None, OTHER), ("x", OTHER)])
def test_numbers_are_compared_with_the_tolerance(capital: object, expected: str) -> None:
    other = changed(strategies=[{"key": "a", "final_capital": capital}])
    assert kind("a.json", changed(), other) == expected


def test_rows_that_are_missing_are_different() -> None:
    assert kind("a.jsonl", b'{"a": 1}\n{"a": 2}\n', b'{"a": 1}\n') == OTHER
    assert kind("a.csv", b"a,b\n1,2\n", b"a,b\n1,2.0000001\n") == CLOSE
    assert kind("a.csv", b"a,b\n1,2\n", b"a,b\n1,3\n") == OTHER
    assert kind("a.csv", b"a\nx\n", b"a\ny\n") == OTHER


def test_the_place_is_named() -> None:
    found = difference("a.json", changed(), changed(strategies=[{"key": "a", "final_capital": 90.0}]), 1e-6)
    assert found.words == "1 values differ, the most strategies[1].final_capital: 100.0 there, 90.0 here"


def test_other_pictures_are_different() -> None:
    assert kind("a.png", b"x", b"y") == OTHER


def test_the_promise_is_equal_bytes_on_the_same_processor_and_the_tolerance_on_another() -> None:
    same = difference("a.json", b"{}", b"{}", 1e-6)
    close = difference("a.csv", b"1\n", b"1.0000001\n", 1e-6)
    other = difference("b.csv", b"1\n", b"2\n", 1e-6)
    picture = difference("b.png", b"1\n", b"2\n", 1e-6)
    assert told([same], True, True)[1]
    assert not told([same, close], True, True)[1]
    assert told([same, close, picture], False, True)[1]
    assert not told([same, other], False, True)[1]
    assert told([same, other], False, False)[1]
    assert not told([same, picture], True, False)[1]


@pytest.mark.parametrize(
    ("there", "kind", "code"),
    [
        ("Kind A", "The processor is of the same kind, so every byte should be the same.", 1),
        ("Kind B", "The archive was made on another kind of processor.", 0),
        ("unknown (aarch64)", "Whether the archive was made on the same kind of processor is not known.", 0),
    ],
)
def test_what_is_said_of_processors_is_what_their_names_tell(
    there: str, kind: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(promise, "processor", lambda: "Kind A")
    monkeypatch.setattr(promise, "content", lambda files, name: json.dumps({"processor": there}).encode())
    place = cast(Workplace, SimpleNamespace(files=None, results=Path("results")))
    with pytest.raises(SystemExit) as ended:
        promise.finish(place, [difference("a.csv", b"1\n", b"1.0000001\n", 1e-6)], strict=True)
    assert ended.value.code == code
    _, _, said, *made_on, _ = capsys.readouterr().out.splitlines()
    assert said == kind
    assert made_on == ([] if there == "Kind A" else [f"Made on: {there}. This is: Kind A."])


def picture(shade: int, note: str) -> bytes:
    """A small PNG file with a note."""
    out, notes = io.BytesIO(), PngInfo()
    notes.add_text("Metrics-SHA256", note)
    Image.new("L", (3, 2), shade).save(out, "png", pnginfo=notes)
    return out.getvalue()


def test_pictures_are_compared_by_their_pixels() -> None:
    assert kind("a.png", picture(1, "a"), picture(1, "b")) == CLOSE
    assert kind("a.png", picture(1, "a"), picture(2, "a")) == OTHER
    assert kind("a.png", picture(1, "a"), picture(1, "a")[:-30]) == OTHER
    assert kind("a.png", picture(1, "a"), b"none") == OTHER


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (f'<path d="M 1.5 -2e-3"/> {"b" * 64}', CLOSE),
        (f'<path d="M 1.5000001 -2e-3"/> {"a" * 64}', CLOSE),
        (f'<path d="M 1.6 -2e-3"/> {"a" * 64}', OTHER),
        (f'<path d="L 1.5 -2e-3"/> {"a" * 64}', OTHER),
        (f'<path d="M 1.5 -2e-3 7"/> {"a" * 64}', OTHER),
    ],
)
def test_drawings_are_compared_by_shapes_and_numbers(after: str, expected: str) -> None:
    before = f'<path d="M 1.5 -2e-3"/> {"a" * 64}'
    assert kind("a.svg", before.encode(), after.encode()) == expected
