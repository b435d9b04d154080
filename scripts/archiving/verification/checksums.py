"""Checksums in BagIt's form (RFC 8493): what is there is what was packed, and nothing else is."""

from __future__ import annotations

import hashlib
import re

from archiving.verification.container import ArchiveError, Files, content, name_problem

PAYLOAD, TAGS = "manifest-sha256.txt", "tagmanifest-sha256.txt"
DECLARATION = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
LINE = re.compile(r"([0-9a-f]{64})  (\S+)")


def digest(files: Files, name: str) -> str:
    """SHA-256 of a file."""
    sha = hashlib.sha256()
    for chunk in files.chunks(name):
        sha.update(chunk)
    return sha.hexdigest()


def manifest(files: Files, name: str) -> dict[str, str]:
    """Name to SHA-256, as a manifest says."""
    found: dict[str, str] = {}
    try:
        lines = content(files, name).decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ArchiveError(f"{name}: no text") from None
    for number, line in enumerate(lines, start=1):
        match = LINE.fullmatch(line)
        if match is None or match[2] in found:
            raise ArchiveError(f"{name}, line {number}: not a checksum and the name of another file")
        if name_problem(match[2]):
            raise ArchiveError(f"{name}, line {number}: {name_problem(match[2])[0]}")
        found[match[2]] = match[1]
    return found


def check_checksums(files: Files) -> tuple[list[str], int]:
    """Problems, one line each, and how many files were hashed."""
    problems = []
    expected: dict[str, str] = {}
    for name in (TAGS, PAYLOAD):
        try:
            expected |= manifest(files, name)
        except ArchiveError as error:
            problems.append(str(error))
    if len(problems) == 2:
        return problems, 0
    present = [name for name in files.names() if name != TAGS]
    problems += [f"{name}: missing" for name in sorted(set(expected) - set(present))]
    problems += [f"{name}: is not part of the archive" for name in present if name not in expected]
    hashed = 0
    for name in present:
        if name in expected:
            hashed += 1
            try:
                if digest(files, name) != expected[name]:
                    problems.append(f"{name}: was changed, its SHA-256 is another one")
            except ArchiveError as error:
                problems.append(str(error))
    if "bagit.txt" in present and content(files, "bagit.txt").decode("utf-8", "replace") != DECLARATION:
        problems.append("bagit.txt: is not BagIt's declaration")
    return problems, hashed
