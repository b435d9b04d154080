"""An archive, packed or unpacked: its files by name, and whether its outer form is in order."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Protocol

# Every entry is stored as it is, at this time and with these rights: the same files give the same bytes.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
ZIP_RIGHTS = 0o100644 << 16
PLAIN_NAME = re.compile(r"[A-Za-z0-9._+=@-]+(/[A-Za-z0-9._+=@-]+)*")
CHUNK = 1 << 20


class ArchiveError(Exception):
    """Something about the archive is not as it was made; the message names the file and what is wrong."""


class Files(Protocol):
    """Where an archive's files are read from."""

    def names(self) -> list[str]:
        """All files, sorted."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """One file's content."""


class Folder:
    """An unpacked archive."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def problems(self) -> list[str]:
        """Links and odd names, one line each."""
        found = []
        for folder, folders, files in os.walk(self.path):
            for name in sorted([*folders, *files]):
                path = Path(folder, name)
                if path.is_symlink():
                    found.append(f"{path.relative_to(self.path).as_posix()}: is a link, no file of its own")
        return found + [line for name in self.names() for line in name_problem(name)]

    @cached_property
    def _names(self) -> list[str]:
        paths = (Path(folder, name) for folder, _, files in os.walk(self.path) for name in files)
        return sorted(path.relative_to(self.path).as_posix() for path in paths if not path.is_symlink())

    def names(self) -> list[str]:
        return self._names

    def chunks(self, name: str) -> Iterator[bytes]:
        try:
            with open(self.path / name, "rb") as handle:
                while chunk := handle.read(CHUNK):
                    yield chunk
        except OSError as error:
            raise ArchiveError(f"{name}: cannot be read ({error.strerror or error})") from None


class Packed:
    """An archive as one ZIP file."""

    def __init__(self, path: Path) -> None:
        try:
            self.zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
            raise ArchiveError(f"{path.name}: not a whole ZIP file, cut short perhaps ({error})") from None
        self.path = path
        self._names = sorted({info.filename for info in self.zip.infolist()})

    def problems(self) -> list[str]:
        """Names that climb out of the folder, doubled names, and bytes that this project did not write."""
        names = [info.filename for info in self.zip.infolist()]
        found = [line for name in names for line in name_problem(name)]
        found += [f"{name}: there twice" for name in sorted({n for n in names if names.count(n) > 1})]
        return found or self._form()

    def _form(self) -> list[str]:
        """Where the file has bytes that hold no content, and so no checksum covers, each one must be as written."""
        found = []
        position = 0
        with open(self.path, "rb") as handle:
            for info in self.zip.infolist():
                if directory_entry(info) != (20, 3, 0, 0, ZIP_RIGHTS, 0, ZIP_TIME, b"", zipfile.ZIP_STORED):
                    found.append(f"{info.filename}: its entry in the ZIP file's directory was changed")
                handle.seek(position)
                head = handle.read(30)
                if info.header_offset != position or len(head) != 30:
                    found.append(f"{info.filename}: does not follow the file before it")
                    break
                fields = struct.unpack("<4s5H3I2H", head)
                large = fields[10] > 0  # sizes of 4 GiB and more stand in an extra field
                sizes = fields[7:9] if not large else (info.compress_size, info.file_size)
                expected = (b"PK\x03\x04", info.extract_version, info.flag_bits, 0, 0, 33, info.CRC)
                name = handle.read(fields[9])
                if (
                    fields[:7] != expected
                    or sizes != (info.compress_size, info.file_size)
                    or name != info.orig_filename.encode()
                ):
                    found.append(f"{info.filename}: the head of its entry in the ZIP file was changed")
                    break
                position += 30 + fields[9] + fields[10] + info.compress_size
        if not found and position != self.zip.start_dir:
            found.append(f"{self.path.name}: bytes between the last file and the directory")
        return found or self._end()

    def _end(self) -> list[str]:
        """The last record of the file, which nothing may follow."""
        with open(self.path, "rb") as handle:
            size = handle.seek(0, os.SEEK_END)
            handle.seek(size - 22)
            end = struct.unpack("<4s4H2IH", handle.read(22))
        count, directory = len(self.zip.infolist()), size - 22 - self.zip.start_dir
        large = 0xFFFFFFFF in end[5:7] or 0xFFFF in end[3:5]  # the real numbers stand in a record before it
        if (
            end[:3] != (b"PK\x05\x06", 0, 0)
            or end[7]
            or not (large or end[3:7] == (count, count, directory, self.zip.start_dir))
        ):
            return [f"{self.path.name}: its end was changed, or something was added to it"]
        return []

    def names(self) -> list[str]:
        return self._names

    def chunks(self, name: str) -> Iterator[bytes]:
        try:
            with self.zip.open(name) as handle:
                while chunk := handle.read(CHUNK):
                    yield chunk
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise ArchiveError(f"{name}: cannot be read ({error})") from None


def directory_entry(info: zipfile.ZipInfo) -> tuple[object, ...]:
    """What the directory of a ZIP file says of a file beside its name, size and checksum."""
    version = 20 if info.create_version == 45 else info.create_version  # 45 where there are large files
    rest = (info.create_system, info.reserved, info.volume, info.external_attr, info.internal_attr)
    return (version, *rest, info.date_time, info.comment, info.compress_type)


def name_problem(name: str) -> list[str]:
    """What is wrong with a file's name, if anything; nothing outside the folder is ever opened."""
    if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or re.match(r"[A-Za-z]:", name):
        return [f"{name!r}: climbs out of the archive's folder"]
    if not PLAIN_NAME.fullmatch(name):
        return [f"{name!r}: no name that this project writes"]
    return []


def opened(path: Path) -> Folder | Packed:
    """An archive's folder or ZIP file."""
    if not path.exists():
        raise ArchiveError(f"{path}: no such file or folder")
    return Folder(path) if path.is_dir() else Packed(path)


def content(files: Files, name: str) -> bytes:
    """A file's content; ArchiveError if there is none."""
    if name not in files.names():
        raise ArchiveError(f"{name}: missing")
    return b"".join(files.chunks(name))
