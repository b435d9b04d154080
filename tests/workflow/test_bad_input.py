"""What a user gets wrong: Snakemake stops at once, with a line that says what to mend."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from typing import Any

import pytest
from project_copy import DEMO_ON_A_GPU, Workflow


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({"train": {"kl_betta": 0.1}}, ["train.kl_betta: unknown key, given 0.1. Did you mean kl_beta?"]),
        ({"train": {"kl_beta": -1}}, ["train.kl_beta: given -1; allowed: a number from 0 to 10."]),
        (
            {"train": {"iterations": "many"}},
            ['train.iterations: given "many"; allowed: a whole number, 1 or'],
        ),
        (
            {"simulat": {"leverage": [3]}},
            ['simulat: unknown key, given {"leverage": [3]}. Did you mean simulate?'],
        ),
        (
            {"device": "tpu", "market": {"source": "stooq"}},
            [
                'device: given "tpu"; allowed: cpu or',
                'market.source: given "stooq"; allowed: synthetic, csv or',
            ],
        ),
        (
            {"market": {"source": "csv", "csv": {"path": "no/bars.csv"}}},
            ['market.csv.path: given "no/bars.csv"; allowed: the path of an existing CSV file'],
        ),
    ],
)
def test_a_bad_configuration_stops_with_one_line_for_each_problem(
    workflow: Workflow, settings: dict[str, Any], lines: list[str]
) -> None:
    done = workflow.snakemake("--configfile", workflow.configuration("bad", {"run": "bad", **settings}))
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("configuration error: ")]
    assert len(said) == len(lines)
    for line, start in zip(said, lines, strict=True):
        assert line.startswith(f"configuration error: config/bad.yaml: {start}")
    assert "Traceback" not in done.stderr
    assert not (workflow.folder / "results").exists()


def test_a_bad_value_names_each_place_it_may_be_from(workflow: Workflow) -> None:
    line = "run: given 3; allowed: text of letters, digits, dots, dashes and underscores."
    done = workflow.snakemake("--dry-run", "--config", "run=3")
    assert f"configuration error: config/config.yaml and --config: {line}" in done.stderr.splitlines()
    elsewhere = workflow.folder.parent / "mine.yaml"
    elsewhere.write_text("run: 3\n")
    done = workflow.snakemake("--dry-run", "--configfile", elsewhere)
    assert f"configuration error: {elsewhere}: {line}" in done.stderr.splitlines()


def test_the_demo_runs_on_a_gpu_by_the_way_out_that_its_refusal_names(workflow: Workflow) -> None:
    done = workflow.snakemake("--dry-run", "--config", "device=cuda")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("configuration error: ")]
    named = re.search(r"\(--config (\w+)='(.+)' sets it\)\.$", line)
    assert named, line
    said = workflow.run("--dry-run", "--config", "device=cuda", f"{named[1]}={named[2]}")
    assert "\ntrain " in said
    workflow.run("--dry-run", "--configfile", workflow.configuration("gpu", DEMO_ON_A_GPU))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "config/bad.yaml: No such file or directory. Check the path and its permissions."),
        ("run: [x\n", "config/bad.yaml, line 2: not YAML: expected ',' or ']', but got '<stream end>'. Mend it."),
        ("run: 3\n", "configuration error: config/bad.yaml: run: given 3; allowed: text of letters, digits,"),
    ],
)
def test_the_plan_which_comes_first_on_a_cluster_names_file_and_line(
    workflow: Workflow, content: str | None, line: str
) -> None:
    if content is not None:
        (workflow.folder / "config" / "bad.yaml").write_text(content)
    command = [sys.executable, "rules/plan.py", "--configfile", "config/bad.yaml"]
    done = subprocess.run(command, cwd=workflow.folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_a_configuration_file_that_is_not_there_is_named(workflow: Workflow) -> None:
    done = workflow.snakemake("--configfile", "config/nothing.yaml")
    assert done.returncode != 0
    assert "config/nothing.yaml" in done.stderr  # Snakemake's own words, said before this project is read


def test_a_configuration_file_that_is_no_yaml_is_named(workflow: Workflow) -> None:
    (workflow.folder / "config" / "bad.yaml").write_text("run: [x\n")
    done = workflow.snakemake("--configfile", "config/bad.yaml")
    assert done.returncode != 0
    assert "not valid JSON or YAML" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cache_that_cannot_be_made_stops_the_run_with_one_line(workflow: Workflow) -> None:
    """Before any container starts, so that a stand-in which only says its version is enough."""
    apptainer = workflow.folder / "bin" / "apptainer"
    apptainer.parent.mkdir()
    apptainer.write_text("#!/bin/sh\necho apptainer version 1.3.6\n")
    apptainer.chmod(0o755)
    (workflow.folder / "file").touch()
    hub = {"name": "A/B", "commit": "0" * 40, "cache": str(workflow.folder / "file" / "hub")}
    settings = {"run": "bad", "base_model": {"source": "hub", "name": "A", "hub": hub}}
    path = {"PATH": f"{apptainer.parent}:/usr/local/bin:/usr/bin:/bin"}
    command = ["--configfile", workflow.configuration("bad", settings), "--software-deployment-method", "apptainer"]
    contained = dataclasses.replace(workflow, environment=path)
    contained.run(*command, "--dry-run")  # makes nothing
    done = contained.snakemake(*command)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    (line,) = [line for line in said.splitlines() if "base_model.hub.cache" in line]
    assert line.startswith(f"base_model.hub.cache: {hub['cache']}: Not a directory. Name a folder that you may write")
    assert "Traceback" not in said


def test_a_bad_market_file_stops_the_run_with_the_line_of_the_file(workflow: Workflow) -> None:
    bars = workflow.folder / "bars.csv"
    bars.write_text("timestamp,close\n2025-01-01T00:00:00Z,100\n2025-01-01T01:00:00Z,-5\n")
    settings = {"run": "bad", "market": {"source": "csv", "csv": {"path": str(bars)}}}
    configuration = workflow.configuration("bad", settings)
    done = workflow.snakemake("results/bad/market/bars.csv", "--configfile", configuration)
    assert done.returncode != 0
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("market: error: ")]
    assert "line 3" in line
    assert "-5" in line
    assert line in (workflow.results("bad") / "logs" / "market.log").read_text()
    assert "Traceback" not in done.stdout + done.stderr
    assert [*(workflow.results("bad") / "market").rglob("*")] == []  # nothing half-made


def test_results_without_snakemakes_records_of_them_are_pointed_out(workflow: Workflow) -> None:
    market = workflow.results("demo") / "market"
    market.mkdir(parents=True)
    (market / "bars.csv").write_text("timestamp,close\n")
    assert "a changed setting or program goes unnoticed" in workflow.run("--dry-run")
    records = workflow.folder / ".snakemake" / "metadata"
    (records / "one").write_text("{}")
    assert "goes unnoticed" not in workflow.run("--dry-run")
