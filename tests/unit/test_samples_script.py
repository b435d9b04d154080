"""scripts/samples.py as a program: its files, and one line instead of a traceback for what it cannot use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common.files import read_jsonl
from trading.bars import write_bars
from trading.synthetic import Calibration, Settings, synthetic_bars

SCRIPT = Path(__file__).parents[2] / "scripts" / "samples.py"
SPLITS = ("train", "validation", "test")


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "bars.csv"
    write_bars(path, synthetic_bars(Settings(bars=600), Calibration(hours=0))[0])
    return path


def run(bars: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    outputs = [f"--output-{name}={bars.parents[1] / name}.jsonl" for name in SPLITS]
    command = [sys.executable, str(SCRIPT), "--bars", str(bars), *flags, *outputs]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def outputs(bars: Path) -> list[str]:
    return sorted(path.name for path in bars.parents[1].iterdir() if path.is_file())


def test_three_files_and_a_line_about_them(bars: Path) -> None:
    done = run(bars, "--prompt", "report", "--no-mask", "--test", "0.2", "--validation", "50")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("samples: train 248 (")
    rows = {name: read_jsonl(bars.parents[1] / f"{name}.jsonl") for name in SPLITS}
    assert {name: len(found) for name, found in rows.items()} == {"train": 248, "validation": 50, "test": 107}
    assert "2025-01-" in rows["test"][0]["prompt"][0]["content"]


def test_no_validation_leaves_an_empty_file(bars: Path) -> None:
    assert run(bars, "--test", "100", "--validation", "0").returncode == 0
    assert (bars.parents[1] / "validation.jsonl").read_text() == ""


def test_too_few_bars_is_one_line_exit_code_1_and_no_file(bars: Path) -> None:
    done = run(bars)
    assert done.returncode == 1
    assert done.stderr.startswith(f"samples: error: {bars}: too few bars: 600 bars make 479 samples")
    assert done.stderr.count("\n") == 1
    assert outputs(bars) == []


def test_a_bad_bars_file_leaves_what_was_there(bars: Path) -> None:
    assert run(bars, "--test", "100", "--validation", "0").returncode == 0
    before = (bars.parents[1] / "test.jsonl").read_bytes()
    lines = bars.read_text().splitlines()
    bars.write_text("\n".join([*lines[:400], *lines[401:]]))
    done = run(bars, "--test", "100", "--validation", "0")
    assert done.returncode == 1
    assert f"{bars}, line 401: a gap: 2:00:00" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (bars.parents[1] / "test.jsonl").read_bytes() == before
    assert outputs(bars) == ["test.jsonl", "train.jsonl", "validation.jsonl"]
    assert run(bars, "--test", "100", "--validation", "0", "--gaps", "allow").returncode == 0


@pytest.mark.parametrize("size", ["much", "1.5", "-3", "nan"])
def test_a_size_is_a_count_or_a_share(bars: Path, size: str) -> None:
    done = run(bars, f"--test={size}")
    assert done.returncode == 1
    assert f"--test: given '{size}'; allowed: a whole number of 1 or more, or a share between 0 and 1" in done.stderr
