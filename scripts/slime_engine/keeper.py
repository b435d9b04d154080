"""Run a program and leave nothing of it behind, however it ends and however this process's parent ends.

    python scripts/slime_engine/keeper.py PARENT ray start --head --block ...

PARENT is the process id of whoever starts it; 0 for whichever process that is.

Processes that the program started are found by their descent, never by name: those that lose their parent become
children of the keeper (Linux' child subreaper). When the keeper's own parent dies, even by SIGKILL, the kernel sends
the keeper SIGTERM, and it takes everything down.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from types import FrameType

GRACE_S = 10.0  # from SIGTERM to SIGKILL
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def end_with_parent(parent: int) -> None:
    """Have the kernel send SIGTERM to this process when its parent, whose id is given, dies."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the line above
        os.kill(os.getpid(), signal.SIGTERM)


def adopt_orphans() -> None:
    """Make this process the parent of its descendants that lose theirs."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants(process: int, spared: Container[int] = ()) -> list[int]:
    """Ids of all living processes that descend from one, the nearest first; zombies and the spared do not count."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):  # ended meanwhile
            # The name in parentheses may hold anything; behind it: state, parent, ...
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(entry.name))
    found, level = [], [process]
    while level:
        level = [child for one in level for child in children.get(one, []) if child not in spared]
        found += level
    return found


@contextlib.contextmanager
def descendants_ended() -> Iterator[None]:
    """End what the block leaves of its processes, with those that lost their parent.

    Children that this process had before, like the meter of the GPUs' power, go on.
    """
    before = frozenset(descendants(os.getpid()))
    adopt_orphans()
    try:
        yield
    finally:
        end_descendants(os.getpid(), spared=before)


def end_descendants(process: int, grace_s: float = GRACE_S, spared: Container[int] = ()) -> None:
    """SIGTERM to all descendants of a process, SIGKILL to those that are still there after `grace_s` seconds."""
    _send(descendants(process, spared), signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while (left := descendants(process, spared)) and time.monotonic() < deadline:
        _reap()
        time.sleep(0.05)
    while left:  # what starts while others are killed is found in the next round
        _send(left, signal.SIGKILL)
        time.sleep(0.05)
        _reap()
        left = descendants(process, spared)


def keep(command: Sequence[str], parent: int, grace_s: float = GRACE_S) -> int:
    """Run a command to its end or to this process's SIGTERM or SIGINT, then end all that descends from it.

    Returns
    -------
    int
        The command's exit code, 128 + the signal's number where one ended it, 127 if it cannot be started.
    """
    stopped: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopped.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    adopt_orphans()
    end_with_parent(parent)
    code = 128 + signal.SIGTERM
    try:
        if not stopped:
            child = subprocess.Popen(command)
            while (ended := child.poll()) is None and not stopped:
                time.sleep(0.1)
            code = 128 + stopped[0] if ended is None else ended if ended >= 0 else 128 - ended
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        code = 127
    finally:
        end_descendants(os.getpid(), grace_s)
    return code


def kept(command: Sequence[str]) -> list[str]:
    """A command with its keeper, to be started by this process."""
    return [sys.executable, str(Path(__file__)), str(os.getpid()), *command]


def _send(processes: Sequence[int], number: int) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _reap() -> None:
    """Collect ended orphans, so that none stays a zombie."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    sys.exit(keep(sys.argv[2:], int(sys.argv[1]) or os.getppid()))
