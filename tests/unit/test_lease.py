"""The lease of a folder: who else holds it, and file systems that have none."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import InputError
from common.lease import lease

SCRIPTS = Path(__file__).parents[2] / "scripts"
HOLD = """
import sys
from pathlib import Path
from common.lease import lease
with lease(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(SCRIPTS)},
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="another run is writing here"), lease(tmp_path):
            pass
        first.communicate()
    with lease(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.EACCES, errno.EAGAIN, errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_no_other_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr("common.lease.fcntl.lockf", refuse)
    with pytest.raises(InputError) as said, lease(tmp_path):
        pass
    held = number in (errno.EACCES, errno.EAGAIN)  # POSIX allows either where another process has the lock
    assert ("another run is writing here" in str(said.value)) == held
    assert ("its file system cannot keep a second run out" in str(said.value)) != held
    assert str(said.value).startswith(f"{tmp_path}: ")
    assert "\n" not in str(said.value)
