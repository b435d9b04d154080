"""Packing: checksums in BagIt's form, and a ZIP file that is the same whenever and wherever it is written."""

from __future__ import annotations

import functools
import hashlib
import io
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from archiving.verification.checksums import DECLARATION, PAYLOAD, TAGS
from archiving.verification.container import CHUNK, name_problem
from archiving.verification.zipform import Entry, directory, head
from common.errors import InputError
from common.files import sha256, written_whole

Content = Path | bytes


def sha256_of(content: Content) -> str:
    """SHA-256 of a file, or of what one will hold."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    facts = content.stat()
    return _read_sha256(content, facts.st_size, facts.st_mtime_ns)


@functools.cache
def _read_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """A file is hashed for the crate and for the checksums; once will do for weights of many GB."""
    return sha256(path)


def size_of(content: Content) -> int:
    """Bytes of a file, or of what one will hold."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def with_checksums(files: Mapping[str, Content], date: str) -> dict[str, Content]:
    """The files of an archive and the four that make it a bag (RFC 8493): what lies below data/ is its payload.

    Raises
    ------
    InputError
        If a file has a name that does not travel everywhere.
    """
    for name in files:
        if name_problem(name):
            raise InputError(f"{name}: has a letter that an archive's names may not have. Rename the file.")
    payload = [name for name in files if name.startswith("data/")]
    size = sum(size_of(files[name]) for name in payload)
    tags = {name: content for name, content in files.items() if name not in payload}
    tags["bagit.txt"] = DECLARATION.encode()
    tags["bag-info.txt"] = f"Bagging-Date: {date[:10]}\nPayload-Oxum: {size}.{len(payload)}\n".encode()
    tags[PAYLOAD] = manifest({name: files[name] for name in payload})
    return {**files, **tags, TAGS: manifest(tags)}


def manifest(files: Mapping[str, Content]) -> bytes:
    """Checksums and names, sorted by name."""
    return "".join(f"{sha256_of(files[name])}  {name}\n" for name in sorted(files)).encode()


def write_zip(path: Path, files: Mapping[str, Content]) -> None:
    """Write the ZIP file, with its files in the order of their names; whatever their size, a piece at a time.

    Files are stored as they are. Compressed ones would depend on the version of zlib that wrote them, and a flipped
    bit in their padding would go unseen.

    Raises
    ------
    InputError
        If a file changes while it is packed.
    """
    entries: list[Entry] = []
    with written_whole(path) as partial, open(partial, "wb") as target:
        for name in sorted(files):
            content = files[name]
            entry = Entry(name, size_of(content), 0, target.tell())
            target.write(head(entry))
            crc = 0
            with io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb") as source:
                while chunk := source.read(CHUNK):
                    crc = zlib.crc32(chunk, crc)
                    target.write(chunk)
            end, entry = target.tell(), replace(entry, crc=crc)
            if end != entry.at + len(head(entry)) + entry.size:
                raise InputError(f"{content}: was changed while it was packed. Wait for what writes it; pack again.")
            target.seek(entry.at)
            target.write(head(entry))
            target.seek(end)
            entries.append(entry)
        target.write(directory(entries))
