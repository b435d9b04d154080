"""Files: written beside and renamed, read with errors that name the line, hashed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError


@contextlib.contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; rename it to `path` only if the block succeeds.

    Nobody ever sees a half-written file: on an error the partial file (or folder) is removed and
    what stood at `path` before stays.

    Yields
    ------
    Path
        A path in the same folder. Write a file there, or make a folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The writer's file name keeps its ending, by which matplotlib and others choose a format.
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    _remove(partial)
    try:
        yield partial
        if partial.is_dir() and path.exists():
            _remove(path)  # a folder cannot be renamed over a full one
        os.replace(partial, path)
    except BaseException:
        _remove(partial)
        raise


def on_the_disk(folder: Path) -> None:
    """Wait until all files of a folder are on the disk: then it may take a name that says it is whole."""
    for path in [*sorted(path for path in folder.rglob("*")), folder]:
        handle = os.open(path, os.O_RDONLY)  # a folder, too: it holds the names
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(path: str | Path) -> None:
    """Remove what killed programs left beside `path` while they wrote it; a running program's is not touched."""
    path = Path(path)
    for left in path.parent.glob(f".{path.stem}.*.partial{path.suffix}"):
        writer = left.name.removeprefix(f".{path.stem}.").split(".")[0]
        if writer.isdigit() and not _runs(int(writer)):
            _remove(left)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256(path: str | Path, known: Mapping[str, str] | None = None) -> str:
    """SHA-256 of a file, in hexadecimal; of a folder, over the sorted names and hashes of its files.

    Parameters
    ----------
    known
        Hashes of some of a folder's files, by their names in it: those files are not read.
    """
    path = Path(path)
    if not path.is_dir():
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        name = file.relative_to(path).as_posix()
        digest.update(f"{name} {(known or {}).get(name) or sha256(file)}\n".encode())
    return digest.hexdigest()


def read_json(path: str | Path) -> dict[str, Any]:
    """Read one JSON object.

    Raises
    ------
    InputError
        If the file is missing or is not a JSON object; names the line and column.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Run the stage that makes it.") from None
    except (ValueError, RecursionError) as error:  # of JSON, of UTF-8, of a number without end, of brackets without end
        raise InputError(f"{path}: not JSON ({error}). Delete it and make it again.") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: JSON, but no object. Delete it and make it again.")
    return value


def write_json(path: str | Path, value: dict[str, Any]) -> None:
    """Write one JSON object, whole or not at all, keys in the order given. NaN is refused."""
    with written_whole(path) as partial:
        partial.write_text(dump(value, indent=2) + "\n", encoding="utf-8")


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object a line.

    Raises
    ------
    InputError
        If the file is missing or empty, or a line is not a JSON object; names the line.
    """
    rows = []
    try:
        with open(path, encoding="utf-8") as handle:
            for number, line in enumerate(handle, start=1):
                try:
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError(f"a {type(row).__name__}, not an object")
                except (ValueError, RecursionError) as error:
                    raise InputError(
                        f"{path}, line {number}: not a JSON object ({error}). Make the file again."
                    ) from None
                rows.append(row)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Run the stage that makes it.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error}). Make the file again.") from None
    if not rows:
        raise InputError(f"{path}: empty. Run the stage that makes it again.")
    return rows


def write_jsonl(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, whole or not at all."""
    with written_whole(path) as partial, open(partial, "w", encoding="utf-8") as handle:
        for row in rows:
            handle.write(dump(row) + "\n")


def dump(value: Any, indent: int | None = None) -> str:
    """JSON text, readable (not ASCII-escaped), without NaN or infinity, which JSON does not have."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
