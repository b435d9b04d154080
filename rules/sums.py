"""SHA-256 of container images: the list beside them, which goes where they go, and what was hashed here already."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from pathlib import Path

SUMS = "SHA256SUMS"
_MEMORY = ".hashed.json"
# A comment to sha256sum: the image given as a base need not be where those built on it are.
_BASE = "# base "
_LIST = threading.Lock()


def read_sums(folder: Path) -> dict[str, str]:
    """File name to SHA-256, as `sha256sum` writes them; nothing where there is no list."""
    return {name.lstrip("*"): digest for digest, name in map(str.split, _lines(folder))}


def read_bases(folder: Path) -> dict[str, str]:
    """Base, as the configuration names it, to SHA-256: what the images of a folder were built on."""
    rows = (line.removeprefix(_BASE).split(maxsplit=1) for line in _lines(folder, of_bases=True))
    return {name: digest for digest, name in rows}


def listed(image: Path, digest: str | None = None) -> str:
    """Write an image's SHA-256 to the list beside it."""
    digest = digest or sha256_of(image, image.parent)
    with _LIST:
        _remember(image, image.parent, digest)
        _write(image.parent, read_sums(image.parent) | {image.name: digest}, read_bases(image.parent))
    return digest


def sha256_of(path: Path, folder: Path) -> str:
    """SHA-256 of a file, which is read again only if its size, time or place on the disk changed.

    Parameters
    ----------
    folder
        Where it is remembered; if that cannot be written to, it is not.
    """
    remembered = _memory(folder).get(str(path.absolute()))
    if remembered and remembered[:-1] == _state(path):
        return str(remembered[-1])
    digest = sha256(path)
    with _LIST:
        _remember(path, folder, digest)
    return digest


def base_sha256(project: Path, base: str, folder: Path, finished: Path | None) -> str | None:
    """SHA-256 of the image that the configuration gives as a base.

    Where it is not there, and only what was built on it, the list that came along says it.

    Parameters
    ----------
    project
        The project's folder.
    base
        Path of the image, from there on.
    folder, finished
        The project's images, and where finished ones are taken from.

    Returns
    -------
    str or None
        None if it is not there and no list knows it.
    """
    path = project / base
    if not path.is_file():
        return next((known for one in (folder, finished) if one and (known := read_bases(one).get(base))), None)
    digest = sha256_of(path, folder)
    with _LIST, contextlib.suppress(OSError):
        if read_bases(folder).get(base) != digest:
            _write(folder, read_sums(folder), read_bases(folder) | {base: digest})
    return digest


def sha256(path: Path) -> str:
    """SHA-256 of a file, read now."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _lines(folder: Path, of_bases: bool = False) -> list[str]:
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [line for line in lines if line.strip() and line.startswith(_BASE) == of_bases]


def _write(folder: Path, sums: dict[str, str], bases: dict[str, str]) -> None:
    lines = [f"{_BASE}{digest}  {name}\n" for name, digest in sorted(bases.items())]
    lines += [f"{digest}  {name}\n" for name, digest in sorted(sums.items())]
    _replace(folder / SUMS, "".join(lines))


def _memory(folder: Path) -> dict[str, list[int | str]]:
    try:
        return json.loads((folder / _MEMORY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _remember(path: Path, folder: Path, digest: str) -> None:
    with contextlib.suppress(OSError):
        known = {name: state for name, state in _memory(folder).items() if Path(name).exists()}
        known[str(path.absolute())] = [*_state(path), digest]
        _replace(folder / _MEMORY, json.dumps(known, indent=1) + "\n")


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
