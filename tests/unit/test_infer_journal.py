"""The journal of answers: what a kill leaves is kept, what is torn is asked again, one writer at a time."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.journal import Answer, key_of, open_answers, settings_of
from inference.questions import Question

SETTINGS = {"temperature": 0.0, "max_new_tokens": 8}


def question(number: int) -> Question:
    return Question(number, f"test-{number:06d}", "2025-01-01T00:00:00Z", [1, 2, 3 + number], "0" * 64)


QUESTIONS = [question(number) for number in range(10)]


def answer(number: int) -> Answer:
    return Answer([number, 7], "stop", -0.5 * number)


def add(folder: Path, numbers: range) -> None:
    with open_answers(folder, SETTINGS) as answers:
        for n in numbers:
            answers.add(QUESTIONS[n], answer(n))


def missing(folder: Path, batch: int = 4) -> list[list[int]]:
    with open_answers(folder, SETTINGS) as answers:
        return [[q.number for q in part] for part in answers.missing(QUESTIONS, batch)]


def numbers(batches: list[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


def file_in(folder: Path) -> Path:
    return folder / key_of(SETTINGS) / "answers.jsonl"


def test_an_empty_journal_misses_everything_in_batches(tmp_path: Path) -> None:
    assert missing(tmp_path) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_answers_are_read_back_as_they_were_given(tmp_path: Path) -> None:
    add(tmp_path, range(0, 4))
    with open_answers(tmp_path, SETTINGS) as answers:
        assert (len(answers), answers.resumed) == (4, 4)
        assert answers[QUESTIONS[3]] == Answer([3, 7], "stop", -1.5)


def test_a_full_journal_misses_nothing(tmp_path: Path) -> None:
    add(tmp_path, range(0, 10))
    assert missing(tmp_path) == []


def test_only_what_is_missing_is_asked_in_full_batches(tmp_path: Path) -> None:
    with open_answers(tmp_path, SETTINGS) as answers:
        for n in (7, 0, 3):  # as they were finished
            answers.add(QUESTIONS[n], answer(n))
    assert missing(tmp_path) == [[1, 2, 4, 5], [6, 8, 9]]


def test_an_answer_can_be_read_by_others_before_the_next_one_comes(tmp_path: Path) -> None:
    with open_answers(tmp_path, SETTINGS) as answers:
        for n in range(3):
            answers.add(QUESTIONS[n], answer(n))
            assert file_in(tmp_path).read_bytes().count(b"\n") == n + 1


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(min_value=1, max_value=800))
def test_a_journal_cut_anywhere_keeps_its_whole_lines(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("journal")
    add(folder, range(0, 10))
    path = file_in(folder)
    whole = path.read_bytes()
    kept = whole[: max(0, len(whole) - cut)]
    path.write_bytes(kept)
    lines = kept.count(b"\n")
    assert numbers(missing(folder)) == list(range(lines, 10))
    add(folder, range(lines, 10))
    assert path.read_bytes() == whole


def test_a_broken_last_line_is_asked_again(tmp_path: Path) -> None:
    add(tmp_path, range(0, 4))
    with open(file_in(tmp_path), "a", encoding="utf-8") as handle:
        handle.write('{"id": "test-000004", "output_ids": [4')
    assert numbers(missing(tmp_path)) == [4, 5, 6, 7, 8, 9]


def test_other_settings_have_another_journal(tmp_path: Path) -> None:
    add(tmp_path, range(0, 10))
    with open_answers(tmp_path, {**SETTINGS, "max_new_tokens": 9}) as answers:
        assert len(answers) == 0
    assert missing(tmp_path) == []


def test_the_key_changes_with_everything_that_determines_the_answers() -> None:
    base = settings_of(QUESTIONS, "m" * 64, SETTINGS)

    def changed(**values: Any) -> list[Question]:
        return [*QUESTIONS[:-1], dataclasses.replace(QUESTIONS[-1], **values)]

    others = [
        settings_of(QUESTIONS, "n" * 64, SETTINGS),
        settings_of(QUESTIONS, "m" * 64, {**SETTINGS, "temperature": 1.0}),
        settings_of(QUESTIONS, "m" * 64, {**SETTINGS, "device": "cuda"}),
        settings_of(changed(prompt_ids=[1, 2]), "m" * 64, SETTINGS),
        settings_of(changed(id="test-000010"), "m" * 64, SETTINGS),
        settings_of(changed(number=10), "m" * 64, SETTINGS),  # another seed
        settings_of(QUESTIONS[::-1], "m" * 64, SETTINGS),
        {**base, "meaning": base["meaning"] + 1},
    ]
    keys = {key_of(one) for one in [base, *others]}
    assert len(keys) == 1 + len(others)
    assert key_of(dict(reversed(base.items()))) == key_of(base)


def test_the_settings_lie_beside_the_answers(tmp_path: Path) -> None:
    add(tmp_path, range(0, 1))
    assert json.loads((tmp_path / key_of(SETTINGS) / "settings.json").read_text()) == SETTINGS


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, 'scripts')\n"
        "from pathlib import Path\n"
        "from common.errors import InputError\n"
        "from inference.journal import open_answers\n"
        f"settings = {SETTINGS!r}\n"
        "try:\n"
        f"    with open_answers(Path({str(tmp_path)!r}), settings): print('in')\n"
        "except InputError as error: print(error)\n"
    )

    def other() -> str:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    with open_answers(tmp_path, SETTINGS):
        assert "another run is writing here" in other()
    assert other() == "in"


def test_a_second_writer_with_other_settings_is_welcome(tmp_path: Path) -> None:
    with open_answers(tmp_path, SETTINGS), open_answers(tmp_path, {**SETTINGS, "max_new_tokens": 9}):
        pass


def test_an_infinite_probability_never_reaches_the_journal(tmp_path: Path) -> None:
    with open_answers(tmp_path, SETTINGS) as answers, pytest.raises(ValueError, match="JSON"):
        answers.add(QUESTIONS[0], Answer([1], "stop", float("nan")))
