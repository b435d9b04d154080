"""What a result says of how it was made, and what it must not say: replay makes it on another machine."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

import pytest
from report_inputs import Run, make_run, run_program

import simulate
from common.errors import InputError
from common.provenance import check_input, record


def simulated(run: Run) -> bytes:
    run_program(simulate.main, run.simulate)
    return (run.folder / "leverage-2/metrics.json").read_bytes()


def test_a_result_is_the_same_in_a_container_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path)
    alone = simulated(run)
    monkeypatch.setenv("APPTAINER_NAME", "simulate-0123456789ab.sif")
    monkeypatch.setenv("APPTAINER_CONTAINER", "/images/simulate-0123456789ab.sif")
    assert simulated(run) == alone


def test_a_result_does_not_depend_on_the_patch_version_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path)
    before = simulated(run)
    major, minor = sys.version_info[:2]
    other = f"{major}.{minor}.99"
    with monkeypatch.context() as patch:
        patch.setattr(platform, "python_version", lambda: other)
        patch.setattr(platform, "python_version_tuple", lambda: tuple(other.split(".")))
        patch.setattr(sys, "version", f"{other} (main)")
        patch.setattr(sys, "version_info", (major, minor, 99, "final", 0))
        assert simulated(run) == before
        # A control: another minor version is another Python.
        patch.setattr(sys, "version_info", (major, minor + 1, 0, "final", 0))
        assert record(argparse.Namespace(), {})["versions"] == {"python": f"{major}.{minor + 1}"}


@pytest.mark.parametrize("result", [{}, {"inputs": {}}, {"inputs": []}, {"inputs": {"bars": "0"}}])
def test_a_result_that_names_no_or_another_input_is_refused(tmp_path: Path, result: dict) -> None:
    (tmp_path / "bars.csv").touch()
    with pytest.raises(InputError, match=r"^one\.json: was computed from another bars file than"):
        check_input(result, "one.json", "bars", tmp_path / "bars.csv")
