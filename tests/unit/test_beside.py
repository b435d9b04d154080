"""A function in a process of its own: its results, its errors, and its end with the program that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from common.beside import beside
from common.errors import InputError

SCRIPTS = Path(__file__).parents[2] / "scripts"
WORK = """
import os, time
from common.errors import InputError

def adder(first):
    return lambda second: (first + second, os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"])

def sleeper(first):
    return lambda: time.sleep(100)

def never(reason):
    raise InputError(reason)

def refusing():
    def refuse(reason):
        raise InputError(reason)
    return refuse

def killed():
    return lambda: os.kill(os.getpid(), 9)

def missing():
    return lambda: open("/nowhere/at/all")

def ends_early():
    def end():
        raise EOFError
    return end

def broken():
    return lambda: 1 / 0
"""
PROGRAM = """
import time
from common.beside import beside

if __name__ == "__main__":
    with beside("work", "sleeper", 1) as call:
        print("started", flush=True)
        if WAIT == "called":
            call()()
        time.sleep(100)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_it_is_called_in_another_process_without_gpus(work: Path) -> None:
    with beside("work", "adder", 20) as call:
        total, process, gpus = call(22)()
        assert (total, gpus) == (42, "")
        assert process != os.getpid()
    assert not psutil.pid_exists(process)


def test_an_interrupt_is_for_the_program_to_tell_of(work: Path) -> None:
    before = set(psutil.Process().children())
    with beside("work", "adder", 20) as call:
        for process in set(psutil.Process().children()) - before:
            process.send_signal(signal.SIGINT)
        assert call(22)()[0] == 42


@pytest.mark.parametrize(("function", "given"), [("never", ("a line",)), ("refusing", ())])
def test_a_line_for_the_user_comes_out_here(
    work: Path, capfd: pytest.CaptureFixture[str], function: str, given: tuple[str, ...]
) -> None:
    with pytest.raises(InputError, match=r"^a line$"), beside("work", function, *given) as call:
        call(*() if given else ("a line",))()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("function", "end"), [("killed", "killed by SIGKILL. If"), ("broken", "exit code 1"), ("ends_early", "exit code 1")]
)
def test_an_end_without_a_result_is_a_line(work: Path, function: str, end: str) -> None:
    expected = f"the process of work ended before its result: {end}"
    with pytest.raises(InputError, match=expected), beside("work", function) as call:
        call()()


def test_the_systems_own_error_comes_out_here(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError) as raised, beside("work", "missing") as call:
        call()()
    assert raised.value.filename == "/nowhere/at/all"
    assert capfd.readouterr().err == ""


def test_nobody_waits_for_it_after_an_error_here(work: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(ZeroDivisionError), beside("work", "adder", 1):
        raise ZeroDivisionError
    after = set(psutil.Process().children(recursive=True)) - before
    # What stays is multiprocessing's own tracker of resources, for all processes to come.
    assert not [process for process in after if "tracker" not in " ".join(process.cmdline())]


@pytest.mark.parametrize("wait", ["not called", "called"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_program_and_says_nothing(work: Path, number: signal.Signals, wait: str) -> None:
    program = work / "program.py"
    program.write_text(PROGRAM.replace("WAIT", repr(wait)))
    process = subprocess.Popen(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": f"{SCRIPTS}:{work}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    started = psutil.Process(process.pid).children(recursive=True)
    assert started
    # Ctrl-C reaches all processes of a terminal, the others this one.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert errors.count("Traceback") == (number == signal.SIGINT)  # the program's own
    assert "work.py" not in errors
    assert "_serve" not in errors
    deadline = time.monotonic() + 60
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in started):
        assert time.monotonic() < deadline
        time.sleep(0.05)
