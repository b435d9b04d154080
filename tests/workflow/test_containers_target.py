"""The target `containers`, with a stand-in for Apptainer: what is built, with what, and what a dry run says of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from project_copy import MINIMAL, PROJECT, Workflow, copy_project

from images import image_path, root_arguments
from sums import read_sums

MIRROR = {"bootstrap": "debootstrap", "base": "http://mirror.example/debian"}
RULES = {"market", "samples", "base_model", "import_weights", "train", "export_weights", "infer"}
RULES |= {"simulate", "evaluate", "plot", "deck", "tearsheet"}
BASES = {"base-python", "base-model"}
# It writes what it was told where the image is to be, and fails in what is called a test where it is told to.
APPTAINER = f"""#!{sys.executable}
import pathlib, sys
if sys.argv[1] == "build":
    pathlib.Path(sys.argv[-2]).write_text(" ".join(sys.argv))
elif sys.argv[1] == "test" and pathlib.Path("broken").exists():
    sys.exit("it is broken")
elif sys.argv[1] == "--version":
    print("apptainer version 1.4.5")
"""


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    """A copy of the project without images, and the stand-in on the PATH."""
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(APPTAINER)
    program.chmod(0o755)
    folder = copy_project(tmp_path / "project").folder
    copied = Workflow(folder, {"PATH": f"{program.parent}:/usr/bin:/bin", "TMPDIR": str(tmp_path)})
    copied.configuration("images", MINIMAL | {"containers": MIRROR})
    return copied


def images(workflow: Workflow) -> set[str]:
    return {path.name for path in (workflow.folder / "containers").glob("*.sif")}


def expected(workflow: Workflow, names: set[str]) -> set[str]:
    return {Path(image_path(workflow.folder, name, root_arguments(**MIRROR))).name for name in names}


def test_the_target_builds_an_image_for_each_rule_on_its_base_and_lists_them(workflow: Workflow) -> None:
    target = ("--configfile", "config/images.yaml", "--", "containers")
    said = workflow.run("--dry-run", *target)
    assert "Making the container images that are missing" in said
    assert images(workflow) == set()
    said = workflow.run(*target)
    assert images(workflow) == expected(workflow, RULES | BASES)
    assert read_sums(workflow.folder / "containers").keys() == images(workflow)
    assert said.count("Building base-python-") == said.count("Building train-") == 1
    (train,) = expected(workflow, {"train"})
    told = (workflow.folder / "containers" / train).read_text()
    (base,) = expected(workflow, {"base-model"})
    assert f"base=containers/{base}" in told
    assert told.endswith("containers/train.def")
    # It has no output: asked for again, it looks again, and finds nothing to do.
    said = workflow.run(*target)
    assert ".sif" not in said
    assert "Containers: all are there." in said


def test_an_image_whose_test_fails_fails_the_target_and_is_not_there(workflow: Workflow) -> None:
    (workflow.folder / "broken").touch()
    done = workflow.snakemake("--configfile", "config/images.yaml", "--", "containers")
    assert done.returncode != 0
    assert "containers: error: containers/base-python.def: not built (it is broken)." in done.stdout + done.stderr
    assert images(workflow) == set()


def test_with_the_slurm_profile_a_dry_run_announces_it_alone(workflow: Workflow) -> None:
    shutil.copytree(PROJECT / "slurm", workflow.folder / "slurm")
    command = "snakemake --profile slurm containers -n --configfile config/images.yaml"
    done = subprocess.run(
        f"{Path(sys.executable).parent}/{command}",
        shell=True,
        cwd=workflow.folder,
        env=os.environ | dict(workflow.environment),
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    table = said.partition("Job stats:")[2].partition("total")[0].split()
    assert table[4:] == ["containers", "1"]
    assert "Making the container images that are missing" in said
    assert images(workflow) == set()
