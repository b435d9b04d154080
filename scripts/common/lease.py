"""A lease keeps two writers out of one folder."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from common.errors import InputError


@contextlib.contextmanager
def lease(folder: Path) -> Iterator[None]:
    """Hold `folder` alone; the system gives it back however the process ends.

    Raises
    ------
    InputError
        If another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lease", "a", encoding="utf-8") as handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{folder}: another run is writing here. Wait until it ends, or stop it and start again."
            ) from None
        yield
