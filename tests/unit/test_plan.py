"""What the next run would do and take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpo.tiny_qwen3 import TinySettings, build_model, build_tokenizer
from plan import (
    Row,
    disk_bytes,
    estimate,
    newest_training,
    planned,
    profile_configuration,
    table,
    train_seconds,
    weights_of,
)
from settings_file import SettingsFileError
from trading.prompts import COMPACT_WORDS

DRY_RUN = """Building DAG of jobs...
Job stats:
job         count
--------  -------
simulate        2
train           1
all             1
total           4


[Mon] Job 2: Trading
Reason: Missing output files: a
Job stats:
job         count
--------  -------
simulate        2
train           1
all             1
total           4

Reasons:
    (check individual jobs above for details)
    input files updated by another job:
        all, simulate
    output files have to be generated:
        simulate, train
This was a dry-run (flag -n). The order of jobs does not reflect the order of execution.
"""
CPU = {
    "device": "cpu",
    "train": {"iterations": 100, "tensor": 2, "data": 2, "keep": 2},
    "infer": {"tensor": 1, "data": 8},
}
CUDA = CPU | {"device": "cuda"}


def test_jobs_and_reasons_are_read_from_a_dry_run() -> None:
    jobs, why = planned(DRY_RUN)
    assert jobs == {"simulate": 2, "train": 1}
    assert why["simulate"] == ("input files updated by another job", "output files have to be generated")
    assert why["train"] == ("output files have to be generated",)


def test_nothing_to_be_done_plans_nothing() -> None:
    jobs, why = planned("Building DAG of jobs...\nNothing to be done (all requested files are present).\n")
    assert (jobs, why) == ({}, {})
    assert table([], 0.0) == "Nothing to be done."


def test_earlier_benchmarks_give_the_time_of_all_jobs_of_a_rule() -> None:
    benchmarks = {"simulate-2": "s\tmax_rss\n4.0\t9\n", "simulate-3": "s\tmax_rss\n6.0\t9\n", "simulated": "s\n99\n"}
    (row,) = estimate({"simulate": 2}, {}, CPU, benchmarks, [])
    assert (row.seconds, row.gpus, row.gpu_hours) == (10.0, 0, 0.0)


def test_a_training_takes_its_iterations_at_the_last_pace_on_all_its_gpus() -> None:
    rows = estimate({"train": 1}, {}, CUDA, {"train": "s\n1.0\n"}, [{"seconds": 36.0}] * 3)
    assert rows[0].seconds == pytest.approx(3600)
    assert rows[0].gpu_hours == pytest.approx(4)
    assert estimate({"train": 1}, {}, CPU, {}, [{"seconds": 36.0}])[0].gpu_hours == 0


def test_inference_takes_the_gpus_of_all_copies_of_the_model() -> None:
    benchmarks = {"infer-base": "s\n3600\n", "probe": "s\n1800\n"}
    assert [row.gpu_hours for row in estimate({"infer": 1, "probe": 1}, {}, CUDA, benchmarks, [])] == [8.0, 4.0]


def test_what_never_ran_is_said_to_be_unknown() -> None:
    rows = estimate({"infer": 2}, {}, CUDA, {}, [])
    assert rows[0].seconds is None
    assert rows[0].gpu_hours is None
    text = table(rows, None)
    assert "Not known before they ran once: infer." in text
    assert "Together" not in text  # nothing is known that could be added up
    some = table([*rows, Row("plot", 1, (), 6.0, "as last time", 0)], None)
    assert "Together at least 6 s one after another" in some
    assert "not known before the base model is there" in text


def test_checkpoints_count_twice_more_than_are_kept() -> None:
    assert disk_bytes(CUDA, 1000, ["train"]) == 1000 * 14 * 4  # one being written, one from a stop
    slime = CUDA | {"train": CUDA["train"] | {"engine": "slime"}}
    assert disk_bytes(slime, 1000, ["train"]) == 1000 * 14 * 4  # one from before spikes in a row
    assert disk_bytes(CUDA, 1000, ["simulate"]) == 0
    assert disk_bytes(CUDA, None, ["train"]) is None


def test_the_size_of_a_tiny_model_is_known_before_it_is_there(tmp_path: Path) -> None:
    size = {"layers": 3, "hidden": 32, "heads": 4, "query_groups": 2, "head_dim": 8, "ffn": 48}
    tiny = TinySettings(**size)
    model = build_model(tiny, build_tokenizer(COMPACT_WORDS))
    settings = {"device": "cpu", "base_model": {"source": "tiny", "folder": "absent", "tiny": size | {"seed": 0}}}
    assert weights_of(tmp_path, settings) == sum(weight.numel() for weight in model.parameters())
    settings["base_model"]["source"] = "folder"
    assert weights_of(tmp_path, settings) is None


@given(st.integers(1, 10**6), st.lists(st.floats(0.01, 100), min_size=1, max_size=80))
def test_a_training_is_as_long_as_its_iterations(iterations: int, seconds: list[float]) -> None:
    rows = [{"seconds": value} for value in seconds]
    took = train_seconds(iterations, rows)
    assert took is not None
    assert iterations * min(seconds) * 0.999 <= took <= iterations * max(seconds) * 1.001
    assert train_seconds(iterations, [*rows, {"seconds": None}][-50:]) == train_seconds(iterations, rows[-49:])
    assert train_seconds(iterations, [{"seconds": None}]) is None
    assert train_seconds(iterations, []) is None


def test_the_half_line_of_a_killed_training_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "checkpoints" / "key"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(json.dumps({"seconds": 1.5}) + '\n{"secon')
    assert newest_training(tmp_path) == [{"seconds": 1.5}]
    assert newest_training(tmp_path / "elsewhere") == []


def test_the_table_sums_up() -> None:
    text = table(
        [Row("train", 1, ("code has changed",), 7200.0, "as last time", 2), Row("plot", 2, (), 6.0, "x", 0)], 3e9
    )
    assert "4.00" in text
    assert "code has changed" in text
    assert "Together 2.0 h one after another, and 4.00 GPU-hours." in text
    assert "about 3.0 GB" in text


def test_a_profile_may_name_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    profile = tmp_path / "slurm" / "config.yaml"
    profile.parent.mkdir()
    profile.write_text("jobs: 1\n")
    assert profile_configuration("slurm") is None
    profile.write_text("configfile: ../config/paper.yaml\n")
    assert profile_configuration("slurm") == Path("config/paper.yaml")
    assert profile_configuration(None) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("configfile: [a.yaml]\n", r"slurm/config\.yaml: configfile: given \['a.yaml'\]\. Write the path of one file"),
        ("- jobs\n", r"slurm/config\.yaml: no mapping"),
        ("jobs: [\n", r"slurm/config\.yaml, line 2: not YAML"),
    ],
)
def test_a_profile_that_names_no_configuration_in_one_line_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "config.yaml").write_text(text)
    with pytest.raises(SettingsFileError, match=words):
        profile_configuration("slurm")
