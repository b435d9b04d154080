"""The one form in which an archive's ZIP file is written: every byte that is no file's content, as it has to be.

Files are stored as they are, one after another in the order of their names, at one time and with one set of rights;
sizes and places of 4 GiB and more stand where ZIP64 puts them (APPNOTE.TXT 6.3.10, 4.3.7 to 4.3.16 and 4.5.3). Python's
zipfile reads it; its writer's choices differ between versions of Python, so the bytes are made here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

LIMIT, MANY = 0xFFFFFFFF, 0xFFFF  # from here on the real number stands elsewhere
PLAIN, ZIP64 = 20, 45  # versions of the format
UNIX = 3 << 8
RIGHTS = 0o100644 << 16
TIME, DATE = 0, 0x21  # 1980-01-01 00:00, the first there is


@dataclass(frozen=True)
class Entry:
    """A file in the ZIP file; `at` is where its head begins."""

    name: str
    size: int
    crc: int
    at: int


def head(entry: Entry) -> bytes:
    """What stands before a file's content."""
    name = entry.name.encode("ascii")
    large = entry.size >= LIMIT
    extra = struct.pack("<2H2Q", 1, 16, entry.size, entry.size) if large else b""
    size = LIMIT if large else entry.size
    version = ZIP64 if large else PLAIN
    fields = (version, 0, 0, TIME, DATE, entry.crc, size, size, len(name), len(extra))
    return b"PK\x03\x04" + struct.pack("<5H3I2H", *fields) + name + extra


def directory(entries: Sequence[Entry]) -> bytes:
    """What stands behind the last file, to the end of the ZIP file."""
    rows = b"".join(map(_row, entries))
    last = entries[-1] if entries else Entry("", 0, 0, 0)
    start = last.at + len(head(last)) + last.size if entries else 0
    count, size = len(entries), len(rows)
    more = b""
    if count >= MANY or size >= LIMIT or start >= LIMIT:
        fields = (44, UNIX | ZIP64, ZIP64, 0, 0, count, count, size, start)
        more = b"PK\x06\x06" + struct.pack("<Q2H2I4Q", *fields)
        more += b"PK\x06\x07" + struct.pack("<IQI", 0, start + size, 1)
    known = (0, 0, min(count, MANY), min(count, MANY), min(size, LIMIT), min(start, LIMIT), 0)
    return rows + more + b"PK\x05\x06" + struct.pack("<4H2IH", *known)


def _row(entry: Entry) -> bytes:
    name = entry.name.encode("ascii")
    large, far = entry.size >= LIMIT, entry.at >= LIMIT
    values = [entry.size, entry.size] * large + [entry.at] * far
    extra = struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values) if values else b""
    version = ZIP64 if values else PLAIN
    size, at = LIMIT if large else entry.size, LIMIT if far else entry.at
    fields = (UNIX | version, version, 0, 0, TIME, DATE, entry.crc, size, size, len(name), len(extra))
    return b"PK\x01\x02" + struct.pack("<6H3I5H2I", *fields, 0, 0, 0, RIGHTS, at) + name + extra
