"""infer.py for real with several processes on the CPU: copies of the model, and processes that share one.

What is drawn must not depend on it: the same seeds, the same order, this project's random numbers in each process.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from infer_run import LAST_PLACE, Run, all_gone, difference, family, kill, rows_of, wait_for, write_shop

pytestmark = pytest.mark.slow

SAMPLES = 60
DRAWN = {"temperature": 0.8, "seed": 5, "batch": 20}


class Spawned(Run):
    """As on CUDA."""

    PROGRAM = "tests/workflow/spawned_infer.py"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop"), SAMPLES)


@pytest.fixture(scope="module")
def one(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One process."""
    return Run(tmp_path_factory.mktemp("one"), shop, **DRAWN).done()


def test_copies_of_the_model_share_the_work_and_answer_the_same(one: Run, shop: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", shop, data=2, timeout_s=200, **DRAWN).done()
    assert "ready on cpu, 2 copies" in run.said()
    assert difference(run.decisions(), one.decisions()) <= LAST_PLACE
    # Each was answered once; SGLang by itself has every copy answer everything.
    assert run.json("timing")["tokens"] == one.json("timing")["tokens"]
    assert "but the state was deleted" not in run.said()
    assert run.json("summary")["parameters"]["data"] == 2
    assert sorted(row["id"] for row in rows_of(run.journal())) == [row["id"] for row in one.decisions()]


def test_processes_that_share_a_model_answer_the_same(one: Run, shop: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", shop, tensor=2, timeout_s=200, **DRAWN).done()
    assert "ready on cpu, 2 processes each" in run.said()
    assert difference(run.decisions(), one.decisions()) <= LAST_PLACE
    other = Run(tmp_path / "other", shop, **{**DRAWN, "seed": 6}).done()
    assert difference(other.decisions(), one.decisions()) > LAST_PLACE  # the control


def test_a_killed_run_goes_on_with_another_number_of_copies(one: Run, shop: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", shop, data=2, timeout_s=200, **{**DRAWN, "batch": 4})
    process = run.start()
    wait_for(lambda: run.answered() >= 8, process, 300)
    kill(process)
    kept = run.answered()
    again = Run(tmp_path / "run", shop, **DRAWN).done()
    assert f"{SAMPLES - kept} samples to ask, {kept} in the journal" in again.said()
    assert difference(again.decisions(), one.decisions()) <= LAST_PLACE


def test_a_dead_copy_is_said_in_one_line(shop: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", shop, data=2, timeout_s=200, **{**DRAWN, "batch": 2, "max_new_tokens": 60})
    process = run.start()
    wait_for(lambda: run.answered() >= 4, process, 300)
    children = family(process)
    next(child for child in children if "scheduler_DP1" in " ".join(child.cmdline())).kill()
    assert process.wait(timeout=60) == 1
    assert "infer: error: SGLang's process died" in run.said().splitlines()[-1]
    assert all_gone(children)
    assert not any((run.folder / "tmp").iterdir())


@pytest.mark.long
def test_spawned_processes_draw_the_same(one: Run, shop: Path, tmp_path: Path) -> None:
    run = Spawned(tmp_path / "run", shop, data=2, timeout_s=600, **DRAWN)
    assert run.start().wait(timeout=900) == 0, run.said()
    assert difference(run.decisions(), one.decisions()) <= LAST_PLACE
