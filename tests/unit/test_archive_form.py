"""verify.py: the outer form of an archive, of which no byte is free."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from archive_inputs import (
    DECISIONS,
    EQUITY,
    problems,
    read,
)

from archiving.pack import write_zip
from archiving.verification.program import verify


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_zip_file_is_found(packed: Path, tmp_path: Path, share: float) -> None:
    cut = tmp_path / "cut.zip"
    content = packed.read_bytes()
    cut.write_bytes(content[: int(share * len(content))])
    assert problems(cut)


def test_a_zip_file_that_lacks_its_last_byte_or_has_one_more_is_found(packed: Path, tmp_path: Path) -> None:
    content = packed.read_bytes()
    for other in (content[:-1], content + b"\n", b"\n" + content):
        (tmp_path / "other.zip").write_bytes(other)
        assert problems(tmp_path / "other.zip")


def test_a_flipped_bit_is_found_wherever_it_is(packed: Path, tmp_path: Path) -> None:
    """In contents, in all bytes of one entry's heads and in the end: no byte of the file is free."""
    content = packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        second, start = archive.infolist()[1], archive.start_dir
    head = range(second.header_offset, second.header_offset + 30 + len(second.filename))
    entry = range(start, start + 46 + len(archive.infolist()[0].filename))
    end = range(len(content) - 22, len(content))
    inside = range(100, len(content), len(content) // 6)
    file = tmp_path / "flipped.zip"
    shutil.copy(packed, file)
    with open(file, "r+b", buffering=0) as handle:
        for place in (*head, *entry, *end, *inside):
            bit = 1 << (place % 8)
            handle.seek(place)
            handle.write(bytes([content[place] ^ bit]))
            assert problems(file), f"byte {place}"
            handle.seek(place)
            handle.write(content[place : place + 1])
    assert problems(file) == []


def test_a_flipped_byte_in_a_file_is_named(unpacked: Path) -> None:
    for name in (DECISIONS, "README.md", "data/source.bundle", "ro-crate-metadata.json"):
        before = (unpacked / name).read_bytes()
        changed = bytearray(before)
        changed[len(changed) // 2] ^= 1
        (unpacked / name).write_bytes(changed)
        assert f"{name}: was changed, its SHA-256 is another one" in problems(unpacked)
        (unpacked / name).write_bytes(before)
    assert problems(unpacked) == []


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/evil", "data/../../evil", "..\\evil", "C:\\evil", "data/results/\u202eevil", "a//b"]
)
def test_a_path_that_climbs_out_or_that_nobody_writes_is_named_and_nothing_is_read(
    packed: Path, tmp_path: Path, name: str
) -> None:
    evil = tmp_path / "evil.zip"
    shutil.copy(packed, evil)
    with zipfile.ZipFile(evil, "a") as archive:
        archive.writestr(name, "evil")
    fine, found = verify(evil)
    assert fine == []
    assert any(repr(name) in line for line in found)


def test_a_link_is_named(unpacked: Path) -> None:
    (unpacked / EQUITY).unlink()
    (unpacked / EQUITY).symlink_to("/etc/hostname")
    assert problems(unpacked) == [f"{EQUITY}: is a link, no file of its own"]


def test_a_manifest_that_names_a_path_outside_is_refused(unpacked: Path) -> None:
    with open(unpacked / "manifest-sha256.txt", "a") as handle:
        handle.write(f"{'0' * 64}  ../secret\n")
    assert any("climbs out" in line for line in problems(unpacked))


def test_missing_and_additional_files_are_named(packed: Path, tmp_path: Path) -> None:
    files = read(packed)
    del files["data/results/leverage-2/drawdown.svg"]
    files["data/results/leverage-2/better.svg"] = b"<svg/>"
    write_zip(tmp_path / "other.zip", files)
    found = problems(tmp_path / "other.zip")
    assert "data/results/leverage-2/drawdown.svg: missing" in found
    assert "data/results/leverage-2/better.svg: is not part of the archive" in found


def test_a_file_that_is_there_twice_is_named(packed: Path, tmp_path: Path) -> None:
    double = tmp_path / "double.zip"
    shutil.copy(packed, double)
    with zipfile.ZipFile(double, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("README.md", "another")
    assert any("README.md: there twice" in line for line in problems(double))
