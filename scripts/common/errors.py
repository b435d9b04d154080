"""Errors a user can act on: one line, no traceback, exit code 1."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

from common.output import reader_may_leave


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is one line that names the file, the place in it, what is wrong and what to do.
    """


def run(main: Callable[[], None], recorded: bool = True) -> None:
    """Run a program's ``main``; turn the errors a user can act on into one line and exit code 1.

    Anything else keeps its traceback: it is a bug in this project.

    Parameters
    ----------
    recorded
        Whether the job's time and machine go to the run's host facts, where the workflow runs it.
    """
    from common.host import job_recorded

    with job_recorded(sys.argv, os.environ) if recorded else contextlib.nullcontext(), reader_may_leave():
        _run(main)


def _run(main: Callable[[], None]) -> None:
    try:
        main()
    except InputError as error:
        message = str(error)
    except BrokenPipeError:
        raise
    except OSError as error:
        # A full disk, a folder that may not be written, a port that is taken: the system's own
        # words are the clearest ones.
        place = f"{error.filename}: " if error.filename else ""
        message = f"{place}{error.strerror or error}. Check the path, the permissions and the free space."
    except KeyboardInterrupt:
        print(f"{program_name()}: interrupted", file=sys.stderr)
        sys.exit(130)
    else:
        return
    # Libraries do not know which program they serve, and those that name it need not do so twice.
    message = " ".join(message.split()).removeprefix(f"{program_name()}: ")
    print(f"{program_name()}: error: {message}", file=sys.stderr, flush=True)
    sys.exit(1)


def program_name() -> str:
    """Name of the running script without its folder and ending."""
    return os.path.splitext(os.path.basename(sys.argv[0]))[0]
