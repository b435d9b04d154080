"""A training that its watch stopped: a next attempt with the same settings ends at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import InputError
from grpo.stability import WatchError
from training.stops import MARKER, remembered

SETTINGS = {"iterations": 8, "spike_limit": 3, "spike_action": "log", "save_every": 2}


def stopped(folder: Path, **changed: object) -> str:
    with pytest.raises(InputError) as said, remembered(folder, SETTINGS | changed):
        raise WatchError("train: iteration 7: spiky loss.")
    return str(said.value)


def begins(folder: Path, **changed: object) -> bool:
    try:
        with remembered(folder, SETTINGS | changed):
            return True
    except InputError:
        return False


def test_a_stopped_training_stays_so_until_a_watching_setting_changes(tmp_path: Path) -> None:
    first = stopped(tmp_path)
    assert str(tmp_path / MARKER) in first
    assert stopped(tmp_path) == first
    assert not begins(tmp_path, save_every=4)
    assert begins(tmp_path, spike_limit=4)
    assert begins(tmp_path)  # the marker was of other settings, and is gone
    stopped(tmp_path)
    (tmp_path / MARKER).unlink()
    assert begins(tmp_path)


def test_other_failures_are_tried_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a node was down"), remembered(tmp_path, SETTINGS):
        raise InputError("a node was down")
    assert begins(tmp_path)


def test_of_several_processes_the_first_one_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert "delete" not in stopped(tmp_path)
    assert not (tmp_path / MARKER).exists()
