"""What goes wrong around a checkpoint's files as one line, and what torch and Megatron say beside it unsaid."""

from __future__ import annotations

import contextlib
import errno
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.distributed.checkpoint.api import CheckpointException  # a BaseException

from common.errors import InputError


@contextlib.contextmanager
def writable(target: Path, partial: Path | None = None) -> Iterator[None]:
    """Turn whatever a failed write raises into one line, and leave nothing of it, in a folder beside it or its own."""
    try:
        yield
    except (InputError, OSError, RuntimeError, CheckpointException) as error:  # a full disk comes as any of these
        shutil.rmtree(partial or target, ignore_errors=True)
        cause = _cause(error)
        if isinstance(cause, InputError | KeyboardInterrupt):  # of what was to be written, and while it was
            raise cause from None
        free = shutil.disk_usage(target.parent).free
        raise InputError(
            f"{target}: the checkpoint cannot be written ({_reason(cause)}); {free / 1e6:.1f} MB are free there. "
            "Make room and run again: it goes on from the last checkpoint."
        ) from error


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn whatever reading a broken checkpoint raises into one line."""
    try:
        yield
    except InputError:
        raise
    except (Exception, CheckpointException) as error:  # torch, pickle, zip and Megatron raise their own
        if isinstance(error, OSError) and error.errno == errno.EIO:
            raise InputError(f"{path}: cannot be read ({error}). Check the disk and run again.") from error
        if not (path / ".metadata").is_file():
            raise InputError(
                f"{path}: not a complete Megatron checkpoint (.metadata is missing). Make it again."
            ) from error
        raise InputError(
            f"{path}: the checkpoint cannot be read ({_reason(error)}). It is cut short or of another model; "
            "delete this folder and run again."
        ) from error


def _cause(error: BaseException) -> BaseException:
    """What an error comes from, where that is a line for the user, the system's or Ctrl-C: torch's troubles hide it."""
    failures = [failure for failure, _ in error.failures.values()] if isinstance(error, CheckpointException) else []
    found, step = error, failures[0] if failures else error
    while step is not None:
        if isinstance(step, InputError | KeyboardInterrupt):
            return step
        if isinstance(step, OSError):
            found = step
        step = step.__context__
    return found


def _reason(error: BaseException) -> str:
    """Last line of an error's text: torch's errors carry whole tracebacks."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip()[:200] if lines else type(error).__name__


@contextlib.contextmanager
def no_crc32() -> Iterator[None]:
    """Have torch write files without their CRC-32, in this thread: nobody reads it, and it takes most of the time."""
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        yield
    finally:
        torch.serialization.set_crc32_options(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings about Megatron's own use of torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
