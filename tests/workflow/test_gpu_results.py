"""What a test on a GPU measures is kept, and said at the end: tried without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gpu_results
import gpu_steps
import pytest
from project_copy import PROJECT

from common.datasheet import GPUS
from common.files import read_json
from planning.machine import Task, own_loop
from planning.model import ASSUMED
from planning.pace import pace

SHAPE = ASSUMED["Qwen/Qwen3-4B-Thinking-2507"]
SETTINGS = {"precision": "bf16", "optimizer": "offloaded", "recompute": True}


def row(seconds: float) -> dict[str, float]:
    parts = {"rollout_seconds": seconds / 2, "reference_seconds": 0.1, "update_seconds": seconds / 2 - 0.1}
    return {"seconds": seconds, "tokens_per_second": 64 * 128 / seconds, "gigabytes": 40.0, **parts}


def test_planned_and_measured_stand_side_by_side() -> None:
    rows = [row(99.0), row(8.0), row(8.0)]  # the first is left out
    found = gpu_steps.compared(SHAPE, SETTINGS, rows, "NVIDIA H100 80GB HBM3", GPUS["h100"].memory)
    expected = pace(SHAPE, own_loop(**SETTINGS), Task(**gpu_steps.TASK), GPUS["h100"], None)
    assert found["planned"]["seconds"] == expected.iteration
    assert found["planned"]["tokens_per_second"] == expected.tokens_per_second
    assert 30 < found["planned"]["gigabytes"] < 60  # beside the 80 of such a GPU: it is worth trying
    assert found["measured"] == pytest.approx(
        {
            "gigabytes": 40,
            "seconds": 8,
            "rollout_seconds": 4,
            "update_seconds": 4,
            "tokens_per_second": 1024,
        }
    )
    said = gpu_results.size_summary({"machine": "A machine", **found})
    assert said.startswith("A machine: 40.0 GB (planned ")
    unknown = gpu_steps.compared(SHAPE, SETTINGS, rows, "Some GPU", GPUS["h100"].memory)
    assert unknown["planned"]["seconds"] is None
    assert "8.0 s an iteration (no plan for this GPU)" in gpu_results.size_summary({"machine": "A", **unknown})


TEST = """
import gpu_results

def test_measures():
    speeds = {"own_loop": {"tokens_per_second": 2000.0}, "trl": {"tokens_per_second": 1000.0}}
    found = {"machine": "A machine", "times_as_fast": 2.0, **speeds}
    gpu_results.keep("one", found, gpu_results.throughput_summary(found, "own_loop", "trl"))
"""


def test_a_result_is_a_file_in_the_folder_that_is_named_and_a_line_at_the_end(tmp_path: Path) -> None:
    conftest = PROJECT / "tests/workflow/conftest.py"
    (tmp_path / "conftest.py").write_text(conftest.read_text())
    (tmp_path / "test_one.py").write_text(TEST)
    paths = ":".join(str(PROJECT / part) for part in ("tests/workflow", "scripts", "rules", "."))
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", tmp_path]
    environment = {"GPU_RESULTS": str(tmp_path / "kept"), "PYTHONPATH": paths, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert read_json(tmp_path / "kept/one.json")["own_loop"] == {"tokens_per_second": 2000.0}
    line = f"{tmp_path}/kept/one.json: A machine: own_loop 2,000 tokens/s, trl 1,000 tokens/s (2 times as fast)"
    assert line in done.stdout.splitlines()


def test_without_a_name_it_is_the_projects_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPU_RESULTS", raising=False)
    assert gpu_results.folder() == PROJECT / "benchmarks/results"
