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
        Calls the function that was made, once, and waits for what it returns. Raises the InputError that was raised
        there, and one if the process was killed.
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

    def call(*arguments: Any) -> Any:
        try:
            here.send(arguments)
            done, result = here.recv()
        except (EOFError, OSError):
            process.join()
            raise InputError(
                f"the process of {module} ended before its result ({_end(process.exitcode)}). If the system killed it, "
                "give the job more memory; run again."
            ) from None
        if not done:
            raise result
        return result

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
        answer = True, made(*connection.recv())
    except EOFError:  # not called, after an error there
        return
    except InputError as error:
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
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
