"""Files of gigabytes, written to the disk and read back from it past the page cache, through a small memory.

Filling the cache with them takes several times longer than the disk does where pages come late (a virtual machine gets
each from its host), and what is read back from the cache does not say what the disk holds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import mmap
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

PIECE_BYTES = 2**24
_ALIGNED = 4096  # what disks want addresses, lengths and memory to be multiples of; a piece is one
_LARGE_PAGE = 2**21
_of_thread = threading.local()


class DiskFile(io.RawIOBase):
    """A file to write, which is on the disk when it is closed; past the page cache where its file system can.

    Raises
    ------
    OSError
        In `write` or `close`, if the disk is full or fails; each failure once.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        _past_the_cache(self._file)
        # One is filled while the other is written; the same memory for the whole file.
        self._buffers = [_memory(PIECE_BYTES) for _ in range(2)]
        self._filled = self._size = 0
        self._thread = ThreadPoolExecutor(1)
        self._written: Future[None] | None = None

    def writable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Bytes given so far."""
        return self._size

    def write(self, piece: Any) -> int:
        """Take all of it; a plain raw file may take less."""
        size = memoryview(piece).nbytes
        rest = np.frombuffer(piece, np.uint8) if size else np.empty(0, np.uint8)
        while rest.size:
            count = min(rest.size, PIECE_BYTES - self._filled)
            self._buffers[0][self._filled : self._filled + count] = rest[:count]
            rest, self._filled = rest[count:], self._filled + count
            if self._filled == PIECE_BYTES:
                self._wait()
                self._written = self._thread.submit(self._put, self._buffers[0])
                self._buffers.reverse()
                self._filled = 0
        self._size += size
        return size

    def close(self) -> None:
        """Write the rest, wait for the disk, then close."""
        if self.closed:
            return
        try:
            self._wait()
            _through_the_cache(self._file)  # the rest is of any length
            self._put(self._buffers[0][: self._filled])
            os.fdatasync(self._file)
        finally:
            self._end()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; after an error without the rest, whose trouble would hide it."""
        if error is None:
            self.close()
        elif not self.closed:
            self._end()

    def _end(self) -> None:
        self._thread.shutdown()
        os.close(self._file)
        self._filled = 0
        super().close()

    def _wait(self) -> None:
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def _put(self, piece: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        while piece.size:
            try:
                piece = piece[os.write(self._file, piece) :]
            except OSError as error:
                _without_the_disk_itself(self._file, error)


def read_from_disk(path: str | Path, start: int, length: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Bytes of a file as its disk holds them; from the page cache where its file system cannot do without.

    Returns
    -------
    ndarray
        In memory that is used again: they are there until this thread calls again.

    Raises
    ------
    OSError
        If the file cannot be read, or ends early.
    """
    first, end = start - start % _ALIGNED, start + length
    buffer = _buffer(end + -end % _ALIGNED - first)
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _past_the_cache(file)
        read = 0
        while first + read < end:
            try:
                count = os.preadv(file, [buffer[read:]], first + read)
            except OSError as error:
                _without_the_disk_itself(file, error)
                continue
            if not count:
                raise OSError(errno.EIO, "the file ends early", str(path))
            read += count
    finally:
        os.close(file)
    return buffer[start - first : end - first]


def mapped(path: str | Path, start: int, length: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Bytes of a file, in the page cache; changed ones stay in memory. The mapping goes with the array.

    Raises
    ------
    OSError
        If the file cannot be opened, or ends early.
    """
    first = start - start % mmap.ALLOCATIONGRANULARITY
    if not length:
        return np.empty(0, np.uint8)
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size < start + length:
            raise OSError(errno.EIO, "the file ends early", str(path))
        memory = mmap.mmap(file.fileno(), start + length - first, access=mmap.ACCESS_COPY, offset=first)
    return np.frombuffer(memory, np.uint8)[start - first :]


def _buffer(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """This thread's memory of at least a size."""
    found: np.ndarray[Any, np.dtype[np.uint8]] | None = getattr(_of_thread, "buffer", None)
    if found is None or len(found) < size:
        found = _of_thread.buffer = _memory(max(size, PIECE_BYTES + 2 * _ALIGNED))
    return found[:size]


def _memory(size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """New memory, in large pages where there are some: a disk is told of each page that it writes or fills."""
    memory = mmap.mmap(-1, size + _LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # A disk may be at work in it, which a forked process must not share (open(2), O_DIRECT).
    memory.madvise(mmap.MADV_DONTFORK)
    with contextlib.suppress(OSError):  # not every system has large pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(memory, np.uint8)
    start = -whole.ctypes.data % _LARGE_PAGE
    return whole[start : start + size]


def _past_the_cache(file: int) -> None:
    with contextlib.suppress(OSError):  # not every file system can
        fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_DIRECT)


def _through_the_cache(file: int) -> None:
    fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) & ~os.O_DIRECT)


def _without_the_disk_itself(file: int, error: OSError) -> None:
    """Go on through the cache if the file system agreed to do without it and then does not; else raise the error."""
    if error.errno != errno.EINVAL or not fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT:
        raise error
    _through_the_cache(file)
