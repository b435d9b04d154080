"""A base model from a folder, in the workflow: what is changed in the folder is taken again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from project_copy import Workflow
from tests.tiny_model import write_tiny_model

BASE = "results/mine/model/base"


def mine(workflow: Workflow, folder: Path) -> Path:
    section = {"source": "folder", "name": "Mine", "folder": str(folder)}
    return workflow.configuration("mine", {"run": "mine", "base_model": section})


@pytest.mark.slow
def test_a_file_of_the_folder_that_changes_in_its_place_is_taken_again(workflow: Workflow, tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "tiny")
    (folder / "notes.txt").write_text("of no use to a model\n")
    configuration = mine(workflow, folder)
    command = ["--configfile", configuration, "--", BASE]
    workflow.run(*command)
    made = (workflow.folder / BASE / "model.json").read_text()
    assert "Nothing to be done" in workflow.run(*command)

    for name, other in (("model.safetensors", write_tiny_model(tmp_path / "other", seed=1)), ("config.json", folder)):
        before = folder.stat().st_mtime_ns
        content = (other / name).read_bytes()
        with open(folder / name, "r+b") as file:  # as an editor or a copy over it does
            file.write(content if other != folder else content.replace(b"\n", b" \n"))
        # The control: of this Snakemake would see nothing in the folder's own time.
        assert folder.stat().st_mtime_ns == before
        assert "Nothing to be done" not in workflow.run(*command)
        again = (workflow.folder / BASE / "model.json").read_text()
        assert again != made
        made = again

    # What is not taken may change.
    os.utime(folder / "notes.txt")
    assert "Nothing to be done" in workflow.run(*command)


def test_a_folder_that_is_not_there_is_one_line(workflow: Workflow, tmp_path: Path) -> None:
    done = workflow.snakemake("--dry-run", "--configfile", mine(workflow, tmp_path / "none"))
    assert done.returncode != 0
    said = [line for line in (done.stdout + done.stderr).splitlines() if "base_model.folder" in line]
    assert len(said) == 1
    assert said[0].endswith("allowed: the path of an existing Hugging Face folder.")
    assert "Traceback" not in done.stdout + done.stderr
