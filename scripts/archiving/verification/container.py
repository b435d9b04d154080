"""An archive, packed or unpacked: its files by name, and whether its outer form is in order."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from collections import Counter
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

from archiving.verification.zipform import Entry, directory, head

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
                yield from iter(partial(handle.read, CHUNK), b"")
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
        found += [f"{name}: there twice" for name, count in Counter(names).items() if count > 1]
        return found or self._form()

    def _form(self) -> list[str]:
        """Where the file has bytes that hold no content, and so no checksum covers, each one must be as written."""
        entries = [Entry(info.filename, info.file_size, info.CRC, info.header_offset) for info in self.zip.infolist()]
        position = 0
        with open(self.path, "rb") as handle:
            for entry in entries:
                if entry.at != position:
                    return [f"{entry.name}: does not follow the file before it in the ZIP file"]
                expected = head(entry)
                handle.seek(position)
                if handle.read(len(expected)) != expected:
                    return [f"{entry.name}: the head of its entry in the ZIP file was changed"]
                position += len(expected) + entry.size
            handle.seek(position)
            expected = directory(entries)
            if handle.read(len(expected) + 1) != expected:
                return [f"{self.path.name}: the directory at its end was changed, or something was added to it"]
        return []

    def names(self) -> list[str]:
        return self._names

    def chunks(self, name: str) -> Iterator[bytes]:
        try:
            with self.zip.open(name) as handle:
                yield from iter(partial(handle.read, CHUNK), b"")
        except zipfile.BadZipFile:
            raise ArchiveError(f"{name}: was changed, its checksum in the ZIP file is another one") from None
        except (EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise ArchiveError(f"{name}: cannot be read ({error})") from None


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
