"""What replay and retrain call the same, close, or different."""

from __future__ import annotations

import json

import pytest

from archiving.replaying.difference import CLOSE, OTHER, SAME, difference, told

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
