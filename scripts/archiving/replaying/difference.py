"""Results of two runs of the same thing: the same bytes, the same numbers within a tolerance, or not."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from archiving.verification.container import ArchiveError
from archiving.verification.slides import read_slides

# What a training takes is no result of it.
TIMED = {
    "seconds",
    "rollout_seconds",
    "handover_seconds",
    "step_seconds",
    "reference_seconds",
    "update_seconds",
    "tokens_per_second",
    "model_flops_per_second",
    "mfu",
    "slowest_over_median",
}
# They follow from the bytes of other files, which are compared themselves.
DERIVED = {"inputs"}
DECIMAL = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
DIGEST = re.compile(r"\b[0-9a-f]{64}\b")
SAME, CLOSE, OTHER = "same", "close", "other"


@dataclass(frozen=True)
class Difference:
    """How a file differs from the archive's.

    Attributes
    ----------
    kind
        SAME: byte for byte, times apart. CLOSE: within the tolerance. OTHER: not.
    words
        Where, and how far.
    """

    name: str
    kind: str
    words: str = ""


def difference(name: str, before: bytes, after: bytes, tolerance: float) -> Difference:
    """Compare a file with the archive's.

    Parameters
    ----------
    tolerance
        Numbers that differ by no more than this share of the larger one are close.
    """
    if before == after:
        return Difference(name, SAME)
    try:
        if name.endswith(".pptx"):
            return _texts(name, before, after)
        if name.endswith(".png"):
            same = pixels(before) == pixels(after)
            return Difference(
                name, CLOSE if same else OTHER, "the same pixels, other notes" if same else "other pixels"
            )
        if name.endswith((".svg", ".html")):
            return _pages(name, before, after, tolerance)
        if not name.endswith((".json", ".jsonl", ".csv")):
            return Difference(name, OTHER, "other bytes")
        worst, where = 0.0, ""
        pairs = list(_pairs(_parsed(name, before), _parsed(name, after), ""))
    except (ValueError, UnicodeDecodeError, csv.Error, ArchiveError) as error:
        return Difference(name, OTHER, f"cannot be compared ({error})")
    if not pairs:
        return Difference(name, SAME)
    for place, one, two in pairs:
        gap = _gap(one, two)
        if gap >= worst:
            worst, where = gap, f"{place}: {_short(one)} there, {_short(two)} here"
    words = f"{len(pairs)} values differ, the most {where}"
    return Difference(name, CLOSE if worst <= tolerance else OTHER, words)


def _parsed(name: str, blob: bytes) -> Any:
    text = blob.decode("utf-8")
    if name.endswith(".json"):
        return json.loads(text)
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.reader(io.StringIO(text)))


def _pairs(one: Any, two: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Values that are not equal, with their places."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        for key in [*one, *(key for key in two if key not in one)]:
            if key not in TIMED and key not in DERIVED:
                yield from _pairs(one.get(key), two.get(key), f"{place}.{key}" if place else str(key))
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for number, (a, b) in enumerate(zip(one, two, strict=True), start=1):
            yield from _pairs(a, b, f"{place}[{number}]")
    elif one != two:
        yield place, one, two


def _gap(one: Any, two: Any) -> float:
    """Distance of two numbers as a share of the larger; infinite if they are none."""
    try:
        a, b = float(one), float(two)
    except (TypeError, ValueError):
        return math.inf
    return abs(a - b) / max(abs(a), abs(b), 1e-12)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
    return text if len(text) <= 60 else f"{text[:57]}..."


def pixels(blob: bytes) -> bytes:
    """A PNG file's size and pixels, as they were before they were compressed; nothing of its notes.

    Raises
    ------
    ValueError
        If it is no whole PNG file.
    """
    at, head, packed = 8, b"", []
    while at + 8 <= len(blob):
        size, kind = struct.unpack(">I4s", blob[at : at + 8])
        data = blob[at + 8 : at + 8 + size]
        head = data if kind == b"IHDR" else head
        packed += [data] if kind == b"IDAT" else []
        at += 12 + size
    try:
        return head + zlib.decompress(b"".join(packed))
    except zlib.error as error:
        raise ValueError(f"no whole PNG file: {error}") from None


def _pages(name: str, before: bytes, after: bytes, tolerance: float) -> Difference:
    """Compare drawings and pages: the same but for SHA-256 and the digits of numbers."""
    one, two = (re.split(f"({DECIMAL})", DIGEST.sub("digest", blob.decode("utf-8"))) for blob in (before, after))
    if one[::2] != two[::2]:
        return Difference(name, OTHER, "other words or shapes")
    gaps = [
        abs(float(a) - float(b)) / max(abs(float(a)), 1) for a, b in zip(one[1::2], two[1::2], strict=True) if a != b
    ]
    worst = max(gaps, default=0.0)
    words = f"{len(gaps)} numbers differ, by {worst:.1g} of their size at most" if gaps else "the same but for SHA-256"
    return Difference(name, CLOSE if worst <= tolerance else OTHER, words)


def _texts(name: str, before: bytes, after: bytes) -> Difference:
    one, two = (read_slides(name, blob) for blob in (before, after))
    for mine, theirs in zip(one, two, strict=False):
        for a, b in zip(mine.texts, theirs.texts, strict=False):
            if a != b:
                return Difference(name, OTHER, f"slide {mine.number}: {_short(a)} there, {_short(b)} here")
    if len(one) != len(two):
        return Difference(name, OTHER, f"{len(one)} slides there, {len(two)} here")
    return Difference(name, CLOSE, "the same words, other bytes")


def told(found: list[Difference], same_processor: bool | None, strict: bool) -> tuple[list[str], bool]:
    """What to print, and whether the promise is kept.

    Parameters
    ----------
    same_processor
        Whether this machine has the kind of processor that the archive was made on: then bytes must be equal. None if
        that is not known.
    strict
        Whether numbers have to be within the tolerance otherwise, too; pictures and pages are only reported.
    """
    equal = [row for row in found if row.kind == SAME]
    rest = [row for row in found if row.kind != SAME]
    lines = [f"{len(equal)} of {len(found)} files are the same, byte for byte (times apart)"]
    lines += [f"{'close' if row.kind == CLOSE else 'DIFFERS'}: {row.name}: {row.words}" for row in rest]
    if not rest:
        return lines, True
    if same_processor:
        return [*lines, "The processor is of the same kind, so every byte should be the same."], False
    unknown = "Whether the archive was made on the same kind of processor is not known."
    lines.append(unknown if same_processor is None else "The archive was made on another kind of processor.")
    beyond = [row for row in rest if row.kind == OTHER and row.name.endswith((".json", ".csv", ".jsonl"))]
    return lines, not (strict and beyond)
