"""Packing: checksums in BagIt's form, and a ZIP file that is the same whenever and wherever it is written."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from archiving.verification.checksums import DECLARATION, PAYLOAD, TAGS
from archiving.verification.container import ZIP_RIGHTS, ZIP_TIME, name_problem
from common.errors import InputError
from common.files import written_whole

Content = Path | bytes


def sha256_of(content: Content) -> str:
    """SHA-256 of a file, or of what one will hold."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with open(content, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


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
    """Write the ZIP file: names sorted, one time and one set of rights for all.

    Files are stored as they are. Compressed ones would depend on the version of zlib that wrote them, and a flipped
    bit in their padding would go unseen.
    """
    with written_whole(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=ZIP_TIME)
            entry.create_system, entry.external_attr = 3, ZIP_RIGHTS
            content = files[name]
            entry.file_size = size_of(content)
            if isinstance(content, bytes):
                archive.writestr(entry, content)
            else:
                with open(content, "rb") as source, archive.open(entry, "w") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
