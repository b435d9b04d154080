"""What a run took: GPU hours, energy and Slurm's accounting, from what its jobs wrote down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from archiving.hosts import accounted, jobs, makers, parsed
from archiving.took import benchmarked, took, totals

NO_MACHINES = "the run's jobs recorded no machines."
H100 = {"name": "NVIDIA H100", "memory_mb": 85521, "driver": "550.54.15"}


def job(program: str = "train", seconds: float = 1800, slurm: Any = None, gpus: int = 0, joules: Any = None) -> Any:
    return {
        "program": program,
        "ended": "ok",
        "seconds": seconds,
        "node": {"processor": "AMD EPYC"},
        "slurm": slurm and {"job": slurm, "restarts": 0, "nodes": 2},
        "gpus": [H100] * gpus,
        "cuda": "12.4" if gpus else None,
        "gpu_joules": joules,
    }


def test_totals_by_hand() -> None:
    found = [job(), job("infer", 900, "7", gpus=4, joules=7.2e6), job("infer", 900, "8", gpus=4)]
    slurm = parsed("7|COMPLETED|1000|cpu=8,gres/gpu=8|3600000\n8|PREEMPTED|500|cpu=8,gres/gpu:h100=8|\n")
    total = totals(found, slurm)
    assert total["hours"] == 1.0
    assert total["gpu_hours"] == {"NVIDIA H100": 4.0}  # 2 jobs x 2 nodes x 4 GPUs x 1/4 hour
    assert total["gpu_kwh"] == 2.0
    assert total["slurm_kwh"] == 1.0
    assert total["slurm_gpu_hours"] == pytest.approx(1500 * 8 / 3600, abs=1e-4)
    assert not total["gpu_kwh_is_all"]  # of one of two jobs, and of one of its two nodes
    assert not total["slurm_kwh_is_all"]
    text = took({"hours_of_last_runs": 0.75, "steps_timed": 12, "totals": total})
    for words in (
        "the last runs of 12 steps took 45.0 minutes",
        "all 3 jobs on record",
        "all nodes of a job counted like its first",
        "1.00 hours",
        "4.00 GPU hours on NVIDIA H100",
        "CUDA 12.4",
        "550.54.15",
        "7, 8",
    ):
        assert words in text
    at_least = "at least 2.000 kWh for the GPUs by nvidia-smi, at least 1.000 kWh for the jobs by Slurm"
    assert at_least in text


def spent(*found: Any, steps: int = 9, slurm: Any = ()) -> str:
    return took({"hours_of_last_runs": 1.0, "steps_timed": steps, "totals": totals(found, slurm)})


def test_energy_that_all_was_measured_of_is_not_said_to_be_more() -> None:
    one = job("train", 3600, gpus=8, joules=7.2e6)
    assert " Energy: 2.000 kWh for the GPUs by nvidia-smi." in spent(one)
    alone = one | {"slurm": {"job": "7", "restarts": 0, "nodes": 1}}
    text = spent(alone, slurm=parsed("7|COMPLETED|3600|gres/gpu=8|3600000\n"))
    assert " Energy: 2.000 kWh for the GPUs by nvidia-smi, 1.000 kWh for the jobs by Slurm." in text
    assert "counted like its first" not in text


def test_what_nothing_measured_is_said_to_be_unknown() -> None:
    assert "Nothing measured the energy." in spent(job())
    assert spent() == "By Snakemake's clock the last runs of 9 steps took 1.00 hours together; " + NO_MACHINES
    assert spent(steps=0) == "Snakemake's times are not there; " + NO_MACHINES
    assert "cut off" not in spent(job())
    assert "(1 cut off, whose time is known in part)" in spent(job(), job() | {"ended": None})


def test_the_last_job_that_ended_well_made_a_result() -> None:
    def tried(image: str, hour: int, ended: str | None, makes: str | None = "a.csv") -> Any:
        return {"makes": makes, "started": f"2026-01-01T{hour:02d}:00:00Z", "ended": ended, "image": image}

    found = [tried("second", 2, "ok"), tried("first", 1, "ok"), tried("failed", 3, "failed"), tried("killed", 4, None)]
    made = makers([*found, tried("other", 5, "ok", "b.csv"), tried("check", 6, "ok", None)])
    assert {name: job["image"] for name, job in made.items()} == {"a.csv": "second", "b.csv": "other"}


def test_slurm_s_accounting_is_asked_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sacct = tmp_path / "bin/sacct"
    sacct.parent.mkdir()
    sacct.write_text(
        f"#!/bin/sh\necho $@ >> {tmp_path}/asked\n"
        "echo '7|CANCELLED by 1000|60|cpu=1|0'\necho '7|COMPLETED|90|cpu=1,gres/gpu=2|500'\necho '9|RUNNING|9|cpu=1|'\n"
    )
    sacct.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sacct.parent}:/usr/bin:/bin")
    folder = tmp_path / "host"
    folder.mkdir()
    for name, number in (("a", "7"), ("b", "7"), ("c", None)):
        (folder / f"{name}.json").write_text(json.dumps(job(slurm=number)))
    found = accounted(folder, jobs(folder))
    assert [(row["state"], row["seconds"], row["gpus"], row["joules"]) for row in found] == [
        ("CANCELLED", 60, 0, None),
        ("COMPLETED", 90, 2, 500),
    ]
    assert "-j 7 " in (tmp_path / "asked").read_text()
    sacct.unlink()  # the site has forgotten
    assert accounted(folder, jobs(folder)) == found
    assert len(jobs(folder)) == 3


def test_a_table_that_is_none_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("s\th:m:s\n3600.0\t1:00:00\n")
    (tmp_path / "b.tsv").write_text("nothing\n")
    assert benchmarked(path.read_text() for path in sorted(tmp_path.iterdir())) == (1.0, 1)
