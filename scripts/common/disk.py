"""Files of gigabytes, written to the disk piece by piece and checked there: the page cache holds little of them."""

from __future__ import annotations

import io
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

PIECE_BYTES = 2**26


class DiskFile(io.FileIO):
    """A file that is on the disk when it is closed, and whose written pages the system may use again at once.

    Where pages come late (a virtual machine gets each from its host), filling the cache with gigabytes takes several
    times longer than the disk does. And what is read back afterwards comes from the disk, not from memory.

    Raises
    ------
    OSError
        In `write` or `close`, if the disk is full or fails.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, "wb")
        self._thread = ThreadPoolExecutor(1)
        self._flushed: Future[None] | None = None
        self._since = 0

    def write(self, piece: Any) -> int:
        """Write all of it; a plain FileIO may write less."""
        rest = memoryview(piece).cast("B")
        size = rest.nbytes
        while rest:
            count = super().write(rest[: PIECE_BYTES - self._since])
            rest, self._since = rest[count:], self._since + count
            if self._since == PIECE_BYTES:
                self._wait()
                self._flushed = self._thread.submit(self._flush, self.tell())
                self._since = 0
        return size

    def close(self) -> None:
        """Wait for the disk, then close."""
        if self.closed:
            return
        try:
            self._wait()
            self._flush(self.tell())
        finally:
            self._thread.shutdown()
            super().close()

    def _wait(self) -> None:
        if self._flushed is not None:
            self._flushed.result()

    def _flush(self, end: int) -> None:
        os.fdatasync(self.fileno())
        os.posix_fadvise(self.fileno(), 0, end, os.POSIX_FADV_DONTNEED)


def forget_some(folder: Path, number: int) -> None:
    """Every eighth time: let the system use the cached pages of a folder's files again.

    Pages that somebody has mapped stay. What was read ahead for other threads goes, too, hence not every time.
    """
    if number % 8:
        return
    for path in folder.iterdir():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
