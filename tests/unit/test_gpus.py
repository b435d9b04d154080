"""A job that lacks its GPUs ends at once, with one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from common.nvidia import Gpu, parse, visible
from gpus import check
from planning.machine import Task

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpus.py"
LINE = "{0}, GPU-{0}{0}, NVIDIA H100 80GB HBM3, 81559, 550.54.15"
TWO = [LINE.format(0), LINE.format(1)]


def run(folder: Path, fake: str | None, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the check with a fake nvidia-smi on PATH, or with none."""
    if fake is not None:
        program = folder / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{fake}\n")
        program.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        capture_output=True,
        text=True,
        env=kept | {"PATH": f"{folder}:/bin", **environment},
    )


def printing(lines: list[str]) -> str:
    return "cat <<E\n" + "\n".join(lines) + "\nE"


def test_what_is_there_is_said(tmp_path: Path) -> None:
    done = run(tmp_path, printing(TWO), "--device=cuda", "--count=2", "--memory-mb=80000", "--driver=550")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2 x NVIDIA H100 80GB HBM3, 85521 MB, driver 550.54.15\n"


LISTED = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-00)
  MIG 3g.40gb     Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.10gb     Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-11)"""


def test_a_part_of_a_gpu_is_seen(tmp_path: Path) -> None:
    fake = f'if [ "$1" = -L ]; then {printing([LISTED])}\nelse {printing(TWO)}\nfi'
    part = {"CUDA_VISIBLE_DEVICES": "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f"}
    done = run(tmp_path, fake, "--device=cuda", "--count=1", "--memory-mb=40000", "--driver=550", **part)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1 x NVIDIA H100 80GB HBM3 MIG 3g.40gb, 40000 MB, driver 550.54.15\n"
    unknown = run(tmp_path, fake, "--device=cuda", "--count=1", CUDA_VISIBLE_DEVICES="MIG-1234")
    assert "0 GPUs are seen, 1 are needed" in unknown.stderr


def test_on_a_cpu_nothing_is_looked_for(tmp_path: Path) -> None:
    done = run(tmp_path, "exit 1", "--device=cpu", "--count=0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("fake", "arguments", "environment", "said"),
    [
        (None, ["--count=1"], {}, "no GPU: nvidia-smi is not found"),
        ("echo NVML: Driver/library version mismatch; exit 18", ["--count=1"], {}, "(NVML: Driver/library version"),
        (printing(TWO), ["--count=4"], {}, "2 GPUs are seen, 4 are needed"),
        (printing(TWO), ["--count=2"], {"CUDA_VISIBLE_DEVICES": "1"}, "1 GPUs are seen, 2 are needed"),
        (printing(TWO), ["--count=1"], {"CUDA_VISIBLE_DEVICES": ""}, "0 GPUs are seen, 1 are needed"),
        (printing(TWO), ["--count=1", "--memory-mb=90000"], {}, "has 85521 MB, 90000 are needed"),
        (printing(TWO), ["--count=1", "--driver=560"], {}, "the driver is 550.54.15, at least 560 is needed"),
    ],
)
def test_what_is_missing_is_one_line(
    tmp_path: Path, fake: str | None, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    done = run(tmp_path, fake, "--device=cuda", *arguments, **environment)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("gpus: error: ")
    assert said in line


def test_a_training_that_cannot_fit_ends_before_it_loads_anything(tmp_path: Path) -> None:
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "num_hidden_layers": 36,
        "hidden_size": 2560,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 9728,
        "vocab_size": 151936,
        "rope_theta": 5000000,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "max_position_embeddings": 262144,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    task = Task(2, 1, 1, 1, 1024, 8, 640, 2048, 8192, 0.7, 1)

    def job(engine: str, **change: int) -> subprocess.CompletedProcess[str]:
        settings = {"name": engine, "recompute": True, "released": True, "precision": "fp32", "optimizer": "replicated"}
        asked = {"engine": settings, "task": asdict(replace(task, **change))}
        flags = ["--device=cuda", "--count=2", f"--model={tmp_path}", f"--training={json.dumps(asked)}"]
        return run(tmp_path, printing(TWO), *flags)

    fits = job("slime")
    assert fits.returncode == 0, fits.stderr
    assert "by its size the training takes" in fits.stdout
    for done in (job("megatron"), job("slime", micro_batch=65536)):
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "train: an update takes" in line
        assert "NVIDIA H100 80GB HBM3, with 15%" in line


def test_cuda_sees_what_is_named_up_to_the_first_unknown() -> None:
    gpus = parse("\n".join(TWO))
    assert visible(gpus, {}) == gpus
    assert visible(gpus, {"CUDA_VISIBLE_DEVICES": "1,0"}) == gpus[::-1]
    assert visible(gpus, {"CUDA_VISIBLE_DEVICES": "GPU-11"}) == gpus[1:]
    assert visible(gpus, {"CUDA_VISIBLE_DEVICES": "0,7,1"}) == gpus[:1]


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 100_000), st.integers(0, 100_000))
def test_exactly_enough_passes(seen: int, needed: int, memory: int, least: int) -> None:
    gpus = [Gpu(str(index), f"GPU-{index}", "x", memory, "550.1") for index in range(seen)]
    enough = seen >= needed and (needed == 0 or memory >= least)
    if enough:
        check(gpus, needed, least, 550, "here")
    else:
        with pytest.raises(InputError, match="needed"):
            check(gpus, needed, least, 550, "here")
