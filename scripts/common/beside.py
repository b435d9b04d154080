"""A function in a process of its own: it imports packages of seconds while the program reads and writes gigabytes.

In a thread, Python would let one of the two go on at a time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from multiprocessing.connection import Connection, wait
from typing import Any

from common.cpu_alone import on_cpu_alone
from common.errors import InputError


@contextlib.contextmanager
def beside(module: str, function: str, *arguments: Any) -> Iterator[Callable[..., Any]]:
    """Begin to import a module in another process, which is `on_cpu_alone`, and to make a function with a function.

    Yields
    ------
    Callable
        Begins to call the function that was made, once, and gives what waits for the result. That raises the InputError
        or OSError that was raised there, and an InputError if the process ended otherwise.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, module, function, arguments), daemon=True)
    # It ends with this program, which says that it was interrupted.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    there.close()

    def call(*arguments: Any) -> Callable[[], Any]:
        with contextlib.suppress(BrokenPipeError):  # an answer may be there already
            here.send(arguments)
        return result

    def result() -> Any:
        try:
            done, found = here.recv()
        except (EOFError, ConnectionError):
            process.join()
            raise InputError(f"the process of {module} ended before its result: {_end(process.exitcode)}") from None
        if not done:
            raise found
        return found

    try:
        yield call
    finally:
        here.close()
        process.terminate()
        process.join()


def _serve(connection: Connection, module: str, function: str, arguments: tuple[Any, ...]) -> None:
    """In the other process: get ready, wait to be called, answer."""
    threading.Thread(target=_end_with_the_program, daemon=True).start()
    on_cpu_alone()
    try:
        made = getattr(import_module(module), function)(*arguments)
        try:
            given = connection.recv()
        except EOFError:  # not called, after an error there
            return
        answer = True, made(*given)
    except (InputError, OSError) as error:
        answer = False, error
    with contextlib.suppress(BrokenPipeError):
        connection.send(answer)


def _end_with_the_program() -> None:
    """Killed, it cannot say that nobody waits any more."""
    program = multiprocessing.parent_process()
    assert program is not None
    wait([program.sentinel])
    os._exit(1)


def _end(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}. If that was the system, give the job more memory; run again."
    return f"exit code {code}, its error is above."
