"""The tiny real calls in the %test of images; those of the model's stages, which take long, run in the images alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from slime_stand_ins import build
from tiny_run import FOLDER, PROJECT, make

IN_SECONDS = ("market", "samples", "simulate", "evaluate", "deck", "tearsheet")  # the last two draw what plot draws


def tiny(name: str, project: Path = PROJECT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call it with the Python of these tests."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return subprocess.run(
        ["sh", project / "containers/tiny.sh", name],
        env=os.environ | {"PATH": path} | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What a tiny call needs, to spoil."""
    for part in ("containers", "scripts"):
        ignore = shutil.ignore_patterns("*.sif", ".pip", "*.log", "__pycache__")
        shutil.copytree(PROJECT / part, tmp_path / part, ignore=ignore)
    return tmp_path


def shape(value: Any) -> Any:
    """Names and kinds in a JSON value, of a list those of its first element."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value[:1]]
    return type(value).__name__


@pytest.mark.parametrize("name", IN_SECONDS)
def test_the_rules_own_program_does_its_work_and_nothing_is_left(name: str, tmp_path: Path) -> None:
    done = tiny(name, TMPDIR=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "said"),
    [
        ("market", "scripts/market.py", "write_bars(", "print(", "bars.csv was not written"),
        ("market", "scripts/trading/synthetic.py", "import numpy as np", "import nump as np", "No module named 'nump'"),
        ("deck", "scripts/report/document.py", "def save(", "def kept(", "cannot import name 'save'"),
        ("infer-cuda", "scripts/infer.py", "with terminable():", "with ended():", "name 'ended' is not defined"),
    ],
)
def test_a_program_that_breaks_fails_and_says_what_it_said(
    project: Path, name: str, file: str, old: str, new: str, said: str
) -> None:
    path = project / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    done = tiny(name, project)
    assert done.returncode != 0
    assert said in done.stderr


def test_a_program_for_gpus_has_to_miss_them_and_nothing_else(project: Path, tmp_path: Path) -> None:
    stand_ins = build(tmp_path / "stand-ins")["PYTHONPATH"]
    assert tiny("train-slime", project, PYTHONPATH=stand_ins).returncode == 0
    tools = f"{tmp_path / 'stand-ins/bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"  # with an nvidia-smi
    assert tiny("train-slime", project, PYTHONPATH=stand_ins, PATH=tools).returncode == 0
    program = project / "scripts/train.py"
    program.write_text(program.read_text().replace("    check(args)\n", "    return\n"))
    done = tiny("train-slime", project, PYTHONPATH=stand_ins)
    assert (done.returncode, done.stderr) == (1, "train: ran without a GPU\n")


def test_the_tiny_run_has_the_form_of_what_the_programs_write_today(tmp_path: Path) -> None:
    make(tmp_path / "run")
    there, today = ({path.relative_to(folder) for path in folder.rglob("*.*")} for folder in (FOLDER, tmp_path / "run"))
    assert there == today
    for name in ("metrics", "evidence"):
        one, other = (
            shape(json.loads((folder / f"leverage-2/{name}.json").read_text())) for folder in (FOLDER, tmp_path / "run")
        )
        assert one == other, "Run .venv/bin/python tests/unit/tiny_run.py"
