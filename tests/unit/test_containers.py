from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sums
from containers import ContainerError, given_arguments, provide, record
from images import image_path
from sums import SUMS, read_sums, sha256_of

PROJECT = Path(__file__).parents[2]
GIVEN = {"bootstrap": "docker"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without any image."""
    for part in ("containers", "envs", "rules", "scripts"):
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
    root, market = provide(project, ["market"], given_arguments(project, "localimage", str(given), None))
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


# --- what was hashed ---


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read to be hashed."""
    names: list[str] = []
    really = sums.sha256

    def counted(path: Path) -> str:
        names.append(path.name)
        return really(path)

    monkeypatch.setattr(sums, "sha256", counted)
    return names


def test_a_file_is_read_again_only_when_it_is_another_one(tmp_path: Path, read: list[str]) -> None:
    image, other = tmp_path / "a.sif", tmp_path / "b"
    image.write_bytes(b"one")
    assert sha256_of(image, tmp_path) == sha256_of(image, tmp_path) == hashlib.sha256(b"one").hexdigest()
    assert read == ["a.sif"]
    other.write_bytes(b"two")
    shutil.copystat(image, other)  # of the same size and time
    other.replace(image)
    assert sha256_of(image, tmp_path) == hashlib.sha256(b"two").hexdigest()
    image.write_bytes(b"six")
    assert sha256_of(image, tmp_path) == hashlib.sha256(b"six").hexdigest()
    (tmp_path / ".hashed.json").write_text("{cut")
    assert sha256_of(image, tmp_path) == hashlib.sha256(b"six").hexdigest()
    assert read == ["a.sif"] * 4


def test_an_image_that_was_changed_since_it_was_made_is_refused(project: Path, finished: Path, tmp_path: Path) -> None:
    (image,) = provide(project, ["plot"], GIVEN, finished.parent)
    path, file = str(image.relative_to(project)), tmp_path / "containers.json"
    record(project, [path], file)
    before = file.read_text()
    assert json.loads(before) == {image.name: hashlib.sha256(b"an image").hexdigest()}
    image.unlink()  # a link to the finished one
    image.write_bytes(b"an IMAGE")
    with pytest.raises(ContainerError, match=rf"^{path}: its SHA-256 is \w+, containers/{SUMS} says \w+: .*Delete it"):
        record(project, [path], file)
    assert file.read_text() == before
    image.unlink()
    provide(project, ["plot"], GIVEN, finished.parent)
    record(project, [path], file)


def test_results_are_not_recorded_with_gigabytes_read_anew(
    project: Path, finished: Path, tmp_path: Path, read: list[str]
) -> None:
    (image,) = provide(project, ["plot"], GIVEN, finished.parent)
    for run in ("one", "two"):
        record(project, [str(image.relative_to(project))], tmp_path / run / "containers.json")
    assert read == []  # only when it was taken


# --- a given base ---


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """An image that the configuration names."""
    path = tmp_path / "given/base.sif"
    path.parent.mkdir()
    path.write_bytes(b"a base")
    return path


def named(project: Path, base: Path, folder: Path | None = None) -> str:
    """Path of an image that is built on it."""
    return image_path(project, "plot", given_arguments(project, "localimage", str(base), folder))


def test_another_base_at_the_same_path_is_another_image(project: Path, base: Path, read: list[str]) -> None:
    first = named(project, base)
    assert named(project, base) == first
    assert read == ["base.sif"]
    base.write_bytes(b"A base")
    assert named(project, base) != first


def test_images_are_found_where_their_base_is_not(project: Path, base: Path, tmp_path: Path) -> None:
    image = project / named(project, base)
    image.write_bytes(b"built on it")
    sums.listed(image)
    subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=image.parent, check=True, capture_output=True)
    elsewhere, copied = tmp_path / "elsewhere", tmp_path / "copied"
    shutil.copytree(project, elsewhere, ignore=shutil.ignore_patterns("*.sif", SUMS, ".hashed.json"))
    copied.mkdir()
    for path in (image, image.with_name(SUMS)):
        shutil.copy(path, copied)
    base.unlink()
    given = given_arguments(elsewhere, "localimage", str(base), copied)
    (taken,) = provide(elsewhere, ["plot"], given, copied)
    assert taken.name == image.name
    # Where they were made, nothing is missing, and nothing is asked for.
    assert provide(project, ["plot"], given_arguments(project, "localimage", str(base), None)) == []


def test_an_unknown_base_is_one_line_where_an_image_needs_it(
    project: Path, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base.unlink()
    given = given_arguments(project, "localimage", str(base), None)
    with pytest.raises(ContainerError, match=rf"^containers.base: {base} is not there, and no {SUMS} says") as error:
        provide(project, ["plot"], given)
    assert "\n" not in str(error.value)
    assert provide(project, [], given) == []


def test_a_known_base_that_is_not_there_cannot_be_built_on(
    project: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(project, base)
    base.unlink()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/apptainer").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ContainerError, match=rf"^containers.base: {base} is not there, and images have to be built"):
        provide(project, ["plot"], given_arguments(project, "localimage", str(base), None))
    assert leftovers(project) == []
