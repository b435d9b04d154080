"""What the tests of the cluster share: an Apptainer, images, built once in the checkout, a Slurm, and one run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from project_copy import PROJECT
from slurm import MINIMAL, Cluster, Minimal, end_all, project

from containers import pip_settings, provide
from images import image_path, read_definition, root_arguments

HERE = Path(__file__).parent
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here are the cluster's. Those without images come first: most wait for Slurm while images are built."""
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.cluster)
        item.add_marker(pytest.mark.timeout(1500))
    ours.sort(key=_needs_images)
    items[:] = [item for item in items if item not in ours] + ours


def _needs_images(item: pytest.Item) -> bool:
    return "images" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def apptainer(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Environment in which Apptainer runs: the machine's own one, or one that is set up for these tests."""
    if not shutil.which("apptainer"):
        folder = tmp_path_factory.mktemp("apptainer")
        up = subprocess.run([HERE / "apptainer_up.sh", folder], capture_output=True, text=True)
        if up.returncode == 3:
            pytest.skip(up.stderr.strip())
        assert up.returncode == 0, up.stderr[-2000:]
        command = f"source {folder}/env.sh && env -0"
        lines = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.split("\0")
        told = dict(line.split("=", 1) for line in lines if line.startswith(("APPTAINER", "PATH=")))
        os.environ.update(told)  # for builds from here
    return {name: value for name, value in os.environ.items() if name.startswith(("APPTAINER", "PATH"))}


@pytest.fixture(scope="session")
def debian() -> dict[str, str]:
    """Settings of images that are built from a Debian mirror: no registry can be reached everywhere."""
    if not SOURCES.is_file():
        pytest.skip(f"{SOURCES} is not there: this is not Debian 12")
    addresses = [line.split()[1] for line in SOURCES.read_text().splitlines() if line.startswith("URIs:")]
    return {"bootstrap": "debootstrap", "base": addresses[0]}


@pytest.fixture(scope="session", autouse=True)
def building(request: pytest.FixtureRequest) -> Iterator[Future[Any] | None]:
    """The images, built from the start of the session on where a test of it needs them and they can be built."""
    if not any(map(_needs_images, request.session.items)):
        yield None
        return
    try:
        request.getfixturevalue("apptainer")
        debian = request.getfixturevalue("debian")
    except pytest.skip.Exception:  # the tests concerned say so
        yield None
        return
    os.environ.setdefault("APPTAINER_MKSQUASHFS_ARGS", "-comp zstd -Xcompression-level 1")  # fastest
    names = [path.stem for path in sorted((PROJECT / "containers").glob("*.def"))]
    names = [name for name in names if read_definition(PROJECT, name).base]
    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(provide, PROJECT, names, root_arguments(**debian))


@pytest.fixture(scope="session")
def images(apptainer: Mapping[str, str], debian: dict[str, str], building: Future[Any]) -> Path:
    """A folder with an image for each CPU rule: the checkout's own, so that only the first session builds them."""
    building.result()
    return PROJECT / "containers"


@pytest.fixture(scope="session")
def cuda_images(
    images: Path, apptainer: Mapping[str, str], debian: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The definitions of the CUDA rules, built on images that can be had here; what is not in them is not tested."""
    made = {}
    for name, base in {"train-cuda": "base-model", "infer-cuda": "base-python", "train-slime": "base-python"}.items():
        folder = tmp_path_factory.mktemp(name)
        mounts, environment = pip_settings(PROJECT, folder)
        stand_in = PROJECT / image_path(PROJECT, base, root_arguments(**debian))
        build = ["apptainer", "build", "--force", *(["--notest"] if base == "base-python" else []), *mounts]
        arguments = ["--build-arg", "bootstrap=localimage", "--build-arg", f"base={stand_in}"]
        made[name] = folder / f"{name}.sif"
        subprocess.run(
            [*build, *arguments, made[name], f"containers/{name}.def"],
            cwd=PROJECT, env=os.environ | apptainer | environment, check=True,
        )  # fmt: skip
    return made


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Bring Slurm up; skip, with its reason, where that cannot be; take it down whatever happens."""
    folder = tmp_path_factory.mktemp("slurm")
    try:
        # A file, not a pipe: the daemons keep it open.
        with open(folder / "said", "w", encoding="utf-8") as output:
            done = subprocess.run([HERE / "slurm_up.sh", folder], stdout=output, stderr=output, timeout=400)
        said = (folder / "said").read_text().strip()
        if done.returncode == 77:
            pytest.skip(said.splitlines()[-1])
        assert done.returncode == 0, said
        yield Cluster(folder)
    finally:
        subprocess.run([HERE / "slurm_down.sh", folder], timeout=120)


@pytest.fixture(scope="session")
def runs(
    images: Path,
    apptainer: Mapping[str, str],
    debian: dict[str, str],
    cluster: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Minimal, Minimal]:
    """The minimal configuration through Slurm and in containers, and beside it on this machine alone, without."""
    settings: dict[str, Any] = {"containers": debian | {"folder": str(images)}}
    through = project(tmp_path_factory.mktemp("through-slurm"), apptainer, settings)
    alone = project(tmp_path_factory.mktemp("alone"), apptainer)
    planned = [through.planned("--configfile", MINIMAL), alone.here("--dry-run", "--configfile", MINIMAL).announced]
    with ThreadPoolExecutor(1) as beside:
        on_its_own = beside.submit(alone.here, "--configfile", MINIMAL)
        run = through.run("--configfile", MINIMAL)
    return Minimal(through, run, planned[0]), Minimal(alone, on_its_own.result(), planned[1])


@pytest.fixture(scope="session")
def finished(runs: tuple[Minimal, Minimal]) -> Minimal:
    """Through Slurm and in containers."""
    return runs[0]


@pytest.fixture(scope="session")
def local(runs: tuple[Minimal, Minimal]) -> Minimal:
    """On this machine, without containers."""
    return runs[1]


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    end_all()
