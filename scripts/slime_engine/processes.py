"""Programs that are started with a keeper, taken down by their own handles, and listened to."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from slime_engine.keeper import GRACE_S, kept

CHECK_S = 5.0  # between two looks at whether all is well


@contextlib.contextmanager
def process(
    command: Sequence[str], variables: Mapping[str, str], output: int | IO[bytes], place: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program with its keeper, in a session of its own; when the block ends nothing of it is left.

    It has this process's environment, and `variables`.
    """
    started = subprocess.Popen(
        kept(command),
        env=os.environ | dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=place,
        start_new_session=True,  # Ctrl-C in a terminal is for this process, which ends the others in order
    )
    try:
        yield started
    finally:
        end(started)


def end(started: subprocess.Popen[bytes]) -> None:
    """Have a keeper end what it keeps, and itself."""
    if started.poll() is None:
        started.send_signal(signal.SIGTERM)
    try:
        started.wait(GRACE_S + 15)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()
    if started.stdout:
        started.stdout.close()


def lines(stream: IO[bytes], every_s: float = CHECK_S) -> Iterator[bytes | None]:
    """Lines of a running program's output, and None every so many seconds, whether or not it said something."""
    rest = b""
    due = time.monotonic() + every_s
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            said = selector.select(max(0.0, due - time.monotonic()))
            if time.monotonic() >= due:
                yield None
                due = time.monotonic() + every_s
            if not said:
                continue
            read = os.read(stream.fileno(), 1 << 16)
            if not read:
                break
            *whole, rest = (rest + read).split(b"\n")
            yield from whole
    if rest:
        yield rest
