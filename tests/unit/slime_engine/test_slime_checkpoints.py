"""slime's folder of checkpoints: where a training goes on, which stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from slime_engine import checkpoints


def saved(root: Path, *rollouts: int, lacking: str = "") -> None:
    for number in rollouts:
        folder = root / f"iter_{number:07d}"
        folder.mkdir(parents=True)
        for name in (".metadata", "metadata.json", "common.pt"):
            (folder / name).touch()
        state = root / checkpoints.STATE.format(number)
        state.parent.mkdir(exist_ok=True)
        state.touch()
        (root / checkpoints.TRACKER).write_text(str(number))
        if lacking:
            (state if lacking == "state" else folder / lacking).unlink()


def test_nothing_saved_begins_anew(tmp_path: Path) -> None:
    (tmp_path / checkpoints.TRACKER).write_text("0")
    assert checkpoints.prepare(tmp_path, 500) == 0
    assert not (tmp_path / checkpoints.TRACKER).exists()


@pytest.mark.parametrize("lacking", [".metadata", "metadata.json", "common.pt", "state"])
def test_a_save_that_was_killed_is_not_gone_on_from(tmp_path: Path, lacking: str) -> None:
    saved(tmp_path, 99)
    saved(tmp_path, 199, lacking=lacking)
    assert checkpoints.prepare(tmp_path, 500) == 100
    assert (tmp_path / checkpoints.TRACKER).read_text() == "99"
    assert not (tmp_path / "iter_0000199").exists()


def test_a_shorter_training_goes_on_from_what_is_not_beyond_its_goal(tmp_path: Path) -> None:
    saved(tmp_path, 99, 199, 299)
    assert checkpoints.prepare(tmp_path, 250) == 200
    assert (tmp_path / checkpoints.TRACKER).read_text() == "199"
    assert checkpoints.whole_iterations(tmp_path) == [100, 200, 300]
    assert checkpoints.prepare(tmp_path, 300) == 300


def test_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    saved(tmp_path, 99, 199, 299, 399)
    checkpoints.prune(tmp_path, 2, 300)
    assert checkpoints.whole_iterations(tmp_path) == [200, 300, 400]
    assert not (tmp_path / checkpoints.STATE.format(99)).exists()
    checkpoints.prune(tmp_path, 1, 400, good=200)
    assert checkpoints.whole_iterations(tmp_path) == [200, 400]


@pytest.mark.parametrize(("good", "left"), [(200, [100, 200]), (None, [])])
def test_a_training_goes_on_from_the_good_one_of_which_a_stop_told(
    tmp_path: Path, good: int | None, left: list[int]
) -> None:
    saved(tmp_path, 99, 199, 299)
    saved(tmp_path, 399, lacking="state")  # being written when it was stopped
    checkpoints.set_aside(tmp_path, good, 10_000)
    aside = tmp_path / checkpoints.ASIDE
    assert checkpoints.whole_iterations(tmp_path) == left
    assert checkpoints.whole_iterations(aside) == [number for number in (100, 200, 300) if number not in left]
    assert (aside / "iter_0000399").is_dir()
    assert checkpoints.prepare(tmp_path, 500) == (good or 0)
    tracker = tmp_path / checkpoints.TRACKER
    assert (tracker.read_text() if tracker.exists() else None) == ("199" if good else None)
    states = {path.name for path in (tmp_path / "rollout").iterdir()}
    assert states == {f"global_dataset_state_dict_{number - 1}.pt" for number in left}
    assert not aside.exists()


def test_a_stop_leaves_the_checkpoints_of_a_longer_training(tmp_path: Path) -> None:
    saved(tmp_path, 99, 199, 979, 999)
    checkpoints.set_aside(tmp_path, 100, 500)
    assert checkpoints.prepare(tmp_path, 500) == 100
    assert checkpoints.whole_iterations(tmp_path) == [100, 980, 1000]
