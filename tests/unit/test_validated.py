"""Validations belong to the samples they were made on: a training's key says nothing of those."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.journal import Journal
from training import validated

ONE, OTHER = "1" * 64, "2" * 64


def trained(folder: Path, samples: str, first: int, last: int, every: int = 2) -> None:
    """What a run appends to the journal."""
    validated.begin(folder, samples)
    journal = Journal(folder / "metrics.jsonl")
    for iteration in range(first, last + 1):
        row: dict[str, Any] = {"iteration": iteration, "reward": 0.5}
        journal.append([row | ({"validation": {"reward": 1.0}} if iteration % every == 0 else {})])
    journal.close()


def shown(folder: Path, samples: str, every: int = 2) -> list[int]:
    rows = validated.of_samples(Journal(folder / "metrics.jsonl").rows, folder, samples, every)
    assert [row["reward"] for row in rows] == [0.5] * len(rows)
    return validated.iterations(rows)


def test_validations_on_other_samples_are_left_out_and_come_back_with_theirs(tmp_path: Path) -> None:
    trained(tmp_path, ONE, 1, 4)
    assert shown(tmp_path, ONE) == [2, 4]
    trained(tmp_path, OTHER, 5, 4)  # nothing to do
    assert shown(tmp_path, OTHER) == []
    trained(tmp_path, OTHER, 5, 8)
    assert shown(tmp_path, OTHER) == [6, 8]
    trained(tmp_path, ONE, 9, 10)
    assert shown(tmp_path, ONE) == [2, 4, 10]


def test_of_an_unknown_file_is_not_of_this_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "metrics.jsonl")
    journal.append([{"iteration": 2, "reward": 0.5, "validation": {"reward": 1.0}}])
    journal.close()
    trained(tmp_path, ONE, 3, 4)
    assert shown(tmp_path, ONE) == [4]


def test_another_distance_shows_its_own_iterations_only(tmp_path: Path) -> None:
    trained(tmp_path, ONE, 1, 8, every=2)
    assert shown(tmp_path, ONE, every=4) == [4, 8]
    assert shown(tmp_path, ONE, every=3) == [6]
    assert shown(tmp_path, ONE, every=0) == []


def test_what_was_asked_for_and_not_made_is_said() -> None:
    assert validated.gap([2, 4], 5, 2) is None
    assert validated.gap([], 8, 0) is None
    assert "3 validations are missing, the first after iteration 1:" in (validated.gap([2, 4], 5, 1) or "")
