"""Let programs that were built against glibc 2.38 start on Debian 12's 2.36.

Of what came with 2.38, Debian's Apptainer uses only the C23 names of strtol and strtoul: they are pointed at the old
ones.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

_NEW, _OLD, _PREFIX = b"GLIBC_2.38", b"GLIBC_2.2.5", b"__isoc23_"
_DYNSYM, _VERSION_NEEDS = 11, 0x6FFFFFFE  # section types


def patched(program: bytes) -> bytes:
    """A 64-bit ELF file whose needs are met by glibc 2.36.

    Raises
    ------
    ValueError
        If it is no such file.
    """
    data = bytearray(program)
    if data[:5] != b"\x7fELF\x02":
        raise ValueError("not a 64-bit ELF file")
    (start,) = struct.unpack_from("<Q", data, 0x28)
    size, count, _ = struct.unpack_from("<HHH", data, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + index * size) for index in range(count)]
    symbols = next(section for section in sections if section[1] == _DYNSYM)
    needs = next(section for section in sections if section[1] == _VERSION_NEEDS)
    names = sections[symbols[6]][4]

    def name(offset: int) -> bytes:
        return bytes(data[names + offset : data.index(b"\0", names + offset)])

    for place in range(symbols[4], symbols[4] + symbols[5], 24):
        (offset,) = struct.unpack_from("<I", data, place)
        if name(offset).startswith(_PREFIX):
            struct.pack_into("<I", data, place, offset + len(_PREFIX))  # strtol, inside the same text
    place, following = needs[4], 1
    while following:
        _, entries, _, first, following = struct.unpack_from("<HHIII", data, place)
        versions, entry = [], place + first
        for _ in range(entries):
            _, _, _, offset, step = struct.unpack_from("<IHHII", data, entry)
            versions.append((entry, offset))
            entry += step
        old = [offset for _, offset in versions if name(offset) == _OLD]
        for entry, offset in versions:
            if old and name(offset) == _NEW:
                struct.pack_into("<I", data, entry, _hash(_OLD))
                struct.pack_into("<I", data, entry + 8, old[0])
        place += following
    return bytes(data)


def _hash(name: bytes) -> int:
    """ELF's own hash of a name."""
    value = 0
    for byte in name:
        value = ((value << 4) + byte) & 0xFFFFFFFF
        high = value & 0xF0000000
        value = (value ^ (high >> 24)) & ~high & 0xFFFFFFFF
    return value


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_bytes(patched(path.read_bytes()))
