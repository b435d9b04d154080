"""What unit tests share: a process group of one, and a made-up run with its archive."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from grpo.parallel import Ranks


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    """For all tests of a process: torch knows only one."""
    import torch

    from grpo import parallel

    torch.set_num_threads(1)
    yield parallel.start("cpu")
    parallel.stop()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a finished run; who packs it takes the archive away again."""
    from archive_inputs import make_finished, make_project

    project = make_project(tmp_path_factory.mktemp("script") / "project")
    make_finished(project)
    return project


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(made, tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture(scope="session")
def packed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its archive, as archive.py makes it."""
    from archive_inputs import pack

    return pack(shutil.copytree(made, tmp_path_factory.mktemp("archive") / "project"))


@pytest.fixture
def unpacked(packed: Path, tmp_path: Path) -> Path:
    """The same in a folder."""
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked"
