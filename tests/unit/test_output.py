"""Programs whose output nobody reads any more: no traceback, and the exit code of one that SIGPIPE ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PROGRAM = """\
import os, sys
from common.errors import InputError, run

def main():
    if "--error" in sys.argv:
        raise InputError("bars.csv: empty.")
    if "--other-pipe" in sys.argv:
        reading, writing = os.pipe()
        os.close(reading)
        os.write(writing, b"x")
    print("\\n".join(map(str, range(100_000 if "--much" in sys.argv else 10))))
    if "--bug" in sys.argv:
        raise RuntimeError("a bug")

run(main)
"""
ENDED_BY_SIGPIPE = 141
# Output is kept until there is much of it, as where nobody has set PYTHONUNBUFFERED.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | {
    "PYTHONPATH": str(PROJECT / "scripts")
}


def unread(command: list[str | Path], unread_errors: bool = False) -> tuple[int, str]:
    """Exit code and error output of a command whose output is a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        done = subprocess.run(
            [sys.executable, *command],
            stdout=nobody,
            stderr=nobody if unread_errors else subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env=ENVIRONMENT,
            check=False,
        )
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("how_much", [[], ["--much"]], ids=["written at the end", "written at once"])
def test_a_program_ends_quietly_when_nobody_reads_on(how_much: list[str]) -> None:
    assert unread(["-c", PROGRAM, *how_much]) == (ENDED_BY_SIGPIPE, "")


def test_errors_that_nobody_reads_end_it_too() -> None:
    assert unread(["-c", PROGRAM, "--error"], unread_errors=True)[0] == ENDED_BY_SIGPIPE


@pytest.mark.parametrize(
    "command",
    [
        ["scripts/evaluate.py", "--help"],
        ["scripts/archiving/verification/program.py", "--help"],
        ["rules/plan.py", "--help"],
        ["rules/check_profile.py"],
        ["rules/configuration.py"],
    ],
)
def test_so_do_the_projects_own(command: list[str]) -> None:
    assert unread(command) == (ENDED_BY_SIGPIPE, "")


def test_a_bug_keeps_its_traceback() -> None:
    returncode, errors = unread(["-c", PROGRAM, "--bug"])
    assert returncode not in (0, ENDED_BY_SIGPIPE)
    assert "RuntimeError: a bug" in errors


def test_another_pipe_that_breaks_is_a_bug() -> None:
    command = [sys.executable, "-c", PROGRAM, "--other-pipe"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 1
    assert "BrokenPipeError" in done.stderr


def test_without_an_output_there_is_nothing_to_write() -> None:
    command = ["bash", "-c", 'exec "$0" "$@" >&-', sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
