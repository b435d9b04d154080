"""Rows of metrics from lines that several processes print in any order."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest

from grpo.schedule import learning_rate
from slime_engine.collect import Collector, Sizes
from slime_engine.logs import parse_line

SIZES = Sizes(prompts=1, group_size=2, updates=2, learning_rate=0.1, warm_up=4, decay=10, kl=True, validation=2)


def lines(rollout: int, losses: tuple[str, str] = ("0.25", "0.75")) -> list[str]:
    """What slime prints of one rollout, with two optimiser steps."""
    rest = "'train/kl_loss': 0.5, 'train/entropy_loss': 0.7, 'train/pg_clipfrac': 0.1, 'train/grad_norm': 2.0"
    steps = [f"model.py:674 - step {rollout * 2 + i}: {{'train/loss': {losses[i]}, {rest}}}" for i in (0, 1)]
    return [
        f"rollout.py:611 - perf {rollout}: {{'perf/rollout_time': 4.0}}",
        f"data.py:146 - rollout {rollout}: {{'rollout/raw_reward': 1.0}}",
        *steps,
        f"train_metric_utils.py:44 - perf {rollout}: {{'perf/actor_train_time': 5.0, 'perf/train_time': 6.0}}",
    ]


def collector(folder: Path, iterations: int = 3) -> Collector:
    rows = [
        {"split": "train", "iteration": i, "group": 0, "number": n, "reward": 1.0, "buy": n == 0, "invalid": False,
         "tokens": 20}
        for i in range(1, iterations + 1) for n in (0, 1)
    ]  # fmt: skip
    (folder / "journal").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Collector(SIZES, folder / "journal")


def feed(one: Collector, text: list[str]) -> list[dict[str, object]]:
    rows = []
    for line in text:
        one.take(parse_line(f"(Actor pid=1) [2025-12-12 10:00:00] {line}"))
        rows += one.ready()
    return rows


@pytest.mark.parametrize("order", list(itertools.permutations(range(5)))[::17])
def test_a_row_comes_once_whatever_the_order_of_the_lines(tmp_path: Path, order: tuple[int, ...]) -> None:
    (row,) = feed(collector(tmp_path), [lines(0)[i] for i in order])
    assert (row["iteration"], row["loss"], row["kl"], row["grad_norm"], row["seconds"]) == (1, 0.5, 0.5, 2.0, 10.0)
    assert (row["reward"], row["buy"], row["flat_groups"], row["tokens_per_second"]) == (1.0, 0.5, 1, 4.0)
    assert row["learning_rate"] == learning_rate(1, 0.1, 4, 10)


def test_lines_of_the_next_iteration_may_come_first(tmp_path: Path) -> None:
    first, second = lines(0), lines(1)
    rows = feed(collector(tmp_path), [*first[:4], second[0], first[4], *second[1:]])
    assert [row["iteration"] for row in rows] == [1, 2]


def test_a_line_that_is_missing_is_waited_for_and_not_made_up(tmp_path: Path) -> None:
    one = collector(tmp_path, iterations=4)
    without_time, second, third = lines(0)[:4], lines(1), lines(2)
    assert feed(one, [*without_time, *second]) == []
    first, later = feed(one, third[:1])  # slime is two iterations further: it was lost
    assert (first["iteration"], first["loss"], first["seconds"], first["tokens_per_second"]) == (1, 0.5, None, None)
    assert (later["iteration"], later["seconds"]) == (2, 10.0)
    (last,) = one.rest()
    assert (last["iteration"], last["reward"], last["loss"]) == (3, 1.0, None)
    assert list(one.rest()) == []


def test_rows_come_in_order_and_a_repeated_line_makes_no_second_row(tmp_path: Path) -> None:
    one = collector(tmp_path)
    assert len(feed(one, [*lines(0), *lines(0)])) == 1
    assert [row["iteration"] for row in feed(one, lines(1))] == [2]


def test_a_late_line_of_an_iteration_that_was_given_holds_nothing_back(tmp_path: Path) -> None:
    one = collector(tmp_path)
    rows = feed(one, [*lines(0), lines(0)[1], *lines(1)])
    assert [row["iteration"] for row in rows] == [1, 2]
    assert list(one.rest()) == []


def test_an_iterations_seconds_are_not_those_of_the_validation_before_it(tmp_path: Path) -> None:
    *rest, times = lines(0)
    (row,) = feed(collector(tmp_path), [*rest, times.replace("}", ", 'perf/step_time': 90.0}")])
    assert (row["seconds"], row["step_seconds"], row["tokens_per_second"]) == (10.0, 90.0, 4.0)


def test_a_row_says_whether_something_of_it_is_missing(tmp_path: Path) -> None:
    (whole,) = feed(collector(tmp_path), lines(0))
    (unjudged,) = feed(collector(tmp_path), lines(5))
    one = collector(tmp_path)
    feed(one, lines(0)[:3])  # a step is missing
    (stepless,) = one.rest()
    assert [row["incomplete"] for row in (whole, unjudged, stepless)] == [False, True, True]


def test_a_loss_that_is_not_finite_in_one_step_is_not_finite(tmp_path: Path) -> None:
    (row,) = feed(collector(tmp_path), lines(0, ("0.25", "nan")))
    assert math.isnan(row["loss"])


def test_what_a_resumed_run_numbers_on_is_numbered_on(tmp_path: Path) -> None:
    (row,) = feed(collector(tmp_path), lines(2))
    assert row["iteration"] == 3
