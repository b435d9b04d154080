"""A watchdog: ends the program, with a message, when what it waits for does not move any more."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

from common.errors import program_name

EVERY = 0.5


class Watchdog:
    """Watch from a thread; the main one may hang where no exception reaches it.

    Parameters
    ----------
    limit_s
        Seconds without a sign of life.
    sign_of_life
        Gives something that changes as the work goes on, and what died, if anything did.
    clean
        Called before the program is ended: kills its children.
    """

    def __init__(
        self, limit_s: float, sign_of_life: Callable[[], tuple[object, str | None]], clean: Callable[[], None]
    ) -> None:
        self._limit_s, self._sign_of_life, self._clean = limit_s, sign_of_life, clean
        self._stopped = threading.Event()
        self._last = time.monotonic()
        self._seen: object = None

    def start(self) -> None:
        """Begin to watch."""
        self._last = time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()

    def beat(self) -> None:
        """Say that something was done."""
        self._last = time.monotonic()

    def _watch(self) -> None:
        while not self._stopped.wait(EVERY):
            seen, dead = self._sign_of_life()
            if seen != self._seen:
                self._seen = seen
                self.beat()
            if dead:
                self._end(f"SGLang's process died ({dead}). Check the free memory.")
            elif time.monotonic() - self._last > self._limit_s:
                self._end(f"no sign of life from SGLang for {self._limit_s:g} s. Raise timeout_s if it is slow.")

    def _end(self, message: str) -> None:
        if self._stopped.is_set():
            return
        print(
            f"{program_name()}: error: {message} Start again: finished answers are kept.",
            file=sys.stderr,
            flush=True,
        )
        self._clean()
        os._exit(1)
