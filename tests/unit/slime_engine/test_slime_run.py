"""A run's rows: written at once, with their validation whenever that comes, and filled where a kill lost them."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_slime_collect import collector, lines

from common.errors import InputError
from common.journal import Journal
from grpo.metrics import merged_metrics
from slime_engine import cluster, processes
from slime_engine.run import Run, fill

EVAL = "rollout.py:577 - eval {}: {{'eval/validation': 0.5}}"


def made(folder: Path, **changed: Any) -> Run:
    settings = argparse.Namespace(
        iterations=4, validate_every=2, keep=2, spike_threshold=0.2, spike_floor=0.5, spike_action="log",
        spike_limit=3, straggler_ratio=1.5, slime_straggler_window=4, slime_straggler_limit=0,
    )  # fmt: skip
    settings = argparse.Namespace(**{**vars(settings), **changed})
    return Run(settings, folder, Journal(folder / "metrics.jsonl"), collector(folder, 4), 0)


def say(run: Run, *text: str) -> None:
    for line in text:
        run.line(f"(Actor pid=1) [2025-12-12 10:00:00] {line}")


def judge(folder: Path, reward: float) -> None:
    """One answer to a validation prompt, as the hook writes it down."""
    row = {"split": "validation", "reward": reward, "buy": True, "invalid": False}
    with open(folder / "journal", "a") as handle:
        handle.write(json.dumps(row) + "\n")


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_row_is_written_before_its_validation_and_again_with_it(tmp_path: Path) -> None:
    run = made(tmp_path)
    say(run, *lines(0), *lines(1))
    assert [row["iteration"] for row in written(tmp_path)] == [1, 2]
    judge(tmp_path, 0.25)
    say(run, EVAL.format(1))
    rows = written(tmp_path)
    assert [row["iteration"] for row in rows] == [1, 2, 2]
    assert rows[2] == rows[1] | {"validation": {"reward": 0.25, "buy": 1.0, "invalid": 0.0}}
    assert merged_metrics(rows, 2)[1]["validation"]["reward"] == 0.25


def test_a_validation_that_comes_before_its_row_is_kept_for_it(tmp_path: Path) -> None:
    run = made(tmp_path)
    say(run, *lines(0), *lines(1)[:4])
    judge(tmp_path, 0.25)
    say(run, EVAL.format(1), lines(1)[4])
    assert [("validation" in row) for row in written(tmp_path)] == [False, True]


@pytest.mark.parametrize("every", [1, 2])
def test_the_validation_before_training_is_no_iterations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], every: int
) -> None:
    run = made(tmp_path, validate_every=every)
    judge(tmp_path, -1.0)
    say(run, EVAL.format(0), *lines(0))
    assert "before training: validation reward -1.000" in capsys.readouterr().out
    assert "validation" not in written(tmp_path)[0]
    judge(tmp_path, 1.0)
    say(run, EVAL.format(0))
    assert written(tmp_path)[-1]["validation"]["reward"] == 1.0


def test_a_row_that_waits_for_a_lost_line_is_written_when_slime_is_ended(tmp_path: Path) -> None:
    run = made(tmp_path)
    say(run, *lines(0)[:4], *lines(1))
    assert written(tmp_path) == []  # the first one's times are missing
    run.leave()
    assert [(row["iteration"], row["incomplete"]) for row in written(tmp_path)] == [(1, True), (2, False)]
    merged_metrics(written(tmp_path), 2)


def test_a_resumed_run_compares_with_the_last_finite_loss(tmp_path: Path) -> None:
    run = made(tmp_path)
    for number, loss in enumerate(("0.25", "9.0", "nan")):
        say(run, *lines(number, (loss, loss)))
    rows = written(tmp_path)
    assert [row["spike"] for row in rows] == [False, True, True]
    journal = Journal(tmp_path / "metrics.jsonl")
    assert Run(run.settings, tmp_path, journal, run.collector, 3).watch.last == 9.0
    assert Run(run.settings, tmp_path, journal, run.collector, 1).watch.last == 0.25  # what comes after is done again


def test_iterations_that_the_journal_lost_get_a_row_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made(tmp_path)
    say(run, *lines(0))
    fill(run.journal, run.collector, 1)
    assert capsys.readouterr().out == ""  # the control: nothing is lost
    fill(run.journal, run.collector, 6)
    assert "metrics of 5 iterations were lost, the first is 2" in capsys.readouterr().out
    rows = merged_metrics(written(tmp_path), 6)
    assert [row["incomplete"] for row in rows] == [False, *[True] * 5]
    # The hook's journal knows the answers of the first four.
    assert [row["reward"] for row in rows] == [1.0] * 4 + [None] * 2
    assert {row["loss"] for row in rows[1:]} == {None}
    assert set(rows[1]) == set(rows[0])
    assert rows[1]["tokens_per_second"] is None


@pytest.mark.parametrize(
    ("kl", "words"), [(True, "invalid 0.0%, KL 0.5000, entropy"), (False, "invalid 0.0%, entropy")]
)
def test_a_kl_divergence_that_slime_does_not_compute_is_not_spoken_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kl: bool, words: str
) -> None:
    run = made(tmp_path)
    run.collector.sizes = replace(run.collector.sizes, kl=kl)
    say(run, *lines(0))
    assert words in capsys.readouterr().err
    assert written(tmp_path)[0]["kl"] == (0.5 if kl else None)


RAY_STAYS = "import time; time.sleep(300)"
# Not before slime was heard, however busy the machine is.
RAY_ENDS = """
import sys, time
while open(sys.argv[1]).read().count("retry") <= 5:
    time.sleep(0.01)
sys.exit(3)
"""


@pytest.mark.parametrize(("hangs", "words"), [("slime", r"no metrics for \d+ s"), ("ray", "exit code 3 during the")])
def test_a_slime_that_says_much_but_gets_nowhere_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: str, words: str
) -> None:
    monkeypatch.setattr(processes.lines, "__defaults__", (0.2,))
    talks = [sys.executable, "-c", "import time\nwhile True: print('retry', flush=True); time.sleep(0.01)"]
    (tmp_path / "slime.log").touch()
    ends = [sys.executable, "-c", RAY_ENDS if hangs == "ray" else RAY_STAYS, str(tmp_path / "slime.log")]
    run = made(tmp_path, slime_timeout_s=3 if hangs == "slime" else 7200)
    with processes.process(ends, {}, -3) as head, pytest.raises(InputError, match=words):
        run.follow(talks, {}, cluster.Ray([head], tmp_path / "ray.log"))
    assert (tmp_path / "slime.log").read_bytes().count(b"retry") > 5


def test_the_error_that_came_first_is_not_lost_behind_those_of_the_others(tmp_path: Path) -> None:
    run = made(tmp_path)
    run.line("(Actor pid=1) ValueError: an old one, after which it went on")
    say(run, *lines(0))
    assert run.first_error is None
    for text in ["torch.OutOfMemoryError: CUDA out of memory", *["ray.exceptions.RayTaskError: an actor died"] * 8]:
        for line in [*["  File x.py, line 3, in train"] * 30, text]:
            run.line(f"(Actor pid=1) {line}")
    assert "first torch.OutOfMemoryError: CUDA out of memory; last ray.exceptions.RayTaskError: an" in run.error()
