"""slime's folder of checkpoints: which are whole, where a training goes on, which stay.

slime numbers rollouts from 0 and calls a checkpoint by the last one done: its ``iter_0000499`` is the state after 500
iterations. It is whole when the data's state, which slime writes last, is there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from common.files import written_whole
from grpo.checkpoint import TRACKER, folder_name, iterations_in

ASIDE = "after_good"  # what a stop moved out of slime's way
STATE = "rollout/global_dataset_state_dict_{}.pt"
_FILES = (".metadata", "metadata.json", "common.pt")


def folder_of(root: Path, iteration: int) -> Path:
    """slime's folder of the state after `iteration` iterations."""
    return root / folder_name(iteration - 1)


def whole_iterations(root: Path) -> list[int]:
    """Iterations after which a whole checkpoint stands in the folder, rising."""
    return [
        number + 1
        for number in iterations_in(root)
        if all((root / folder_name(number) / name).is_file() for name in _FILES)
        and (root / STATE.format(number)).is_file()
    ]


def prepare(root: Path, goal: int) -> int:
    """Make slime go on from the newest whole checkpoint not beyond the goal; that iteration, or 0 to begin anew.

    What a killed save left is deleted, and what a stop set aside. Checkpoints of a longer training stay.
    """
    root.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(root / ASIDE, ignore_errors=True)
    whole = whole_iterations(root)
    for number in iterations_in(root):
        if number + 1 not in whole:
            shutil.rmtree(root / folder_name(number))
            (root / STATE.format(number)).unlink(missing_ok=True)
    start = max((iteration for iteration in whole if iteration <= goal), default=0)
    if start:
        with written_whole(root / TRACKER) as tracker:
            tracker.write_text(str(start - 1))
    else:
        (root / TRACKER).unlink(missing_ok=True)
    return start


def set_aside(root: Path, good: int | None, goal: int) -> None:
    """Move the checkpoints after the good one (all, if there is none) where neither slime nor `prepare` finds them.

    Those of a longer training, behind the goal, stay.
    """
    aside = root / ASIDE
    (aside / STATE).parent.mkdir(parents=True, exist_ok=True)
    for number in iterations_in(root):
        if (good or 0) < number + 1 <= goal:
            folder = folder_name(number)
            (root / folder).rename(aside / folder)
            state = root / STATE.format(number)
            if state.exists():
                state.rename(aside / STATE.format(number))


def prune(root: Path, keep: int, newest: int, good: int | None = None) -> None:
    """Delete all but the last `keep` whole checkpoints up to `newest`, and `good`, with the data's states."""
    for iteration in [number for number in whole_iterations(root) if number <= newest][:-keep]:
        if iteration != good:
            (root / STATE.format(iteration - 1)).unlink()
            shutil.rmtree(folder_of(root, iteration))
