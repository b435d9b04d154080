"""Import and export of a model that several ranks trained, and what is left of them when they are killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conversion import SIZES, make_base
from project_copy import PROJECT
from test_model_scripts import call, export, refused

from common.files import sha256, write_json
from grpo.hugging_face import read_tensors
from grpo.qwen3 import read_shape
from grpo.stored_weights import read_weights
from grpo.weights import weights_sum
from tensor_sums import checksum

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen3-4B's structure, small, in bfloat16; its 1000 tokens are no multiple of anything."""
    folder = tmp_path_factory.mktemp("model") / "base"
    make_base(folder, SIZES["small"])
    return folder


@pytest.fixture(scope="module")
def megatron(base: Path) -> Path:
    done = call("import_weights", f"--base={base}", f"--output={base.parent / 'megatron'}")
    assert done.returncode == 0, done.stderr[-2000:]
    return base.parent / "megatron"


@pytest.fixture(scope="module")
def manifest(base: Path, megatron: Path) -> Path:
    """What two tensor and two pipeline ranks saved."""
    return trained(base, megatron, base.parent / "train", tensor=2, pipeline=2)


def trained(base: Path, megatron: Path, folder: Path, tensor: int, pipeline: int) -> Path:
    """Manifest of what four of Megatron's ranks saved, with their optimisers: the negated weights."""
    launcher = [str(PROJECT / "scripts/grpo/launch.py"), "--standalone", "--nproc-per-node", "4"]
    driver = [str(HERE / "split_driver.py"), f"--base={base}", f"--weights={megatron / 'iter_0000000'}"]
    split = [f"--tensor={tensor}", f"--pipeline={pipeline}"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *launcher, *driver, *split, f"--output={folder}"],
        env={"PYTHONPATH": str(PROJECT / "scripts"), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    written = folder / "iter_0000001"
    record = {
        "iteration": 1,
        "name": written.name,
        "checkpoint": written.name,
        "shape": read_shape(base).as_dict(),
        "weights_sha256": weights_sum(written, read_shape(base)),
        "inputs": {"base": sha256(base)},
    }
    write_json(folder / "checkpoint.json", record)
    return folder / "checkpoint.json"


@pytest.mark.parametrize(("tensor", "pipeline"), [(2, 2), (4, 1), (1, 4)])
def test_what_tensor_and_pipeline_ranks_saved_is_exported_bit_by_bit(
    base: Path, megatron: Path, manifest: Path, tmp_path: Path, tensor: int, pipeline: int
) -> None:
    if (tensor, pipeline) != (2, 2):
        manifest = trained(base, megatron, tmp_path / "train", tensor, pipeline)
    stored = read_weights(manifest.parent / "iter_0000001")
    assert stored["embedding.word_embeddings.weight"].shape == (1024, 64)  # to a multiple of 128 for each tensor rank
    assert len(list((manifest.parent / "iter_0000001").glob("*.distcp"))) >= 4
    done = export(manifest, base, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    before, after = read_tensors(base), read_tensors(tmp_path / "trained")
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], -before[name]) for name in before)
    parity = json.loads((tmp_path / "parity.json").read_text())
    assert parity["round_trip_bit_equal"] is True
    assert parity["largest_rounding"] == 0
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / "trained" / name).read_bytes() == (base / name).read_bytes()


def test_a_checkpoint_that_lost_a_ranks_file_is_refused(base: Path, manifest: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(manifest.parent, tmp_path / "train"))
    next((folder / "iter_0000001").glob("__3_*.distcp")).unlink()
    refused(export(folder / "checkpoint.json", base, tmp_path), "iter_0000001", "cannot be read")
    assert not (tmp_path / "trained").exists()


@pytest.mark.parametrize("script", ["import_weights", "export_weights"])
def test_killed_at_any_moment_nothing_looks_finished(
    base: Path, megatron: Path, manifest: Path, tmp_path: Path, script: str
) -> None:
    out = tmp_path / "out"
    arguments = [f"--base={base}", f"--output={out}"]
    if script == "export_weights":
        arguments += [f"--manifest={manifest}", f"--output-parity={tmp_path / 'parity.json'}"]
    rng, killed = random.Random(0), 0
    for _ in range(2):
        process = subprocess.Popen([sys.executable, str(PROJECT / "scripts" / f"{script}.py"), *arguments])
        while process.poll() is None and not list(tmp_path.glob(".out.*.partial/*")):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        if process.wait() == -signal.SIGKILL:
            killed += 1
            assert not out.exists()
            assert not (tmp_path / "parity.json").exists()
            assert list(tmp_path.glob(".out.*.partial"))
    assert killed
    done = call(script, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not list(tmp_path.glob(".out.*.partial"))
    if script == "import_weights":
        again = read_weights(out / "iter_0000000")
        assert checksum(again) == checksum(read_weights(megatron / "iter_0000000"))


SPOILT_DISK = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from common import disk, errors
script = __import__(sys.argv[1])
put = disk.DiskFile._put

def spoil(file, piece):
    if piece.size > 100_000:  # weights: the last bit of one, of which no logit tells, or the first of its exponent
        piece = piece.copy()
        piece[piece.size // 8 * 4 + (3 if HIGH else 0)] ^= 64 if HIGH else 1
    put(file, piece)

disk.DiskFile._put = spoil
del sys.argv[0]
errors.run(script.main)
"""


@pytest.mark.parametrize("high", [True, False])
@pytest.mark.parametrize("script", ["import_weights", "export_weights"])
def test_what_the_disk_changed_is_refused(base: Path, manifest: Path, tmp_path: Path, script: str, high: bool) -> None:
    given = [f"--base={base}", f"--output={tmp_path / 'out'}"]
    if script == "export_weights":
        given += [f"--manifest={manifest}", f"--output-parity={tmp_path / 'parity.json'}"]
    done = subprocess.run(
        [sys.executable, "-c", SPOILT_DISK.replace("HIGH", str(high)), str(PROJECT / "scripts"), script, *given],
        capture_output=True,
        text=True,
        timeout=200,
    )
    refused(done, "is not as it was written")
    assert list(tmp_path.iterdir()) == []
