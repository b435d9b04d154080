"""What a program prints, where nobody reads it any more."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """End a program without a word where nobody reads on what it prints, as after ``| head``.

    Its exit code is then the one that a shell gives a program which SIGPIPE ended. The signal itself would also end
    those that lose a connection to something else.
    """
    try:
        try:
            yield
        except SystemExit:  # of --help too, whose text still waits to be written
            _flush()
            raise
        _flush()
    except BrokenPipeError:
        if not any(map(_unread, (1, 2))):
            raise
        for descriptor in filter(_unread, (1, 2)):  # Python tries once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        sys.exit(128 + signal.SIGPIPE)


def _flush() -> None:
    if sys.stdout is not None:  # None after ``>&-``
        sys.stdout.flush()


def _unread(descriptor: int) -> bool:
    """Whether an output is a pipe that nobody reads."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
