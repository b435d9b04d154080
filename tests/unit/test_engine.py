"""Around the engine: the memory it is given, the processes it runs in, the watchdog that ends it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from inference.model import Model
from inference.processes import STUBS, environment, prepare_process, socket_folder
from inference.settings import Hardware, cache_tokens

CPU, CUDA = Hardware("cpu"), Hardware("cuda")


@given(batch=st.integers(1, 512), longest=st.integers(1, 200), per_token=st.integers(64, 2**22))
def test_the_cache_holds_one_answer_at_least_and_stays_modest(batch: int, longest: int, per_token: int) -> None:
    model = Model(Path(), "m", 304, 256, 4, 2, 16, 128, per_token, frozenset())
    tokens = cache_tokens(model, batch, longest)
    one = longest + 1
    assert one <= tokens <= batch * one
    assert tokens == one or tokens * per_token <= 2**30


# --- devices


def test_cpu_hides_any_gpu_and_honours_the_threads() -> None:
    variables = environment("cpu", 3)
    assert variables["CUDA_VISIBLE_DEVICES"] == ""
    assert variables["SGLANG_USE_CPU_ENGINE"] == "1"
    assert (variables["OMP_NUM_THREADS"], variables["HF_HUB_OFFLINE"]) == ("3", "1")


@pytest.mark.parametrize("allowed", [{0}, {1}, {0, 1}])
def test_processes_that_share_a_model_are_bound_to_cores_that_they_may_use(allowed: set[int]) -> None:
    before = os.sched_getaffinity(0)
    if not allowed <= before:
        pytest.skip(f"this machine lets tests use the cores {before} alone")
    os.sched_setaffinity(0, allowed)
    try:
        bound = [environment("cpu", 1, tensor)["SGLANG_CPU_OMP_THREADS_BIND"] for tensor in (1, 2, 3)]
    finally:
        os.sched_setaffinity(0, before)
    first, last = min(allowed), max(allowed)
    assert bound == ["all", f"{first}|{last}", f"{first}|{last}|{first}"]


def test_cuda_leaves_the_gpus_alone() -> None:
    assert "CUDA_VISIBLE_DEVICES" not in environment("cuda", 3)
    assert environment("cuda", 3)["SGLANG_USE_CPU_ENGINE"] == "0"  # whatever the shell says


@pytest.fixture
def _untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.usefixtures("_untouched")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(InputError, match="torch sees no GPU here, 1 is needed"):
        prepare_process(CUDA, 1)
    assert str(STUBS) not in sys.path


@pytest.mark.usefixtures("_untouched")
def test_too_few_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    prepare_process(Hardware("cuda", tensor=2, data=2), 1)
    with pytest.raises(InputError, match="torch sees 4 GPUs here, 6 are needed"):
        prepare_process(Hardware("cuda", tensor=2, data=3), 1)


@pytest.fixture
def _stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("sgl_kernel", "vllm", "torchvision")
    for name in [name for name in sys.modules if name.split(".")[0] in names]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(STUBS))


@pytest.mark.usefixtures("_stubs")
def test_a_stand_in_can_be_imported_but_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    import sgl_kernel
    import torchvision
    import vllm._custom_ops
    from sgl_kernel.kvcacheio import transfer_kv_all_layer

    for function in (
        sgl_kernel.rmsnorm,
        transfer_kv_all_layer,
        vllm._custom_ops.silu_and_mul,
        torchvision.transforms.functional.resize,
        torchvision.transforms.Compose,
    ):
        with pytest.raises(RuntimeError, match="import-only stand-in"):
            function()
    with pytest.raises(AttributeError):
        _ = sgl_kernel.__wrapped__
    for name in [name for name in sys.modules if name.split(".")[0] in ("sgl_kernel", "vllm", "torchvision")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("_stubs")
@pytest.mark.parametrize("name", ["sgl_kernel", "vllm", "torchvision"])
def test_a_stand_in_refuses_where_torch_sees_a_gpu(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import importlib

    monkeypatch.setitem(
        sys.modules, "torch", types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=lambda: True))
    )
    with pytest.raises(ImportError, match="torch sees a GPU"):
        importlib.import_module(name)


# --- the watchdog

WATCHED = """
import sys, time; sys.path.insert(0, "scripts")
from inference.watchdog import Watchdog
state = [0, None]
dog = Watchdog(1.0, lambda: tuple(state), lambda: print("cleaned", flush=True))
dog.start()
{body}
dog.stop()
time.sleep(1.5)
print("survived")
"""


def watched(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WATCHED.format(body=body)], capture_output=True, text=True)


def test_the_watchdog_ends_a_program_that_hangs() -> None:
    began = time.monotonic()
    done = watched("time.sleep(60)")
    assert time.monotonic() - began < 20
    assert (done.returncode, done.stdout) == (1, "cleaned\n")
    assert "no sign of life from SGLang for 1 s" in done.stderr


def test_the_watchdog_ends_a_program_whose_engine_died() -> None:
    done = watched("state[1] = 'exit code -9'; time.sleep(60)")
    assert (done.returncode, done.stdout) == (1, "cleaned\n")
    assert "process died (exit code -9)" in done.stderr


@pytest.mark.parametrize("sign", ["dog.beat()", "state[0] += 1"])
def test_the_watchdog_leaves_a_program_alone_that_moves(sign: str) -> None:
    done = watched(f"for _ in range(6):\n    time.sleep(0.4)\n    {sign}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "survived\n", "")


def test_sockets_get_a_short_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import tempfile

    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    folder = Path(socket_folder())
    assert len(str(folder)) < 80
    assert tempfile.gettempdir() == str(folder)
    folder.rmdir()
