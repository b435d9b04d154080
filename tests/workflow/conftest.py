"""What the tests of the workflow share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import gpu_results
import pytest
from project_copy import IMAGE, Workflow, copy_project

if TYPE_CHECKING:
    from infer_run import Run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs the workflow for real comes last: a broken unit test is reported first."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests on a GPU measured: a passing test's own words are not shown."""
    if gpu_results.LINES:
        terminalreporter.section("measured")
        for line in gpu_results.LINES:
            terminalreporter.write_line(line)


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    """A fresh copy of the project."""
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="session")
def minimal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workflow, str]:
    """One real run of config/minimal.yaml for the whole session, and what Snakemake printed.

    Its jobs believe themselves in a container, those of tests that make the same again do not: nobody may see it.
    """
    folder = copy_project(tmp_path_factory.mktemp("minimal") / "project").folder
    workflow = Workflow(folder, {"APPTAINER_NAME": IMAGE})
    return workflow, workflow.run("--configfile", workflow.folder / "config" / "minimal.yaml")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and samples to ask it."""
    from infer_run import write_shop

    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def greedy(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An undisturbed run of infer; nobody may change its folder."""
    from infer_run import Run

    return Run(tmp_path_factory.mktemp("greedy"), shop).done()
