"""An archive of more than 4 GiB, as weights make it: packed, verified and read by others in little memory."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from archive_inputs import CONFIGURATION, NAME, make_finished, make_project

from archiving.verification.zipform import LIMIT

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

SIZE = LIMIT + 200_000_000
NEEDED = SIZE * 2 + 1_000_000_000
PACKING_MB, VERIFYING_MB = 400, 100
PROGRAM = "import archive, pathlib, sys; archive.PROJECT = pathlib.Path(sys.argv.pop(1)); archive.main()"


# A process begins with the peak of the one it was forked from, so a small one starts what is measured.
LAUNCHER = """\
import os, sys
pid = os.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
open(sys.argv[1], "w").write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def measured(command: list[str | Path], cwd: Path) -> tuple[int, str, float]:
    """Exit code, what was said, and peak memory in MB."""
    peak = cwd.parent / "peak.txt"
    launched = [sys.executable, "-I", "-S", "-c", LAUNCHER, peak, *command]
    done = subprocess.run(launched, cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr, int(peak.read_text()) / 1000


def test_weights_of_more_than_4_gib_are_packed_and_verified_in_little_memory(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < NEEDED:
        pytest.skip(f"{NEEDED / 1e9:.0f} GB of free disk are needed")
    project = make_project(tmp_path / "project")
    make_finished(project)
    weights = project / f"results/{NAME}/model/trained/model.safetensors"
    with open(weights, "wb") as handle:  # noise at both ends, a hole between
        handle.write(random.Random(1).randbytes(1_000_000))
        handle.truncate(SIZE)
        handle.seek(SIZE - 1_000_000)
        handle.write(random.Random(2).randbytes(1_000_000))
    packed = project / f"results/{NAME}/archive/{NAME}.zip"
    scripts = Path(__file__).parents[2] / "scripts"
    command = ["env", f"PYTHONPATH={scripts}", sys.executable, "-c", PROGRAM, project, "--results", f"results/{NAME}"]
    command += ["--configuration", json.dumps(CONFIGURATION), "--leverages", "2", "--ledger", "results/ledger"]
    command += ["--snakemake", ".snakemake", "--market-data", "--no-unmasked-answers", "--weights", "--no-images"]
    command += ["--no-allow-dirty"]
    code, said, memory = measured([*command, "--output", packed], project)
    assert code == 0, said
    print(f"\npacked {packed.stat().st_size / 1e9:.2f} GB with {memory:.0f} MB of memory")
    assert packed.stat().st_size > SIZE
    assert memory < PACKING_MB

    alone = tmp_path / "alone"
    alone.mkdir()
    name = "data/results/model/trained/model.safetensors"
    with zipfile.ZipFile(packed) as archive:
        assert archive.getinfo(name).file_size == SIZE
        (alone / "verify.py").write_bytes(archive.read("verify.py"))
    verify = [sys.executable, "-I", "-S", alone / "verify.py", packed]
    code, said, memory = measured(verify, alone)
    print(f"verified it with {memory:.0f} MB of memory")
    assert code == 0, said
    assert memory < VERIFYING_MB
    if shutil.which("unzip"):
        assert subprocess.run(["unzip", "-tqq", packed], check=False).returncode == 0

    with open(packed, "r+b") as handle:  # beyond 4 GiB, in the weights
        handle.seek(LIMIT + 100_000_000)
        handle.write(b"\1")
    code, said, _ = measured(verify, alone)
    assert code == 1
    assert f"FAILED: {name}: " in said
    assert "Traceback" not in said
