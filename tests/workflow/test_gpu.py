"""`make test-gpu`: training on CUDA takes the steps that it takes on a CPU, and large models take steps at all."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import gpu_results
import gpu_steps
import pytest

pytest.importorskip("megatron.core", reason="megatron-core is not installed; the image train-cuda has it")

import torch
import torch.nn.functional as F  # noqa: N812
from conversion import make_base
from project_copy import PROJECT
from running import machine
from test_model_scripts import call, train
from test_parallel import run, single, worst_gradient, worst_loss
from torch.nn.attention import SDPBackend, sdpa_kernel
from training_throughput import INSTALL

from common.datasheet import known
from common.provenance import record
from grpo.attention import attention
from grpo.shape import read_shape
from planning.model import weights
from planning.refusal import MEMORY_ERROR

__all__ = ["run", "single"]  # fixtures

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU, as without -m gpu"),
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
    steady += [f"--{name}=0" for name in ("warm-up-iterations", "decay-iterations", "validate-every")]
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


HAS_ENGINE = importlib.util.find_spec("transformer_engine") is not None
NEEDS_ENGINE = pytest.mark.skipif(not HAS_ENGINE, reason="TransformerEngine is not installed")
OPTIMIZERS = ["replicated", pytest.param("distributed", marks=NEEDS_ENGINE), "offloaded"]


@pytest.mark.parametrize("how", [[], ["--recompute"]], ids=" ".join)
def test_replayed_rollouts_give_the_gradients_of_a_cpu(run, single: dict, how: list[str]) -> None:
    cuda = run("cuda" + "".join(how), 1, "--device", "cuda", *how)
    assert worst_loss(single, cuda) < 1e-4
    assert worst_gradient(single, cuda) < 1e-4


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_bfloat16_stays_near_float32_on_replayed_rollouts(run, single: dict, optimizer: str) -> None:
    half = run(f"bf16-{optimizer}", 1, "--device", "cuda", "--precision", "bf16", "--optimizer", optimizer)
    first = [{"rows": part["rows"][:1], "gradients": part["gradients"][:1]} for part in (single, half)]
    assert 1e-6 < worst_loss(*first) < 0.05
    norms = [sum(float(g.square().sum()) for g in part["gradients"][0].values()) ** 0.5 for part in first]
    assert norms[1] == pytest.approx(norms[0], rel=0.05)
    exact, rounded = (part["gradients"][0] for part in first)
    for name, gradient in exact.items():
        likeness = float(F.cosine_similarity(gradient.flatten(), rounded[name].flatten().float(), dim=0))
        assert likeness > 0.99, f"{name}: {likeness}"


@pytest.mark.parametrize(("tensor", "data"), [(2, 1), (1, 2), (2, 2)])
def test_several_gpus_follow_a_cpu(run, single: dict, tensor: int, data: int) -> None:
    if torch.cuda.device_count() < tensor * data:
        pytest.skip(f"torch sees {torch.cuda.device_count()} GPUs, {tensor * data} are needed")
    where = ["--device", "cuda", "--tensor", tensor, "--data", data]
    several = run(f"cuda-{tensor}-{data}", tensor * data, *where)
    assert worst_loss(single, several) < 1e-4
    assert worst_gradient(single, several) < 1e-4


FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("masked", [True, False])
def test_attention_is_fused_and_that_of_a_cpu(dtype: torch.dtype, masked: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(50, 130, dtype=torch.bool).tril(80)[None, None] if masked else None
    keys = 130 if masked else 50
    query, key, value = (torch.randn(4, h, n, 64, generator=generator) for h, n in ((8, 50), (2, keys), (2, keys)))

    def results(device: str, dtype: torch.dtype) -> list[torch.Tensor]:
        inputs = [x.to(device, dtype).requires_grad_() for x in (query, key, value)]
        out = attention(*inputs, mask if mask is None else mask.to(device))
        return [x.cpu().float() for x in (out, *torch.autograd.grad(out.float().square().sum(), inputs))]

    exact = results("cpu", torch.float32)
    with sdpa_kernel(FUSED):  # an error where none of them takes it
        found = results("cuda", dtype)
    for a, b in zip(exact, found, strict=True):
        assert float((a - b).norm() / a.norm()) < (1e-4 if dtype is torch.float32 else 0.02)


def test_shared_heads_and_a_mask_no_fused_kernel_takes() -> None:
    """Why each head gets a key of its own."""
    query, key = torch.randn(1, 8, 16, 64, device="cuda"), torch.randn(1, 2, 16, 64, device="cuda")
    mask = torch.ones(16, 16, dtype=torch.bool, device="cuda").tril()
    with sdpa_kernel(FUSED), pytest.raises(RuntimeError, match="No available kernel"):
        F.scaled_dot_product_attention(query, key, key, attn_mask=mask, enable_gqa=True)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_in_bfloat16_resumes_and_says_how_fast_it_was(model: Path, tmp_path: Path, optimizer: str) -> None:
    half = ["--device=cuda", "--precision=bf16", "--recompute", f"--optimizer={optimizer}"]
    whole = metrics(model, tmp_path / "whole", *half)
    assert all(row["model_flops_per_second"] > 0 for row in whole)
    if known(torch.cuda.get_device_name()):
        assert all(0 < row["mfu"] < 1 for row in whole)
    metrics(model, tmp_path / "parts", *half, "--iterations=4")
    parts = metrics(model, tmp_path / "parts", *half)
    for x, y in zip(whole, parts, strict=True):
        assert x["loss"] == pytest.approx(y["loss"], abs=0.02)
    layers = json.loads((tmp_path / "whole/checkpoint.json").read_text())["layers"]
    assert layers == ("transformer_engine" if HAS_ENGINE else "local")


@pytest.mark.parametrize(
    ("size", "how"),
    [
        ((28, 1024, 16, 8, 128, 3072, 151_936), ["--precision=bf16"]),
        ((36, 2560, 32, 8, 128, 9728, 151_936), ["--precision=bf16", "--recompute", "--optimizer=offloaded"]),
    ],
    ids=["0.6B", "4B"],
)
def test_a_large_model_of_random_weights_takes_steps(tmp_path: Path, size: tuple[int, ...], how: list[str]) -> None:
    memory = torch.cuda.get_device_properties(0).total_memory
    if memory < 75e9:
        pytest.skip(f"this GPU has {memory / 1e9:.0f} GB, 80 are needed")
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if "--optimizer=offloaded" in how and host < 110e9:
        pytest.skip(f"this machine has {host / 1e9:.0f} GB, 110 are needed for Adam's state of 4 billion weights")
    base, megatron = tmp_path / "base", tmp_path / "megatron"
    make_base(base, size)
    done = call("import_weights", f"--base={base}", f"--output={megatron}")
    assert done.returncode == 0, done.stderr[-2000:]
    driver = [sys.executable, "-W", "ignore", Path(__file__).parent / "gpu_steps.py"]
    done = subprocess.run(
        [*driver, f"--base={base}", f"--weights={megatron / 'iter_0000000'}", *how],
        env={**os.environ, "PYTHONPATH": str(PROJECT / "scripts")},
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert all(row["grad_norm"] > 0 for row in rows)
    optimizer = "offloaded" if "--optimizer=offloaded" in how else "replicated"
    settings = {"precision": "bf16", "optimizer": optimizer, "recompute": "--recompute" in how}
    shape = read_shape(base)
    found = gpu_steps.compared(shape, settings, rows, torch.cuda.get_device_name(), memory)
    about = record(argparse.Namespace(**settings, **gpu_steps.TASK), {}, ("torch", "megatron-core"))
    result = {"machine": machine("cuda"), "weights": weights(shape), **found, **about}
    gpu_results.keep(f"large-model-{weights(shape) / 1e9:.1g}b", result, gpu_results.size_summary(result))
    # Times are written down only: the planner's are within a factor of two, by what others published.
    assert found["measured"]["gigabytes"] == pytest.approx(found["planned"]["gigabytes"], rel=MEMORY_ERROR)


@pytest.mark.timeout(1500)
def test_throughput_against_trl(model: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("trl") is None:
        pytest.skip(f"TRL is not installed: {INSTALL.replace('python', sys.executable, 1)}")
    metrics(model, tmp_path, "--iterations=1")  # leaves samples
    out = tmp_path / "throughput.json"
    command = [sys.executable, PROJECT / "benchmarks/training_throughput.py", "--shape=0.6b", "--device=cuda"]
    command += ["--precision=bf16", f"--train={tmp_path / 'train.jsonl'}", "--prompts-per-iteration=8"]
    done = subprocess.run([*command, "--max-new-tokens=128", f"--output={out}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(out.read_text())
    assert min(found[name]["tokens_per_second"] for name in ("own_loop", "trl")) > 0
    # The same work: answers of the same length, but for what each draws.
    assert found["own_loop"]["mean_tokens"] == pytest.approx(found["trl"]["mean_tokens"], rel=0.2)
    gpu_results.keep("training-throughput", found, gpu_results.throughput_summary(found, "own_loop", "trl"))
