"""`make test-gpu`: training on CUDA takes the steps that it takes on a CPU, in float32."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_model_scripts import call, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warmed-up base model, and its Megatron checkpoint beside it."""
    folder = tmp_path_factory.mktemp("model")
    tiny = ["--source=tiny", "--name=Tiny", "--tiny-warm-up-steps=200", f"--output={folder / 'base'}"]
    for script, arguments in (
        ("base_model", tiny),
        ("import_weights", [f"--base={folder / 'base'}", f"--output={folder / 'megatron'}"]),
    ):
        done = call(script, *arguments)
        assert done.returncode == 0, done.stderr[-2000:]
    return folder


def metrics(model: Path, folder: Path, *more: str) -> list[dict]:
    steady = ["--iterations=8", "--max-new-tokens=14", "--learning-rate=0.001", "--spike-action=log"]
    done = train(model / "base", model / "megatron", folder, *steady, *more)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def largest_difference(a: list[dict], b: list[dict]) -> float:
    names = ("reward", "loss", "update_loss", "kl", "entropy")
    return max(abs(x[name] - y[name]) for x, y in zip(a, b, strict=True) for name in names)


def test_cuda_follows_the_cpu(model: Path, tmp_path: Path) -> None:
    cpu = metrics(model, tmp_path / "cpu")
    cuda = metrics(model, tmp_path / "cuda", "--device=cuda")
    assert largest_difference(cpu, cuda) < 1e-4
    for x, y in zip(cpu, cuda, strict=True):
        assert x["grad_norm"] == pytest.approx(y["grad_norm"], rel=1e-3)
    other = metrics(model, tmp_path / "other", "--seed=1")
    assert largest_difference(cpu, other) > 1e-2  # the control: another seed differs


def test_the_manifest_names_the_gpu(model: Path, tmp_path: Path) -> None:
    metrics(model, tmp_path / "cuda", "--device=cuda")
    manifest = json.loads((tmp_path / "cuda/checkpoint.json").read_text())
    assert manifest["device"] == "cuda"
    assert manifest["device_name"] == torch.cuda.get_device_name()


def test_a_checkpoint_of_a_gpu_exports_on_a_cpu(model: Path, tmp_path: Path) -> None:
    from test_model_scripts import export

    metrics(model, tmp_path / "cuda", "--device=cuda")
    done = export(tmp_path / "cuda/checkpoint.json", model / "base", tmp_path / "out")
    assert done.returncode == 0, done.stderr[-2000:]
