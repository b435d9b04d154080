"""What a file says, whatever its form: the texts in which secrets are looked for."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import BinaryIO

# Noise, in which any short name turns up sooner or later; too large to be read whole, besides.
WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".distcp"})
NOISE = WEIGHTS | {".bundle"}
# One of a container image's parts: kind, whether it is one, place, size and name.
DESCRIPTOR = struct.Struct("<i?12x2q40x128s384x")
PARTITION = 0x4004  # its compressed files
PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"pHYs", b"gAMA", b"tRNS")
METADATA = re.compile(rb"<metadata>.*?</metadata>", re.DOTALL)
PACKERS = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ": lzma.decompress}
LARGEST_HEAD = 100_000_000  # of weights, by the form's own rule


def readable(name: str, content: Path | bytes) -> Iterator[tuple[str, bytes]]:
    """What a file says, by name: what is packed, unpacked; of pictures, weights and images all but their noise.

    Compressed pixels are noise, and so are numbers. A git bundle is searched as the texts that it holds.
    """
    suffix = PurePath(name).suffix
    if suffix in NOISE | {".sif"}:
        with io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb") as file:
            if suffix == ".sif":
                yield name, image_head(file)
            elif suffix == ".safetensors":
                yield name, weights_head(file)
            elif suffix != ".bundle" and zipfile.is_zipfile(file):  # as torch writes them
                with zipfile.ZipFile(file) as packed:
                    yield from ((f"{name}, {p}", packed.read(p)) for p in packed.namelist() if p.endswith(".pkl"))
        return
    blob = content if isinstance(content, bytes) else content.read_bytes()
    unpack = next((packer for start, packer in PACKERS.items() if blob.startswith(start)), None)
    if blob.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(blob)) as packed:
            for part in packed.namelist():
                yield from readable(f"{name}, {part}", packed.read(part))
    elif unpack:
        yield name, blob[:1024]  # may name the file that was packed
        yield from readable(f"{name}, unpacked", unpack(blob))
    elif name.endswith(".png"):
        yield name, b"\n".join(png_notes(blob))
    else:
        yield name, blob
        if name.endswith(".svg"):
            yield f"{name}, metadata", b"\n".join(METADATA.findall(blob))


def weights_head(weights: BinaryIO) -> bytes:
    """What a file of safetensors says of itself; of what is none, nothing."""
    start = weights.read(8)
    size = int.from_bytes(start, "little")
    head = weights.read(min(size, LARGEST_HEAD)) if len(start) == 8 else b""
    return head if head.startswith(b"{") else b""


def image_head(image: BinaryIO) -> bytes:
    """All of a container image in SIF but its compressed files: definition, labels, environment.

    The form: https://github.com/apptainer/sif. Of what is none, its beginning.
    """
    head = image.read(1 << 16)
    if head[32:41] != b"SIF_MAGIC":
        return head
    count, at = struct.unpack_from("<2q", head, 88)
    image.seek(at)
    table = image.read(count * DESCRIPTOR.size)
    found = [head[:128]]
    for number in range(len(table) // DESCRIPTOR.size):
        kind, used, start, size, name = DESCRIPTOR.unpack_from(table, number * DESCRIPTOR.size)
        if used and kind != PARTITION:
            image.seek(start)
            found += [name, image.read(size)]
    return b"\n".join(found)


def png_notes(blob: bytes) -> Iterator[bytes]:
    """The texts in a PNG file: every part of it but its pixels, and what stands behind its end."""
    at = 8
    while at + 8 <= len(blob):
        size, kind = struct.unpack(">I4s", blob[at : at + 8])
        data = blob[at + 8 : at + 8 + size]
        at += 12 + size
        if kind in (b"zTXt", b"iTXt"):
            keyword, _, rest = data.partition(b"\0")
            try:
                packed = rest[1:] if kind == b"zTXt" else rest[2:].split(b"\0", 2)[2]
                data = keyword + b" " + zlib.decompress(packed)
            except (zlib.error, IndexError):
                pass  # an iTXt need not be compressed
        if kind == b"IEND":
            break
        if kind not in PIXELS:
            yield data
    if blob[at:]:
        yield blob[at:]
