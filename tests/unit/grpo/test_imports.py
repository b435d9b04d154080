"""Reading and writing weights imports nothing that takes seconds: that happens in a process beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WORK = """
import sys, tempfile
from pathlib import Path
import torch
from grpo import hugging_face, stored_weights
from grpo.shape import Qwen3Shape
from grpo.tensors import same_bits
from grpo.weights import check_checkpoint, expected_shapes, to_hugging_face, to_megatron

shape = Qwen3Shape(2, 32, 4, 2, 8, 64, 64, 5e6, 1e-6, True, 512)
tensors = {name: torch.randn(size) for name, size in expected_shapes(shape).items()}
layout = {name: torch.empty(size, device="meta") for name, size in expected_shapes(shape).items()}
folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
before = set(sys.modules)
WORK
megatron, meta = to_megatron(tensors, shape), to_megatron(layout, shape)
stored = stored_weights.write_weights(folder, 0, megatron, meta)
read = stored_weights.read_weights(stored)
assert all(same_bits(read[name], megatron[name]) for name in megatron)
check_checkpoint(stored_weights.read_weights(stored, meta=True), shape, "here")
hugging_face.write_tensors(folder, layout, to_hugging_face(read, shape))
print(*sorted(set(sys.modules) - before))
"""
SMALL = {"torch.utils.serialization", "torch.utils.serialization.config"}

PARITY = """
import sys
from common.cpu_alone import on_cpu_alone
START
import grpo.parity
print(*sorted(name for name, module in sys.modules.items() if module is not None))
"""


@pytest.mark.parametrize("alone", [True, False])
def test_a_program_on_a_cpu_alone_leaves_out_what_transformers_has_no_use_for(alone: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARITY.replace("START", "on_cpu_alone()" if alone else "")],
        env={"PYTHONPATH": str(Path(__file__).parents[3] / "scripts"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = set(done.stdout.split())
    assert {"transformers", "megatron.core"} <= found
    assert ("scipy" in found) == ("sklearn" in found) == (not alone)


@pytest.mark.parametrize(
    ("more", "imported"), [("", set()), ("torch.cat([layout['model.norm.weight']])", {"torch._dynamo"})]
)
def test_reading_and_writing_weights_imports_nothing_large(tmp_path: Path, more: str, imported: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WORK.replace("WORK", more), str(tmp_path)],
        env={"PYTHONPATH": str(Path(__file__).parents[3] / "scripts"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = set(done.stdout.split()) - SMALL
    assert imported <= found
    if not imported:
        assert not found
