"""Host facts: one file a job, whatever becomes of the job; GPUs, CUDA and energy from a stand-in for nvidia-smi."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from common.nvidia import cuda_version, joules, parse

SCRIPTS = Path(__file__).parents[2] / "scripts"
# As the driver's own prints: two GPUs, each 300 W and 100 W, a reading every tenth of a second.
SMI = """\
#!/usr/bin/env python3
import sys, time
words = " ".join(sys.argv[1:])
if "--query-gpu=index" in words:
    print("0, GPU-aa, NVIDIA H100 80GB HBM3, 81559, 550.54.15")
    print("1, GPU-bb, NVIDIA H100 80GB HBM3, 81559, 550.54.15")
elif "power.draw" in words:
    chosen = words.partition("--id=")[2].split(",")
    while True:
        for uuid in chosen:
            print({"GPU-aa": "300.00", "GPU-bb": "POWER"}[uuid], flush=True)
        time.sleep(0.1)
else:
    print("| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: 12.4 |")
"""
# It works until its energy was counted, if it is told to.
PROGRAM = """\
import glob, sys, time
from common.errors import InputError, run

def counted():
    return any('gpu_joules": null' not in open(file).read() for file in glob.glob("results/a/host/infer*.json"))

def main():
    end = time.monotonic() + 60
    while "--wait" in sys.argv and not counted() and time.monotonic() < end or "--forever" in sys.argv:
        time.sleep(0.02)
    if "--fail" in sys.argv:
        raise InputError("bars.csv: empty.")
    if "--crash" in sys.argv:
        raise RuntimeError("a bug")

run(main)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a program, and nvidia-smi on its own PATH."""
    (tmp_path / "bin").mkdir()
    smi(tmp_path, "100.00")
    (tmp_path / "infer.py").write_text(PROGRAM)
    return tmp_path


def smi(place: Path, power: str) -> None:
    program = place / "bin/nvidia-smi"
    program.write_text(SMI.replace("POWER", power))
    program.chmod(0o755)


def start(place: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    environment = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "infer.py", *arguments, "--output-decisions", "results/a/infer/base/decisions.jsonl"]
    return subprocess.Popen(
        command,
        cwd=place,
        env=environment | {"HOST_FACTS": "results/a/host"} | variables,
        stderr=subprocess.PIPE,
        text=True,
    )


def job(place: Path, *arguments: str, **variables: str) -> dict[str, Any]:
    """What one job wrote down."""
    with start(place, *arguments, **variables) as process:
        process.communicate(timeout=60)
    (file,) = (place / "results/a/host").iterdir()
    found = json.loads(file.read_text())
    file.unlink()
    return found


def test_a_job_writes_down_its_machine_and_time(place: Path) -> None:
    found = job(place)
    assert (found["program"], found["makes"], found["ended"]) == ("infer", "infer/base/decisions.jsonl", "ok")
    assert 0 < found["seconds"] < 60
    assert found["node"]["cpus"] == len(os.sched_getaffinity(0))
    assert found["node"]["processor"]
    assert found["node"]["memory_gb"] > 0
    assert (found["python"], found["image"]) == (platform.python_version(), None)
    assert (found["slurm"], found["gpus"], found["cuda"], found["gpu_joules"]) == (None, [], None, None)


def test_a_job_on_gpus_names_those_it_sees_and_adds_up_their_energy(place: Path) -> None:
    found = job(place, "--device=cuda", "--wait")
    gpu = {"name": "NVIDIA H100 80GB HBM3", "memory_mb": 85521, "driver": "550.54.15"}
    assert (found["gpus"], found["cuda"]) == ([gpu, gpu], "12.4")
    assert 0 < found["gpu_joules"] <= 400 * found["seconds"]
    one = job(place, "--device", "cuda", "--wait", CUDA_VISIBLE_DEVICES="1")
    assert one["gpus"] == [gpu]
    assert 0 < one["gpu_joules"] <= 100 * one["seconds"]
    assert job(place, "--device=cuda", CUDA_VISIBLE_DEVICES="")["gpus"] == []


@pytest.mark.parametrize("power", ["[N/A]", "[Not Supported]", ""])
def test_a_gpu_without_a_meter_has_no_energy(place: Path, power: str) -> None:
    smi(place, power)
    found = job(place, "--device=cuda")
    assert len(found["gpus"]) == 2
    assert found["gpu_joules"] is None


def test_no_nvidia_smi_or_a_broken_one_stops_no_job(place: Path) -> None:
    (place / "bin/nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert job(place, "--device=cuda")["gpus"] == []
    (place / "bin/nvidia-smi").unlink()
    assert job(place, "--device=cuda", PATH=f"{place / 'bin'}")["ended"] == "ok"


def test_a_slurm_job_has_its_number_but_no_node_name(place: Path) -> None:
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NUM_NODES": "2", "SLURMD_NODENAME": "gpu-node-17"}
    found = job(place, **slurm, SLURM_RESTART_COUNT="1")
    assert found["slurm"] == {"job": "4711", "restarts": 1, "nodes": 2}
    assert "gpu-node-17" not in json.dumps(found)


def test_a_job_in_a_container_names_its_image_but_not_where_it_lies(place: Path) -> None:
    found = job(place, APPTAINER_NAME="infer-0123456789ab.sif", APPTAINER_CONTAINER="/secret/infer-0123456789ab.sif")
    assert found["image"] == "infer-0123456789ab.sif"
    assert "/secret" not in json.dumps(found)


def test_the_time_of_a_job_begins_before_its_imports(place: Path) -> None:
    (place / "infer.py").write_text("import time\ntime.sleep(0.5)\n" + PROGRAM)
    assert job(place)["seconds"] >= 0.5


def test_how_a_job_ended(place: Path) -> None:
    assert job(place, "--fail")["ended"] == "failed"
    assert job(place, "--crash")["ended"] == "failed"


def test_a_killed_job_was_counted_until_its_last_reading(place: Path) -> None:
    process = start(place, "--device=cuda", "--forever")
    folder = place / "results/a/host"
    deadline = time.monotonic() + 60
    while not any('gpu_joules": null' not in file.read_text() for file in folder.glob("infer*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (file,) = folder.glob("*.json")
    found = json.loads(file.read_text())
    assert found["ended"] is None
    assert 0 < found["gpu_joules"] <= 400 * found["seconds"]


def test_nothing_is_written_without_a_folder_for_it_or_by_torchrun_s_other_processes(place: Path) -> None:
    for variables in ({"HOST_FACTS": ""}, {"RANK": "1"}):
        with start(place, **variables) as process:
            process.communicate(timeout=60)
        assert process.returncode == 0
        assert not (place / "results").exists()


def test_a_folder_that_cannot_be_written_stops_no_job(place: Path) -> None:
    (place / "results").write_text("a file, no folder")
    with start(place) as process:
        assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0


def test_energy_by_hand() -> None:
    clock, told = iter([10.0, 12.0, 16.0]), []
    # Two GPUs: 100 W together, then 300, then 500.
    joules(["40", "60", "100", "200", "500", "0", "7"], 2, lambda: next(clock), told.append)
    assert told == [2 * 200, 2 * 200 + 4 * 400]


def test_what_newer_drivers_print_is_read() -> None:
    assert cuda_version("CUDA UMD Version : 13.0") == "13.0"
    assert cuda_version("CUDA Version: N/A") is None
    assert parse("0, GPU-1, A, [N/A], 550")[0].memory_mb == 0
