"""`make test-gpu`: the whole workflow with `device: cuda`, from market bars to slides, in the project's own images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from project_copy import DEMO_ON_A_GPU, MINIMAL, PROJECT, changed, copy_project

from images import image_path, root_arguments

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU, as without -m gpu"),
    pytest.mark.skipif(not shutil.which("apptainer"), reason="Apptainer is not installed; SGLang is in its images"),
    pytest.mark.timeout(3600),
]


@pytest.mark.parametrize("given", [MINIMAL, DEMO_ON_A_GPU], ids=["minimal", "demo"])
def test_from_bars_to_slides(tmp_path: Path, given: dict[str, Any]) -> None:
    base = root_arguments("docker", None)
    names = [path.stem for path in (PROJECT / "containers").glob("*.def") if path.stem != "train-slime"]
    missing = [
        n for n in names if n not in ("train", "infer") and not (PROJECT / image_path(PROJECT, n, base)).exists()
    ]
    if missing:
        build = "snakemake containers --cores 1 --configfile config/minimal.yaml --config device=cuda"
        pytest.skip(f"no image {missing[0]}; .venv/bin/{build} makes all")
    workflow = copy_project(tmp_path / "project")
    settings = changed(given, "device", "cuda")
    settings = changed(settings, "containers", {"folder": str(PROJECT / "containers")})
    settings = changed(settings, "infer.attention", "triton")  # runs on every kind of GPU
    path = workflow.configuration("cuda", settings)
    done = workflow.snakemake("--configfile", path, "--software-deployment-method", "apptainer", timeout=3500)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    results = workflow.results(settings["run"])
    (deck,) = results.glob("leverage-*/deck.pptx")
    assert deck.stat().st_size > 10_000
    manifest = json.loads((results / "train/checkpoint.json").read_text())
    assert manifest["device_name"] == torch.cuda.get_device_name()
    assert manifest["iteration"] == settings["train"]["iterations"]
    assert {json.loads(file.read_text())["device"] for file in results.glob("infer/*/summary.json")} == {"cuda"}
