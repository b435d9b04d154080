"""What the tests of the cluster share: an Apptainer, images, built once in the checkout, and a Slurm."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from project_copy import PROJECT
from slurm import Cluster, end_all

from containers import provide
from images import read_definition, root_arguments

HERE = Path(__file__).parent
SOURCES = Path("/etc/apt/sources.list.d/debian.sources")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here are the cluster's."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(1500))


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


@pytest.fixture(scope="session")
def images(apptainer: Mapping[str, str], debian: dict[str, str]) -> Path:
    """A folder with an image for each CPU rule: the checkout's own, so that only the first session builds them."""
    os.environ.setdefault("APPTAINER_MKSQUASHFS_ARGS", "-comp zstd -Xcompression-level 1")  # fastest
    names = [path.stem for path in sorted((PROJECT / "containers").glob("*.def"))]
    provide(PROJECT, [name for name in names if read_definition(PROJECT, name).base], root_arguments(**debian))
    return PROJECT / "containers"


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


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    yield
    end_all()
