"""A lease keeps two writers out of one folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from common.errors import InputError


@contextlib.contextmanager
def lease(folder: Path) -> Iterator[None]:
    """Hold `folder` alone; the system gives it back however the process ends.

    Raises
    ------
    InputError
        If another process holds it, or its file system has no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lease", "a", encoding="utf-8") as handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise InputError(
                    f"{folder}: another run is writing here. Wait until it ends, or stop it and start again."
                ) from None
            raise InputError(
                f"{folder}: its file system cannot keep a second run out ({os.strerror(error.errno or 0)}). Put the "
                "results on one with file locks, or have them switched on there (NFS: lockd; Lustre: mount with flock)."
            ) from None
        yield
