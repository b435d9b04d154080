"""The form of the ZIP file: as zipfile and other programs read it, with files of 4 GiB and more, and bit for bit."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from archiving.pack import write_zip
from archiving.verification.container import Packed
from archiving.verification.zipform import RIGHTS, Entry, directory, head
from common.errors import InputError

GIB = 1 << 30


def test_small_files_are_written_as_zipfile_writes_them(tmp_path: Path) -> None:
    files = {"b.txt": b"two", "a/a.bin": bytes(range(256)) * 9, "c": b""}
    write_zip(tmp_path / "ours.zip", files)
    with zipfile.ZipFile(tmp_path / "theirs.zip", "w") as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, RIGHTS
            archive.writestr(info, files[name])
    assert (tmp_path / "ours.zip").read_bytes() == (tmp_path / "theirs.zip").read_bytes()


def test_a_file_that_grows_while_it_is_packed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grown = tmp_path / "grown"
    grown.write_bytes(b"1234")
    monkeypatch.setattr("archiving.pack.size_of", lambda content: 3)
    with pytest.raises(InputError, match="was changed while it was packed"):
        write_zip(tmp_path / "a.zip", {"grown": grown})
    assert not (tmp_path / "a.zip").exists()


def hollow(path: Path, sizes: dict[str, int]) -> list[Entry]:
    """A ZIP file whose contents are holes that take no room on the disk; its checksums are not those of zeros."""
    entries: list[Entry] = []
    with open(path, "wb") as handle:
        for name, size in sizes.items():
            entry = Entry(name, size, 7, handle.tell())
            handle.write(head(entry))
            handle.seek(size, 1)
            entries.append(entry)
        handle.write(directory(entries))
    return entries


SIZES = {
    "the largest plain one": [GIB * 4 - 2],
    "the smallest large one": [GIB * 4 - 1],
    "a small one behind a large one": [5 * GIB, 10],
    "a small one far behind": [3 * GIB, 3 * GIB, 10],
    "two large ones": [5 * GIB, 6 * GIB],
    "many": [1] * 70_000,
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_what_is_too_large_for_plain_fields_is_read_back(tmp_path: Path, sizes: list[int]) -> None:
    path = tmp_path / "large.zip"
    entries = hollow(path, {f"{number:06}": size for number, size in enumerate(sizes)})
    packed = Packed(path)
    infos = packed.zip.infolist()
    assert [(i.file_size, i.header_offset) for i in infos] == [(e.size, e.at) for e in entries]
    assert packed.problems() == []


@pytest.mark.parametrize("sizes", [[5 * GIB, 10], [3 * GIB, 3 * GIB, 10]])
def test_no_bit_beside_the_contents_is_free_where_files_are_large(tmp_path: Path, sizes: list[int]) -> None:
    path = tmp_path / "large.zip"
    entries = hollow(path, {f"{number}": size for number, size in enumerate(sizes)})
    end = entries[-1].at + len(head(entries[-1])) + entries[-1].size
    heads = [range(e.at, e.at + len(head(e))) for e in entries]
    with open(path, "r+b", buffering=0) as handle:
        for place in itertools.chain(*heads, range(end, path.stat().st_size)):
            handle.seek(place)
            before = handle.read(1)
            handle.seek(place)
            handle.write(bytes([before[0] ^ (1 << place % 8)]))
            assert refused(path), f"byte {place}"
            handle.seek(place)
            handle.write(before)
    assert not refused(path)


def refused(path: Path) -> bool:
    from archiving.verification.container import ArchiveError

    try:
        return bool(Packed(path).problems())
    except ArchiveError:
        return True


@pytest.mark.parametrize("program", [["unzip", "-tqq"], ["bsdtar", "-tf"], ["7z", "t"]], ids=lambda row: row[0])
def test_other_programs_read_it(tmp_path: Path, program: list[str]) -> None:
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not installed")
    write_zip(tmp_path / "a.zip", {"data/a.txt": b"one", "b": b"two" * 1000})
    assert subprocess.run([*program, tmp_path / "a.zip"], capture_output=True, check=False).returncode == 0
