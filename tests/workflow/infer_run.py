"""infer.py for real: a call of it, its files and its processes, for the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from tests.tiny_model import sample_rows, write_tiny_model

ROOT = Path(__file__).parents[2]
SAMPLES = 200
NOISE = ("Traceback", "Warning", "WARNING", "INFO", "ERROR", "stand-in", "Task was destroyed")
# One in the last place of a log-probability: what else is computed with an answer moves its sixth decimal.
LAST_PLACE = 1.01e-4


class Run:
    """One call of infer.py: its arguments, its outputs, its processes."""

    PROGRAM = "scripts/infer.py"

    def __init__(self, folder: Path, shop: Path, **changes: object) -> None:
        self.folder = folder
        values = {
            "model": shop / "tiny", "variant": "base", "samples": shop / "test.jsonl", "device": "cpu",
            "max-new-tokens": 12, "temperature": 0.0, "batch": 8, "timeout-s": 60,
            "journal": folder / "journal", "output-decisions": folder / "decisions.jsonl",
            "output-summary": folder / "summary.json", "output-timing": folder / "timing.json",
        }  # fmt: skip
        values |= {name.replace("_", "-"): value for name, value in changes.items()}
        self.command = [sys.executable, str(ROOT / self.PROGRAM)]
        for name, value in values.items():
            self.command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        self.folder.mkdir(exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)
        self.log = self.folder / "log"

    def start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "TMPDIR": str(self.folder / "tmp")}
        with open(self.log, "wb") as log:
            return subprocess.Popen(self.command, stdout=log, stderr=log, env=environment)

    def done(self) -> Run:
        assert self.start().wait(timeout=200) == 0, self.said()
        return self

    def said(self) -> str:
        return self.log.read_text()

    def decisions(self) -> list[dict[str, Any]]:
        return rows_of(self.folder / "decisions.jsonl")

    def json(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / f"{name}.json").read_text())

    def journal(self) -> Path | None:
        return next((self.folder / "journal").glob("*/answers.jsonl"), None)

    def answered(self) -> int:
        path = self.journal()
        return path.read_bytes().count(b"\n") if path else 0


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def difference(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> float:
    """Largest difference of two log-probabilities of the same answer; infinite if anything else differs."""
    for row, other in zip(rows, others, strict=True):
        if {**row, "logprob": None} != {**other, "logprob": None}:
            return float("inf")
    return max(abs(row["logprob"] - other["logprob"]) for row, other in zip(rows, others, strict=True))


def kill(process: subprocess.Popen[bytes]) -> None:
    children = family(process)
    process.kill()
    process.wait()
    assert all_gone(children)


def wait_for(what: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, "it ended before its time"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def all_gone(processes: list[psutil.Process]) -> bool:
    gone, alive = psutil.wait_procs(processes, timeout=15)
    return bool(gone) and not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def write_shop(folder: Path, samples: int = SAMPLES, **model: Any) -> Path:
    """A model and its questions: `tiny` and `test.jsonl` in the folder."""
    write_tiny_model(folder / "tiny", **model)
    rows = sample_rows(samples)
    rows[-1]["prompt"] = rows[0]["prompt"]  # the same question twice
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
