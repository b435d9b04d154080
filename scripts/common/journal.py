"""A journal holds what a long job has done so far: one JSON object a line, appended as it goes.

Snakemake deletes the outputs of a failed job; a journal is no declared output, and stays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.files import dump


class Journal:
    """Append rows to a file; read back what a killed run left.

    Parameters
    ----------
    path
        The file; made with its folder if it is not there. A last line that a kill cut short is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    self.rows.append(json.loads(line))
                except ValueError:
                    break
                if not line.endswith(b"\n"):
                    self.rows.pop()
                    break
                whole += len(line)
        self._handle = open(path, "ab")  # noqa: SIM115 - stays open for the job's life
        self._handle.truncate(whole)

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write rows and hand them to the system."""
        for row in rows:
            self._handle.write((dump(row) + "\n").encode())
            self.rows.append(row)
        self._handle.flush()

    def sync(self) -> None:
        """Make sure that the rows survive a power cut."""
        os.fsync(self._handle.fileno())

    def close(self) -> None:
        """Close the file."""
        self._handle.close()
