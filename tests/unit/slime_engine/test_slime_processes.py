"""Programs with their keepers: started, listened to, ended with all that descends from them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slime_engine import cluster, processes
from slime_engine.keeper import kept

# Leaves its parent and its session, and lasts.
STRAY = """
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(300)
"""


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: object, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("way", ["ends", "TERM", "its parent is killed"])
def test_a_keeper_leaves_nothing_behind(tmp_path: Path, way: str) -> None:
    path = tmp_path / "stray"
    command = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {STRAY!r}, {str(path)!r}])"
    command += "" if way == "ends" else "; time.sleep(300)"
    parent = f"""
import os, subprocess, sys, time
sys.path.insert(0, {str(cluster.SCRIPTS)!r})
from slime_engine.keeper import kept
keeper = subprocess.Popen(kept([sys.executable, "-c", {command!r}]), start_new_session=True)
print(keeper.pid, flush=True)
sys.exit(keeper.wait())
"""
    running = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    keeper = int(running.stdout.readline())
    wait_until(lambda: path.exists() and path.read_text())
    stray = int(path.read_text())
    if way == "TERM":
        os.kill(keeper, signal.SIGTERM)
    elif way != "ends":
        running.kill()
    code = running.wait(60)
    assert code == {"ends": 0, "TERM": 128 + 15}.get(way, -9)
    wait_until(lambda: not alive(stray))
    wait_until(lambda: not alive(keeper))
    running.stdout.close()


@pytest.mark.parametrize(("block", "lives"), [("descendants_ended", True), ("control", False)])
def test_what_ran_before_goes_on_and_orphans_are_ended(tmp_path: Path, block: str, lives: bool) -> None:
    path = tmp_path / "stray"
    program = f"""
import contextlib, os, subprocess, sys, time
sys.path.insert(0, {str(cluster.SCRIPTS)!r})
from slime_engine import keeper
@contextlib.contextmanager
def control():
    keeper.adopt_orphans()
    yield
    keeper.end_descendants(os.getpid())
meter = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
with {"keeper.descendants_ended" if lives else block}():
    subprocess.run([sys.executable, "-c", {STRAY!r}, {str(path)!r}])
    own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    while not (os.path.exists({str(path)!r}) and os.path.getsize({str(path)!r})): time.sleep(0.05)
print(meter.poll() is None, own.poll() is None, flush=True)
meter.kill()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [str(lives), "False"], done.stderr
    assert not alive(int(path.read_text()))


def test_without_a_keeper_it_would_stay(tmp_path: Path) -> None:
    path = tmp_path / "stray"
    subprocess.run([sys.executable, "-c", STRAY, path], check=True)
    wait_until(lambda: path.exists() and path.read_text())
    stray = int(path.read_text())
    assert alive(stray)
    os.kill(stray, signal.SIGKILL)


def test_a_keeper_passes_the_exit_code_on() -> None:
    assert subprocess.run(kept([sys.executable, "-c", "raise SystemExit(7)"])).returncode == 7
    assert subprocess.run(kept(["/no/such/program"]), stderr=subprocess.DEVNULL).returncode == 127


def test_lines_come_as_they_are_said_and_silence_shows() -> None:
    said = "import time; print('one', flush=True); time.sleep(0.6); print('two\\nthree', end='', flush=True)"
    with subprocess.Popen([sys.executable, "-c", said], stdout=subprocess.PIPE) as running:
        lines = list(processes.lines(running.stdout, 0.2))
    assert [line for line in lines if line is not None] == [b"one", b"two", b"three"]
    assert None in lines


def test_a_program_that_always_talks_is_looked_at_all_the_same() -> None:
    said = "import time\nwhile True: print('retry', flush=True); time.sleep(0.02)"
    with subprocess.Popen([sys.executable, "-c", said], stdout=subprocess.PIPE) as running:
        heard = [line for line, _ in zip(processes.lines(running.stdout, 0.2), range(100), strict=False)]
        running.kill()
    assert 0 < heard.count(None) < 50
    assert heard.count(b"retry") == 100 - heard.count(None)


VARIABLES = {"RAY_ADDRESS": "10.0.0.1:5000", "no_proxy": "a,b c"}


def test_a_program_has_them_and_the_rest_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "C")
    monkeypatch.setenv("RAY_ADDRESS", "another:1")
    with processes.process(["env"], VARIABLES, subprocess.PIPE) as running:
        said = running.stdout.read().decode().splitlines()
    assert {"LANG=C", "RAY_ADDRESS=10.0.0.1:5000"} <= set(said)
