"""The benchmarks of throughput run, at the smallest size, on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import running
import training_throughput
from project_copy import PROJECT
from random_model import SHAPES, write_random_model
from tests.tiny_model import sample_rows

from common.errors import InputError
from common.files import read_json, write_jsonl
from grpo.shape import read_shape


def test_a_random_model_has_the_size_of_the_real_one(tmp_path: Path) -> None:
    shape = read_shape(write_random_model("small", tmp_path / "base"))
    found = (shape.layers, shape.hidden, shape.heads, shape.query_groups, shape.head_dim, shape.ffn, shape.vocabulary)
    assert found == SHAPES["small"]
    assert shape.tied_embeddings
    # Qwen3-0.6B's config.json, as published.
    assert SHAPES["0.6b"] == (28, 1024, 16, 8, 128, 3072, 151_936)


@pytest.mark.long
def test_inference_is_measured_beside_transformers(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "test.jsonl", sample_rows(8))
    command = [sys.executable, PROJECT / "benchmarks/inference_throughput.py", "--shape=small", "--device=cpu"]
    command += ["--max-new-tokens=8", "--count=8", f"--samples={tmp_path}/test.jsonl", f"--output={tmp_path}/out.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = read_json(tmp_path / "out.json")
    assert {"what", "machine", "samples", "parameters", "inputs", "versions", "times_as_fast"} <= found.keys()
    assert found["parameters"]["shape"] == "small"
    assert found["sglang"]["tokens"] == found["transformers"]["tokens"] == 64
    assert not {str(tmp_path), str(Path.home())} & set(json.dumps(found).split('"'))


@pytest.mark.long
def test_the_own_loop_is_measured_on_a_random_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What TRL is measured against; TRL itself is installed by hand."""
    rows = sample_rows(8)
    for number, row in enumerate(rows):
        row["metadata"]["next_price"] = 101.0 if number % 2 else 99.0
    write_jsonl(tmp_path / "train.jsonl", rows)
    command = ["benchmark", "--shape=small", f"--train={tmp_path}/train.jsonl", "--device=cpu", "--iterations=3"]
    command += ["--prompts-per-iteration=4", "--group-size=2", "--max-new-tokens=6", f"--output={tmp_path}/out.json"]
    monkeypatch.setattr(sys, "argv", command)
    args = training_throughput.arguments()
    training_throughput.take_random(args, tmp_path)
    assert training_throughput.own_speed(args, tmp_path)["mean_tokens"] == 4 * 2 * 6
    monkeypatch.setattr(training_throughput.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(
        InputError, match=r"TRL is not installed: python -m pip install --no-deps -r benchmarks/trl\.txt"
    ):
        training_throughput.main()


def test_the_machine_is_named_with_its_gpus_their_driver_and_its_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "processor", lambda: "Kind A")
    monkeypatch.setattr(running.os, "cpu_count", lambda: 16)
    assert running.machine("cpu") == "16 cores (Kind A)"
    monkeypatch.setattr(running.gpus, "asked", lambda *_: "0, GPU-1, Some GPU, 81559, 580.1\n")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Some GPU")
    assert running.machine("cuda") == "1 x Some GPU (driver 580.1), 16 cores (Kind A)"

    def silent(*_: str) -> str:
        raise InputError("no nvidia-smi")

    monkeypatch.setattr(running.gpus, "asked", silent)
    assert running.driver() == "unknown"
