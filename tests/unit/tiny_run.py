"""The finished run that containers/tiny.sh reads: `.venv/bin/python tests/unit/tiny_run.py` makes it anew."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "containers" / "tiny_run"


def make(folder: Path) -> None:
    """Write a run of 30 hours, as few as the tests of the evidence take, up to its evidence."""
    from report_runs import with_evidence

    run = with_evidence(folder, hours=30)
    shutil.rmtree(folder / "ledger")
    path = run.folder / "train/metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:20]))
    path = run.folder / "leverage-2/evidence.json"
    path.write_text(json.dumps(json.loads(path.read_text()), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    sys.path[:0] = [str(PROJECT / "scripts"), str(PROJECT / "tests/workflow")]
    shutil.rmtree(FOLDER, ignore_errors=True)
    make(FOLDER)
