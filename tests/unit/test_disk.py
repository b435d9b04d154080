"""Large files, written to the disk and read back from it past the page cache."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import disk
from common.disk import DiskFile, mapped, read_from_disk

PIECE = 8192


def content(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "PIECE_BYTES", PIECE)


@pytest.fixture
def past_the_cache(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each write went past the cache."""
    seen: list[bool] = []
    write = os.write

    def noted(file: int, piece: Any) -> int:
        seen.append(bool(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT))
        return write(file, piece)

    monkeypatch.setattr(os, "write", noted)
    return seen


@pytest.mark.parametrize(
    "sizes", [[0], [1], [PIECE - 1, 1, PIECE], [PIECE], [PIECE + 1], [3 * PIECE + 50, 3, 0, 47], [9 * PIECE]], ids=str
)
def test_what_is_written_in_any_pieces_is_in_the_file(
    sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, past_the_cache: list[bool]
) -> None:
    pieces = [content(size) for size in sizes]
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda handle: synced.append(os.fstat(handle).st_size))
    with DiskFile(tmp_path / "file") as file:
        assert [file.write(piece) for piece in pieces] == sizes
        assert file.tell() == sum(sizes)
    file.close()  # a second time, as torch's writer does
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)
    assert synced == [sum(sizes)], "the end, too, waits for the disk"
    whole, rest = divmod(sum(sizes), PIECE)
    if any(past_the_cache):  # the file system of this folder can
        assert past_the_cache == [True] * whole + [False] * bool(rest)


def test_numbers_are_written_as_their_bytes(tmp_path: Path) -> None:
    numbers = np.arange(10, dtype=np.int64).reshape(2, 5)
    with DiskFile(tmp_path / "file") as file:
        assert file.write(numbers) == 80
    assert (tmp_path / "file").read_bytes() == numbers.tobytes()


def test_what_was_given_may_change_at_once(tmp_path: Path) -> None:
    given = bytearray(content(PIECE))
    with DiskFile(tmp_path / "file") as file:
        for _ in range(5):
            file.write(given)
            given[:] = bytes(PIECE)
    assert (tmp_path / "file").read_bytes() == content(PIECE) + bytes(4 * PIECE)


def test_a_write_that_the_system_cuts_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left then begins at no multiple of anything: it goes through the cache."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, piece: write(file, piece[:4096] if len(piece) > 4096 else piece[:7]))
    with DiskFile(tmp_path / "file") as file:
        assert file.write(content(2 * PIECE + 100)) == 2 * PIECE + 100
    assert (tmp_path / "file").read_bytes() == content(2 * PIECE + 100)


@pytest.mark.parametrize("when", ["it is asked", "it is written or read"])
def test_a_file_system_that_needs_the_cache_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    def direct(file: int) -> bool:
        return bool(control(file, fcntl.F_GETFL) & os.O_DIRECT)

    def ask(file: int, what: int, flags: int = 0) -> int:
        if when == "it is asked" and what == fcntl.F_SETFL and flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return control(file, what, flags)

    def refusing(call: Any) -> Any:
        def called(file: int, *rest: Any) -> int:
            if when != "it is asked" and direct(file):
                refused.append(call)
                raise OSError(errno.EINVAL, "Invalid argument")
            return call(file, *rest)

        return called

    refused: list[Any] = []
    control, write, read = fcntl.fcntl, os.write, os.preadv
    monkeypatch.setattr(fcntl, "fcntl", ask)
    monkeypatch.setattr(os, "write", refusing(write))
    monkeypatch.setattr(os, "preadv", refusing(read))
    with DiskFile(tmp_path / "file") as file:
        file.write(content(3 * PIECE))
    assert read_from_disk(tmp_path / "file", 0, 3 * PIECE).tobytes() == content(3 * PIECE)
    assert refused in ([], [write, read])


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EINVAL])
def test_an_error_of_the_disk_comes_out_once_and_the_rest_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The system tells of a failed write a single time: who loses it takes a damaged file for a good one."""

    def fail(handle: int, piece: Any) -> int:
        wrote.append(len(piece))
        raise OSError(number, os.strerror(number))

    wrote: list[int] = []
    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(OSError, match=os.strerror(number)) as raised, DiskFile(tmp_path / "file") as file:
        file.write(content(9 * PIECE))
    assert file.tell() == 0, "the second piece waits for the first"
    assert set(wrote) == {PIECE}
    assert len(wrote) <= 2  # EINVAL is tried through the cache
    assert raised.value.__context__ is None or number == errno.EINVAL
    assert file.closed


@pytest.mark.parametrize("read", [read_from_disk, mapped])
@given(data=st.data())
def test_any_bytes_are_read_as_they_stand(
    tmp_path_factory: pytest.TempPathFactory, read: Callable[[Path, int, int], Any], data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, 5 * PIECE))
    start = data.draw(st.integers(0, size))
    length = data.draw(st.integers(0, size - start))
    path = tmp_path_factory.getbasetemp() / f"read-{size}"
    path.write_bytes(content(size))
    assert read(path, start, length).tobytes() == content(size)[start : start + length]


@pytest.mark.parametrize("read", [read_from_disk, mapped])
def test_a_file_that_ends_early_is_an_error(tmp_path: Path, read: Callable[[Path, int, int], Any]) -> None:
    (tmp_path / "file").write_bytes(content(100))
    with pytest.raises(OSError, match="ends early"):
        read(tmp_path / "file", 50, 51)


def test_each_thread_reads_into_its_own_memory(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 10_000)
    here = read_from_disk(tmp_path / "a", 0, 10_000)
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(read_from_disk, tmp_path / "b", 0, 10_000).result()
    assert here.tobytes() == b"a" * 10_000
    assert there.tobytes() == b"b" * 10_000
    read_from_disk(tmp_path / "b", 0, 10_000)
    assert here.tobytes() == b"b" * 10_000, "the reason for the words of its docstring"


def test_memory_of_files_begins_a_large_page_and_is_no_one_else_s(tmp_path: Path) -> None:
    with DiskFile(tmp_path / "a") as one, DiskFile(tmp_path / "b") as other:
        places = [buffer.ctypes.data for file in (one, other) for buffer in file._buffers]
    assert all(place % disk._LARGE_PAGE == 0 for place in places)
    assert len(set(places)) == 4


@pytest.mark.parametrize("missing", [errno.EINVAL, None])
def test_a_system_without_large_pages_writes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int | None
) -> None:
    asked: list[int] = []

    class Memory(disk.mmap.mmap):
        def madvise(self, option: int, *rest: int) -> None:
            asked.append(option)
            if missing and option == disk.mmap.MADV_HUGEPAGE:
                raise OSError(missing, "no large pages")
            super().madvise(option, *rest)

    monkeypatch.setattr(disk.mmap, "mmap", Memory)
    with DiskFile(tmp_path / "file") as file:
        file.write(content(3 * PIECE + 1))
    assert asked.count(disk.mmap.MADV_HUGEPAGE) == asked.count(disk.mmap.MADV_DONTFORK) == 2
    assert (tmp_path / "file").read_bytes() == content(3 * PIECE + 1)
