"""The stand-ins for CUDA's kernels are never on the path where a GPU is used, and no GPU is used where they are.

Each case is a program of its own that prepares itself as infer.py does, on a machine where torch finds GPUs: unless
there are real ones, by a torch that says so, and that heeds CUDA_VISIBLE_DEVICES as the real one does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
STUBS = ROOT / "scripts" / "inference" / "cpu_stubs"
REAL_GPU = torch.cuda.is_available()
PROGRAM = """
import importlib.util, os, sys
import torch
if {pretend}:
    torch.cuda.is_available = lambda: os.environ.get("CUDA_VISIBLE_DEVICES") != ""
    torch.cuda.device_count = lambda: int(torch.cuda.is_available())
{before}
from common.errors import InputError
from inference.processes import prepare_process, stand_ins_on_path
from inference.settings import Hardware
try:
    prepare_process(Hardware({device!r}), 1)
except InputError as error:
    print("refused:", error)
print(torch.cuda.is_available(), stand_ins_on_path(), importlib.util.find_spec("sgl_kernel").origin)
"""


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    """A folder with what stands for the real sgl_kernel, as the CUDA image has it in its site-packages."""
    (tmp_path / "sgl_kernel.py").write_text("REAL = True\n")
    return tmp_path


def prepared(kernels: Path, device: str, before: str = "", more: Path | None = None) -> list[str]:
    """What the program prints: a refusal if there is one; GPU seen, stand-ins on the path, where sgl_kernel is."""
    path = os.pathsep.join(map(str, [ROOT / "scripts", *([more] if more else []), kernels]))
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    program = PROGRAM.format(device=device, before=before, pretend=not REAL_GPU)
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env={**environment, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_on_cuda_the_real_kernels_are_found(kernels: Path) -> None:
    assert prepared(kernels, "cuda") == [f"True False {kernels / 'sgl_kernel.py'}"]


def test_on_a_cpu_any_gpu_is_hidden_and_the_stand_ins_are_found(kernels: Path) -> None:
    assert prepared(kernels, "cpu") == [f"False True {STUBS / 'sgl_kernel' / '__init__.py'}"]


def test_a_gpu_that_cannot_be_hidden_any_more_keeps_the_stand_ins_off_the_path(kernels: Path) -> None:
    # As in a program that used CUDA before: torch goes on seeing it, whatever the variable says.
    used = "torch.cuda.is_available = lambda: True; torch.cuda.device_count = lambda: 1"
    refusal, state = prepared(kernels, "cpu", before=used)
    assert refusal.startswith("refused: device is cpu, but torch sees a GPU")
    assert state == f"True False {kernels / 'sgl_kernel.py'}"


def test_stand_ins_that_somebody_put_on_the_path_are_refused_on_cuda(kernels: Path) -> None:
    refusal, state = prepared(kernels, "cuda", more=STUBS)
    assert refusal.startswith(f"refused: device is cuda, but {STUBS} is on Python's path")
    assert state.startswith("True True")  # the control: without the refusal they would have been imported


@pytest.mark.parametrize("module", ["sgl_kernel", "torchvision", "vllm"])
def test_an_import_of_a_stand_in_beside_a_gpu_fails(module: str) -> None:
    program = PROGRAM.format(device="cpu", before="", pretend=not REAL_GPU).partition("from common")[0]
    for hidden, works in (("", True), ("0", False)):
        environment = {**os.environ, "PYTHONPATH": str(STUBS), "CUDA_VISIBLE_DEVICES": hidden}
        command = [sys.executable, "-W", "ignore", "-c", program + f"import {module}"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert (done.returncode == 0) == works
        assert works or "torch sees a GPU" in done.stderr
