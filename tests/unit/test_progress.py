"""Progress: the estimate leaves out what comes once, before the first units."""

from __future__ import annotations

import io

import pytest

from common import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_start_counts_once(clock: list[float]) -> None:
    stream = io.StringIO()
    shown = progress.Progress(10, "iteration", done=2, stream=stream, starts=True)
    clock[0] += 70  # an engine starts, and the first iteration: 10 s
    shown.update(3)
    clock[0] += 20
    shown.update(5, "well")
    clock[0] += 50
    shown.update(10)
    assert stream.getvalue().splitlines() == [
        "iteration 3/10 (30%), 1 min 10 s elapsed, 8 min 10 s left",  # nothing better is known
        "iteration 5/10 (50%), 1 min 30 s elapsed, 50 s left | well",
        "iteration 10/10 (100%), 2 min 20 s elapsed, 0 s left",
    ]


def test_lines_come_now_and_then_and_at_the_end(clock: list[float]) -> None:
    stream = io.StringIO()
    shown = progress.Progress(100, "sample", every=5, stream=stream)
    for done in range(1, 101):
        clock[0] += 1
        shown.update(done)
    lines = stream.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == [*(f"{done}/100" for done in range(1, 100, 5)), "100/100"]
    assert lines[1].endswith("6 s elapsed, 1 min 34 s left")


def test_units_that_come_in_bursts_are_estimated_from_the_start(clock: list[float]) -> None:
    stream = io.StringIO()
    shown = progress.Progress(300, "sample", stream=stream)
    for burst in range(2):
        clock[0] += 60
        for done in range(64):
            shown.update(64 * burst + done + 1)
    assert stream.getvalue().splitlines()[-1] == "sample 65/300 (22%), 2 min 00 s elapsed, 7 min 14 s left"


def test_nothing_done_yet_has_no_estimate(clock: list[float]) -> None:
    stream = io.StringIO()
    progress.Progress(4, "sample", stream=stream).update(0)
    assert stream.getvalue() == "sample 0/4 (0%), 0 s elapsed, unknown left\n"
