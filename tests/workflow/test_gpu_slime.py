"""`make test-gpu IMAGE=containers/train-slime-....sif`: slime on a GPU saves, is killed, goes on, and is exported."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("megatron.core", reason="megatron-core is not installed; the image train-slime has it")

import torch
from test_model_scripts import export
from test_slime_training import FLAGS, samples
from tests.tiny_model import write_tiny_model
from train_files import file_flags

from common.files import write_json, write_jsonl
from slime_engine.checkpoints import whole_iterations

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU, as without -m gpu"),
    pytest.mark.skipif(
        importlib.util.find_spec("slime") is None, reason="slime is not importable; the image train-slime has it"
    ),
    pytest.mark.timeout(1800),
]
SCRIPTS = Path(__file__).parents[2] / "scripts"
ITERATIONS = 8


def test_slime_is_killed_goes_on_and_is_exported(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base", head=64)  # the kernels for GPUs take no smaller ones
    write_json(base / "model.json", {"name": "Tiny", "weights": 1, "source": "test"})
    write_jsonl(tmp_path / "train.jsonl", samples("train", 10))
    write_jsonl(tmp_path / "validation.jsonl", samples("validation", 3))
    imported = [sys.executable, SCRIPTS / "import_weights.py", "--base", base, "--output", tmp_path / "megatron"]
    subprocess.run(imported, check=True)
    files = file_flags(tmp_path / "megatron", base, tmp_path, tmp_path)
    command = [sys.executable, SCRIPTS / "train.py", *FLAGS, *files]
    command.append(f"--iterations={ITERATIONS}")

    running = subprocess.Popen(command)
    deadline = time.monotonic() + 900
    while not any(whole_iterations(folder) for folder in tmp_path.glob("checkpoints/*/slime")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)
    running.send_signal(signal.SIGTERM)
    assert running.wait(120) == 128 + signal.SIGTERM  # before the end

    done = subprocess.run(command, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "resuming after iteration" in done.stdout
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == list(range(1, ITERATIONS + 1))
    assert rows[-1]["grad_norm"] > 0
    exported = export(tmp_path / "checkpoint.json", base, tmp_path / "out")  # refuses weights that are the base's
    assert exported.returncode == 0, exported.stderr[-2000:]
