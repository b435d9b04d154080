"""The archive of a real run: packed by its rule, then verified, replayed and retrained from the ZIP file alone."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import pytest
from archive_alone import commit_sources, made_again, program, unpacked
from project_copy import IMAGE, Workflow

from archiving.pack import manifest, write_zip

pytestmark = pytest.mark.slow

CONFIGURATION = ["--configfile", "config/minimal.yaml"]


@pytest.fixture(scope="module")
def packed(minimal: tuple[Workflow, str]) -> Path:
    """The minimal run as `snakemake archive` packs it."""
    workflow = minimal[0]
    commit_sources(workflow.folder)
    workflow.run("archive", *CONFIGURATION)
    return workflow.results("minimal") / "archive/minimal.zip"


@pytest.fixture
def alone(packed: Path, tmp_path: Path) -> Path:
    """The minimal run's archive, unpacked."""
    return unpacked(packed, tmp_path / "alone")


def with_new_checksums(files: dict[str, bytes]) -> dict[str, bytes]:
    """An archive's files as a forger leaves them."""
    payload = {n: c for n, c in files.items() if n.startswith("data/")}
    files = files | {"manifest-sha256.txt": manifest(payload)}
    tags = {n: c for n, c in files.items() if n not in payload and n != "tagmanifest-sha256.txt"}
    return files | {"tagmanifest-sha256.txt": manifest(tags)}


def test_the_archive_of_a_real_run_verifies(alone: Path) -> None:
    done = program(alone, "verify.py")
    assert done.returncode == 0, done.stderr
    assert "1,204 closes, their trades and metrics were computed again" in done.stdout
    claims = json.loads((alone / "data/claims.json").read_text())["decks"][0]["claims"]
    assert [claim for claim in claims if claim["how"] == "unexplained"] == []


def test_each_job_of_a_real_run_recorded_its_machine(alone: Path) -> None:
    found = json.loads((alone / "data/host/jobs.json").read_text())
    ok = {job["makes"] for job in found["jobs"] if job["ended"] == "ok"}
    assert {"market/bars.csv", "infer/base/decisions.jsonl", "leverage-2/deck.pptx"} <= ok
    assert {job["program"] for job in found["jobs"]} >= {"samples", "train", "export_weights", "evaluate", "plot"}
    assert {(job["image"], job["python"]) for job in found["jobs"]} == {(IMAGE, platform.python_version())}
    assert found["totals"]["hours"] > 0
    assert json.loads((alone / "data/host/machine.json").read_text())["processor"] == found["totals"]["processors"][0]


def test_packing_again_gives_the_same_bytes(minimal: tuple[Workflow, str], packed: Path) -> None:
    before = packed.read_bytes()
    minimal[0].run("archive", *CONFIGURATION, "--forcerun", "archive")
    assert packed.read_bytes() == before


def test_replay_makes_the_same_bytes_from_the_decisions_to_the_slides(alone: Path) -> None:
    """Outside of the container in which the archive's run believed itself, too."""
    done = program(alone, "replay.py", "--python", sys.executable)
    assert done.returncode == 0, done.stdout + done.stderr
    assert made_again(alone) in done.stdout
    assert program(alone, "verify.py").returncode == 0  # the archive's own folder is as it was


def test_replay_tells_what_other_decisions_change(alone: Path, tmp_path: Path) -> None:
    """A control: an archive with forged decisions and new checksums does not replay."""
    files = {p.relative_to(alone).as_posix(): p.read_bytes() for p in alone.rglob("*") if p.is_file()}
    name = "data/results/leverage-2/equity.csv"
    files[name] = files[name].replace(b",100000.0,0.0,0.0\n", b",100001.0,0.0,0.0\n", 1)
    write_zip(tmp_path / "forged.zip", with_new_checksums(files))
    done = program(alone, "replay.py", tmp_path / "forged.zip", "--python", sys.executable)
    assert done.returncode == 1
    assert "DIFFERS: leverage-2/equity.csv" in done.stdout
    assert "100001.0 there, 100000.0 here" in done.stdout


def test_a_tampered_archive_is_not_replayed(alone: Path) -> None:
    (alone / "data/configuration.json").write_text("{}")
    done = program(alone, "replay.py", "--python", sys.executable)
    assert done.returncode == 1
    assert "data/configuration.json: was changed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not alone.with_name("alone-replay").exists()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_retrain_makes_the_same_bytes_from_the_market_to_the_slides(alone: Path) -> None:
    done = program(alone, "retrain.py", "--python", sys.executable, timeout=1700)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trained: 300 of 300 decisions are the same" in done.stdout
    assert "DIFFERS" not in done.stdout


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_replay_makes_the_pinned_environment_by_itself(alone: Path) -> None:
    done = program(alone, "replay.py", timeout=1700)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "byte for byte" in done.stdout
    assert (alone.with_name("alone-replay") / "environment/bin/snakemake").exists()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_replay_with_other_instructions_of_the_processor_stays_within_the_tolerance(
    alone: Path, tmp_path: Path
) -> None:
    """NumPy and OpenBLAS then add in another order, as they do on another kind of processor."""
    files = {p.relative_to(alone).as_posix(): p.read_bytes() for p in alone.rglob("*") if p.is_file()}
    files["data/host/machine.json"] = b'{"processor": "another kind"}\n'
    write_zip(tmp_path / "other.zip", with_new_checksums(files))
    other = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR", "OPENBLAS_CORETYPE": "Nehalem"}
    done = program(alone, "replay.py", tmp_path / "other.zip", "--python", sys.executable, timeout=1700, **other)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "byte for byte" in done.stdout
    print(done.stdout)
