"""Reading decisions: every way in which the file can be wrong names the file, the line and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import InputError
from trading.decisions import check_same_questions, first_bar, read_decisions

TIMES = [f"2025-01-01T{hour:02d}:00:00Z" for hour in range(10)]


def row(number: int, **changes: Any) -> dict[str, Any]:
    """A decision for hour `number` + 3."""
    return {
        "id": f"test-{number:06d}",
        "timestamp": TIMES[number + 3],
        "decision": "BUY",
        "status": "ok",
        "prompt_sha256": f"hash {number}",
    } | changes


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{r if isinstance(r, str) else json.dumps(r)}\n" for r in rows))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "decisions.jsonl"


def test_decisions_are_read_in_order(file: Path) -> None:
    found = read_decisions(write(file, [row(0), row(1, decision="SELL")]))
    assert found.ids == ["test-000000", "test-000001"]
    assert found.decisions == ["BUY", "SELL"]
    assert found.timestamps == TIMES[3:5]


def test_an_invalid_answer_trades_as_the_policy_says_and_is_counted(file: Path) -> None:
    rows = [
        row(0),
        row(1, decision="HOLD", status="truncated"),
        row(2, decision="SELL"),
        row(3, decision="HOLD", status="unparsable"),
    ]
    found = read_decisions(write(file, rows))
    np.testing.assert_array_equal(found.directions("HOLD"), [1, 0, -1, 0])
    np.testing.assert_array_equal(found.directions("BUY"), [1, 1, -1, 1])
    np.testing.assert_array_equal(found.directions("SELL"), [1, -1, -1, -1])
    assert (found.count("truncated"), found.count("unparsable"), found.invalid) == (1, 1, 2)


def test_a_finished_answer_trades_as_it_says(file: Path) -> None:
    rows = [row(0, status="finished"), row(1, decision="SELL", status="finished"), row(2, decision="SELL")]
    found = read_decisions(write(file, rows))
    np.testing.assert_array_equal(found.directions("HOLD"), [1, -1, -1])
    assert (found.count("finished"), found.invalid) == (2, 0)


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        ([row(0), "{broken"], 2, "not a JSON object"),
        ([row(0, decision="WAIT")], 1, 'decision "WAIT" is none of BUY, SELL, HOLD'),
        ([row(0, status="fine")], 1, 'status "fine" is none of'),
        ([row(0, decision="HOLD")], 1, "decision HOLD does not go with status ok"),
        ([row(0, status="truncated")], 1, "decision BUY does not go with status truncated"),
        ([row(0, decision="HOLD", status="finished")], 1, "decision HOLD does not go with status finished"),
        ([row(0, timestamp=5)], 1, 'no text under "timestamp"'),
        ([row(0, id="sample 0")], 1, 'id "sample 0" is not a split and a running number'),
        ([row(0), row(1), row(1)], 3, "a second decision for test-000001, which line 2 has already"),
        ([row(0), row(2)], 2, "expected test-000001, found test-000002: a decision is missing"),
        ([row(1), row(0)], 1, "expected test-000000, found test-000001: a decision is missing"),
        ([row(0), row(1, id="train-000001")], 2, "found train-000001: the decisions are not in order"),
    ],
)
def test_a_wrong_line_is_named(file: Path, rows: list[Any], line: int, words: str) -> None:
    with pytest.raises(InputError) as error:
        read_decisions(write(file, rows))
    assert str(error.value).startswith(f"{file}, line {line}: ")
    assert words in str(error.value)


def test_decisions_begin_at_their_bar(file: Path) -> None:
    assert first_bar(read_decisions(write(file, [row(0), row(1)])), TIMES, "bars.csv") == 3


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        ([row(0, timestamp="2024-01-01T00:00:00Z")], 1, "a time that bars.csv does not have"),
        ([row(0), row(1, timestamp=TIMES[5])], 2, "the bar that follows the decision before it is 2025-01-01T04"),
        ([row(0), row(1, timestamp=TIMES[3])], 2, "the bar that follows the decision before it is 2025-01-01T04"),
        ([row(number) for number in range(7)], 7, "there is no next close to settle it at"),
    ],
)
def test_a_decision_off_the_bars_is_named(file: Path, rows: list[Any], line: int, words: str) -> None:
    decisions = read_decisions(write(file, rows))
    with pytest.raises(InputError) as error:
        first_bar(decisions, TIMES, "bars.csv")
    assert str(error.value).startswith(f"{file}, line {line}: ")
    assert words in str(error.value)


def test_two_models_must_have_answered_the_same_samples(tmp_path: Path) -> None:
    one = read_decisions(write(tmp_path / "a.jsonl", [row(0), row(1)]))
    check_same_questions(one, read_decisions(write(tmp_path / "b.jsonl", [row(0), row(1, decision="SELL")])))
    for rows, words in (
        ([row(0)], "1 decisions, but"),
        ([row(0), row(1, prompt_sha256="other")], "line 2: another prompt than"),
        ([row(0), row(1, timestamp=TIMES[6])], "line 2: another time than"),
    ):
        with pytest.raises(InputError, match=words):
            check_same_questions(one, read_decisions(write(tmp_path / "c.jsonl", rows)))
