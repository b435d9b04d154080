"""Large files, written through to the disk."""

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest

from common import disk
from common.disk import DiskFile, forget_some


def content(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


@pytest.mark.parametrize("sizes", [[0], [1], [99, 1, 100], [100], [101], [250, 3, 0, 47], [1000]], ids=str)
def test_what_is_written_in_any_pieces_is_in_the_file(
    sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "PIECE_BYTES", 100)
    pieces = [content(size) for size in sizes]
    flushed: list[int] = []
    monkeypatch.setattr(os, "fdatasync", lambda handle: flushed.append(os.fstat(handle).st_size))
    with DiskFile(tmp_path / "file") as file:
        assert [file.write(piece) for piece in pieces] == sizes
        assert file.tell() == sum(sizes)
    file.close()  # a second time, as torch's writer does
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)
    assert len(flushed) == sum(sizes) // 100 + 1
    assert flushed[-1] == sum(sizes), "the end, too, waits for the disk"


def test_numbers_are_written_as_their_bytes(tmp_path: Path) -> None:
    numbers = np.arange(10, dtype=np.int64).reshape(2, 5)
    with DiskFile(tmp_path / "file") as file:
        assert file.write(numbers) == 80
    assert (tmp_path / "file").read_bytes() == numbers.tobytes()


def test_a_write_that_the_system_cuts_short_goes_on(tmp_path: Path) -> None:
    class Short(io.FileIO):
        def write(self, piece: memoryview) -> int:
            return super().write(piece[:7])

    class ShortDiskFile(DiskFile, Short):  # whose super().write is Short's
        pass

    with ShortDiskFile(tmp_path / "file") as file:
        assert file.write(content(100)) == 100
    assert (tmp_path / "file").read_bytes() == content(100)


def test_an_error_of_the_disk_while_it_is_written_ends_the_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(disk, "PIECE_BYTES", 100)
    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(OSError, match="Input/output error"), DiskFile(tmp_path / "file") as file:
        file.write(content(1000))
    assert file.closed


def test_every_eighth_time_all_files_are_forgotten_and_stay_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        with DiskFile(tmp_path / name) as file:
            file.write(content(5000))
    advised: list[tuple[str, int]] = []
    advise = os.posix_fadvise

    def noted(handle: int, start: int, size: int, advice: int) -> None:
        advised.append((Path(os.readlink(f"/proc/self/fd/{handle}")).name, advice))
        advise(handle, start, size, advice)

    monkeypatch.setattr(os, "posix_fadvise", noted)
    for number in range(1, 9):
        forget_some(tmp_path, number)
    assert sorted(advised) == [("a", os.POSIX_FADV_DONTNEED), ("b", os.POSIX_FADV_DONTNEED)]
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {content(5000)}
