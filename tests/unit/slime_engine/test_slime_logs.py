"""Reading slime's log lines, in the formats that its v0.2.1 writes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slime_engine.logs import Record, parse_line, read_dictionary, said

TIME = "[2025-12-12 10:00:00]"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            f"{TIME} model.py:674 - step 3: {{'train/loss': 0.5, 'train/step': 3}}",
            Record("step", 3, {"train/loss": 0.5, "train/step": 3}),
        ),
        (
            f"(MegatronTrainRayActor pid=4711) {TIME} data.py:146 - rollout 0: {{'rollout/log_probs': -1e-05}}",
            Record("rollout", 0, {"rollout/log_probs": -1e-05}),
        ),
        (
            f"\x1b[36m(RolloutManager pid=12, ip=10.0.0.2)\x1b[0m {TIME} rollout.py:6 - perf 12: {{'perf/x': 9.25}}",
            Record("perf", 12, {"perf/x": 9.25}),
        ),
        # A progress bar stands before it on the same line.
        (
            f"Rollout generation: 50%|#####     |\r{TIME} rollout.py:577 - eval 9: {{'eval/v': 1}}",
            Record("eval", 9, {"eval/v": 1}),
        ),
    ],
)
def test_a_line_of_metrics_is_read(line: str, expected: Record) -> None:
    assert parse_line(line) == expected


def test_numbers_that_are_not_finite_are_read() -> None:
    record = parse_line(f"(A pid=1) {TIME} model.py:1 - step 1: {{'train/loss': nan, 'b': -inf, 'c': inf}}")
    assert math.isnan(record.values["train/loss"])
    assert (record.values["b"], record.values["c"]) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Loading model",
        f"{TIME} model.py:674 - step 3: {{'train/loss': 0.5, 'train/st",  # cut short
        f"{TIME} model.py:674 - step x: {{'train/loss': 0.5}}",
        f"{TIME} actor.py:1 - step 3: {{1: 2}}",
        # A model's answer is printed, too, and may quote such a line.
        f"{TIME} sglang_rollout.py:360 - First rollout sample: ['model.py:674 - step 3: {{\"train/loss\": 9}}']",
    ],
)
def test_other_lines_are_none(line: str) -> None:
    assert parse_line(line) is None


def test_tensors_and_numpy_numbers_are_numbers_and_the_rest_is_left_out() -> None:
    text = "{'a': tensor(-0.5, device='cuda:0'), 'b': np.float64(2.0), 'c': 'text', 'd': None, 'e': [1], 'f': True}"
    assert read_dictionary(text) == {"a": -0.5, "b": 2.0}


@pytest.mark.parametrize("text", ["[1]", "{1: 2}", "{", "{'a': 1", "__import__('os')"])
def test_what_is_no_dictionary_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_dictionary(text)


def test_nothing_in_a_line_is_executed() -> None:
    assert read_dictionary("{'a': __import__('os').getpid(), 'b': 1}") == {"b": 1}


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.floats(allow_nan=False) | st.integers(), max_size=6))
def test_what_python_prints_is_read_back(values: dict[str, float]) -> None:
    assert read_dictionary(repr(values)) == values


def test_what_was_said_has_no_prefix() -> None:
    assert said("\x1b[36m(RolloutManager pid=12, ip=10.0.0.2)\x1b[0m RuntimeError: x") == "RuntimeError: x"
    assert said("RuntimeError: (a) x") == "RuntimeError: (a) x"
