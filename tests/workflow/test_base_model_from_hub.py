"""The base model from the hub, in the workflow."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from project_copy import Workflow
from tests.tiny_model import write_tiny_model
from tests.unit.hub_server import COMMIT, NAME, serving


@pytest.mark.slow
def test_the_base_model_comes_from_the_hub_and_later_runs_need_no_network(workflow: Workflow, tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny")
    cache, base = tmp_path / "cache", "results/hub/model/base"
    section = {"source": "hub", "name": "Tiny", "hub": {"name": NAME, "commit": COMMIT, "cache": str(cache)}}
    configuration = workflow.configuration("hub", {"run": "hub", "base_model": section})
    with serving({path.name: path.read_bytes() for path in model.iterdir()}) as hub:
        online = dataclasses.replace(workflow, environment={"HF_ENDPOINT": hub.endpoint})
        online.run("--configfile", configuration, "--", base)
        assert hub.asked
    made = workflow.folder / base
    assert json.loads((made / "model.json").read_text())["parameters"]["hub_commit"] == COMMIT
    assert (made / "model.safetensors").resolve().is_relative_to(cache)

    offline = dataclasses.replace(workflow, environment={"HF_ENDPOINT": "http://127.0.0.1:1"})
    said = offline.run("--configfile", configuration, "--", base)
    assert "Nothing to be done" in said
    settings = {"run": "another", "base_model": section}
    offline.run("--configfile", workflow.configuration("another", settings), "--", "results/another/model/base")

    # The commands name the hub's own cache, so the archive must know it to leave it out.
    own = section | {"hub": {"name": NAME, "commit": COMMIT}}
    configuration = workflow.configuration("own", {"run": "own", "base_model": own})
    unnamed = dataclasses.replace(workflow, environment={"HF_HUB_CACHE": str(tmp_path / "own")})
    said = unnamed.run("--configfile", configuration, "--dry-run", "--printshellcmds", "archive")
    assert f"--hub-cache={tmp_path / 'own'}" in said
    assert f'"cache": "{tmp_path / "own"}"' in said

    section["hub"] = section["hub"] | {"cache": str(tmp_path / "empty")}
    configuration = workflow.configuration("third", {"run": "third", "base_model": section})
    done = offline.snakemake("--configfile", configuration, "--", "results/third/model/base")
    assert done.returncode != 0
    assert f"hf download {NAME} --revision {COMMIT}" in done.stdout + done.stderr
    assert not (workflow.folder / "results" / "third" / "model" / "hub.json").exists()
