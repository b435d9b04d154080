from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from containers import SUMS, ContainerError, provide, read_sums, record
from images import image_path

PROJECT = Path(__file__).parents[2]
GIVEN = {"bootstrap": "docker"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without any image."""
    for part in ("containers", "envs", "rules"):
        ignore = shutil.ignore_patterns("*.sif", ".pip", "*.log", SUMS)
        shutil.copytree(PROJECT / part, tmp_path / "project" / part, ignore=ignore)
    return tmp_path / "project"


@pytest.fixture
def finished(project: Path, tmp_path: Path) -> Path:
    """A folder with the image of the plot, as another machine made it, and its list."""
    image = tmp_path / "finished" / Path(image_path(project, "plot", GIVEN)).name
    image.parent.mkdir()
    image.write_bytes(b"an image")
    digest = hashlib.sha256(b"an image").hexdigest()
    (image.parent / SUMS).write_text(f"{digest}  {image.name}\n{'0' * 64}  other.sif\n")
    return image


def leftovers(project: Path) -> list[Path]:
    return [*project.glob("containers/*.sif"), *project.glob("containers/.*partial*")]


def test_a_finished_image_is_taken_and_listed(project: Path, finished: Path) -> None:
    (taken,) = provide(project, ["plot", "plot"], GIVEN, finished.parent)
    assert taken == project / image_path(project, "plot", GIVEN)
    assert taken.read_bytes() == b"an image"
    assert read_sums(taken.parent) == {taken.name: hashlib.sha256(b"an image").hexdigest()}
    subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=taken.parent, check=True, capture_output=True)
    assert provide(project, ["plot"], GIVEN, finished.parent) == []


def test_a_changed_image_is_refused(project: Path, finished: Path) -> None:
    finished.write_bytes(b"another image")
    with pytest.raises(ContainerError, match=rf"{finished.name}: its SHA-256 is \w+, {SUMS} says \w+\. Copy it again"):
        provide(project, ["plot"], GIVEN, finished.parent)
    assert leftovers(project) == []


def test_an_image_that_is_missing_or_not_listed_is_refused(project: Path, finished: Path) -> None:
    with pytest.raises(ContainerError, match=r"no deck-\w+\.sif\. Build it where that is possible"):
        provide(project, ["deck"], GIVEN, finished.parent)
    (finished.parent / SUMS).unlink()
    with pytest.raises(ContainerError, match=rf"{SUMS} does not list plot-\w+\.sif"):
        provide(project, ["plot"], GIVEN, finished.parent)
    assert leftovers(project) == []


def test_without_apptainer_the_program_says_so_in_one_line(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "rules/containers.py", "plot"],
        cwd=project,
        env={"PATH": "/nowhere"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("containers: error: apptainer: not found. Install Apptainer")
    assert done.stderr.count("\n") == 1
    assert leftovers(project) == []


def test_an_image_keeps_no_path_of_the_machine_it_is_built_on(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what Apptainer is told, which it writes into the image; this one keeps what it was told, and nothing more."""
    program = tmp_path / "bin/apptainer"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, re, sys\n"
        "if sys.argv[1] == 'build':\n"
        "    told = dict(part.split('=', 1) for part in sys.argv if re.match('[a-z]+=', part))\n"
        "    assert told['bootstrap' if 'base-python' in sys.argv[-1] else 'version']\n"
        "    content = pathlib.Path(told['base']).read_bytes()\n"
        "    pathlib.Path(sys.argv[-2]).write_text(f'{told} on {content}')\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    given = tmp_path / "jo.doe/base.sif"
    given.parent.mkdir()
    given.write_bytes(b"a given image")
    root, market = provide(project, ["market"], {"bootstrap": "localimage", "base": str(given)})
    digest = hashlib.sha256(b"a given image").hexdigest()
    assert f"'digest': 'sha256:{digest}'" in root.read_text()
    assert root.read_text().endswith("on b'a given image'")  # it was found from the project's folder on
    assert f"'base': 'containers/{root.name}'" in market.read_text()
    assert [image for image in (root, market) if str(tmp_path) in image.read_text()] == []


def test_results_keep_the_hash_of_every_image_that_made_them(project: Path, tmp_path: Path) -> None:
    image, file = project / "containers" / "deck-1.sif", tmp_path / "results" / "containers.json"
    image.write_bytes(b"one")
    record(project, ["containers/deck-1.sif"], file)
    (project / "containers" / "deck-2.sif").write_bytes(b"two")
    record(project, ["containers/deck-2.sif"], file)
    expected = {f"deck-{n}.sif": hashlib.sha256(text).hexdigest() for n, text in ((1, b"one"), (2, b"two"))}
    assert json.loads(file.read_text()) == expected
    before = file.stat().st_mtime_ns
    record(project, ["containers/deck-2.sif"], file)
    assert file.stat().st_mtime_ns == before
