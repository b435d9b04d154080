"""SIGTERM ends the program as an exception does, so that what it started is cleaned up."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

AGAIN_S = 1.0
SIGNALS = (signal.SIGTERM, signal.SIGALRM)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Raise SystemExit(143) in the block on SIGTERM.

    Python swallows an exception that a signal raises inside a finaliser or a fork: it is raised again every
    second until the block is left.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
        sys.exit(143)

    def report(swallowed: sys.UnraisableHookArgs) -> None:
        if swallowed.exc_type is not SystemExit:
            hook(swallowed)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    hook, sys.unraisablehook = sys.unraisablehook, report
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let SIGTERM wait until the block is done: for cleaning up."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
