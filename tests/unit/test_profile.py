"""What the shipped profile asks a cluster for, as Snakemake itself works it out of rules, profile and configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.datasheet import GPUS
from configuration import read_schema, resolve
from training_plan import plan_of

PROJECT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
Requests = dict[str, list[dict[str, Any]]]
# Of what Snakemake knows about a rule, what becomes part of a request. `_cores`, the threads, is cut in a dry run.
ASKED = ("slurm_partition", "slurm_extra", "runtime", "mem_mb", "cpus_per_task", "nodes", "gpu")


def configuration(folder: Path, name: str, **sections: dict[str, Any]) -> Path:
    """A shipped configuration under another name, with other values."""
    settings = yaml.safe_load((PROJECT / "config" / f"{name}.yaml").read_text(encoding="utf-8")) | {"run": "requests"}
    for section, values in sections.items():
        settings[section] = settings[section] | values
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def snakemake(folder: Path, *command: str | Path) -> str:
    """What Snakemake prints in an empty folder."""
    done = subprocess.run(
        [*command, "--snakefile", PROJECT / "Snakefile", "--nolock"],
        cwd=folder,
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def requests(folder: Path, config: Path, *options: str) -> Requests:
    """What is asked for each rule at attempts 1, 2 and 4."""
    program = [sys.executable, Path(__file__).with_name("profile_requests.py")]
    printed = snakemake(folder, *program, "--profile", PROJECT / "slurm", "--configfile", config, *options)
    return {
        rule: [{name: one.get(name) for name in ASKED} for one in attempts]
        for rule, attempts in json.loads(printed.splitlines()[-1]).items()
    }


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Requests]:
    """The paper run's configuration, with a file for its market, and what it asks for."""
    folder = tmp_path_factory.mktemp("paper")
    (folder / "bars.csv").write_text("timestamp,close\n")
    config = configuration(folder, "qwen3-4b", market={"csv": {"path": str(folder / "bars.csv")}})
    return config, requests(folder, config)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Requests:
    """What the demo asks for."""
    folder = tmp_path_factory.mktemp("demo")
    return requests(folder, configuration(folder, "config"))


def test_a_dry_run_shows_what_is_then_asked_for(paper: tuple[Path, Requests], tmp_path: Path) -> None:
    config, asked = paper
    assert requests(tmp_path, config, "--dry-run") == asked
    first = asked["train"][0]
    assert (first["gpu"], first["cpus_per_task"], first["mem_mb"]) == (8, 64, 480_000)


def test_each_rule_asks_for_more_time_and_memory_after_a_failure(paper: tuple[Path, Requests], demo: Requests) -> None:
    for asked in (paper[1], demo):
        assert {"market", "train", "export_weights", "infer", "variants", "deck"} <= asked.keys()
        for rule, (first, second, last) in asked.items():
            assert first["mem_mb"] < second["mem_mb"] <= last["mem_mb"] <= 1_000_000, rule
            if rule == "train":  # goes on from its checkpoint
                assert first["runtime"] == second["runtime"] == last["runtime"] == 1440
                assert first["slurm_extra"] == "--signal=TERM@300"
            else:
                assert first["runtime"] < second["runtime"] <= last["runtime"] <= 480, rule


@pytest.mark.parametrize(
    ("train", "gigabytes"),
    [
        ({}, 480),  # the paper run: 60 GB for each of 8 processes are more than is counted
        ({"engine": "megatron", "optimizer": "offloaded", "tensor": 1, "data": 1}, 94),
        ({"engine": "megatron", "optimizer": "offloaded", "tensor": 1, "data": 4}, 377),
        ({"tensor": 1, "data": 2}, 176),
        ({"slime": {"nodes": 2}}, 240),  # of each node
    ],
)
def test_a_training_s_first_attempt_has_the_main_memory_that_its_plan_counts(
    tmp_path: Path, train: dict[str, Any], gigabytes: int
) -> None:
    (tmp_path / "bars.csv").write_text("timestamp,close\n")
    config = configuration(tmp_path, "qwen3-4b", train=train, market={"csv": {"path": str(tmp_path / "bars.csv")}})
    first = requests(tmp_path, config)["train"][0]
    assert first["mem_mb"] // 1000 == gigabytes
    settings = resolve(yaml.safe_load(config.read_text()), read_schema(PROJECT / "config" / "schema.yaml"))
    plan = plan_of(settings, tmp_path, GPUS["h100"])
    assert plan is not None
    counted, nodes = sum(plan.main_memory.values()) / 1e6, settings["train"].get("slime", {}).get("nodes", 1)
    assert counted < first["mem_mb"] * nodes


def test_a_model_of_unknown_size_has_the_least(tmp_path: Path) -> None:
    (tmp_path / "bars.csv").write_text("timestamp,close\n")
    hub = {"name": "Someone/Qwen3", "commit": "0" * 40}
    sections = {"market": {"csv": {"path": str(tmp_path / "bars.csv")}}, "base_model": {"hub": hub}}
    asked = requests(tmp_path, configuration(tmp_path, "qwen3-4b", **sections, train={"tensor": 1, "data": 2}))
    assert asked["train"][0]["mem_mb"] == 120_000


def test_the_time_limit_that_a_profile_gives_all_rules_is_theirs(tmp_path: Path) -> None:
    # The first of these options takes the place of all that the profile says of single rules.
    limit = ("--set-resources", "deck:mem_mb=1", "--default-resources", "runtime=7 * attempt", "mem_mb=1")
    asked = requests(tmp_path, configuration(tmp_path, "minimal"), *limit)
    assert {tuple(one["runtime"] for one in attempts) for attempts in asked.values()} == {(7, 14, 28)}


def test_the_small_jobs_of_many_leverages_share_slurm_jobs(tmp_path: Path) -> None:
    config = configuration(tmp_path, "minimal", simulate={"leverage": list(range(1, 26))})
    profile = yaml.safe_load((PROJECT / "slurm" / "config.yaml").read_text(encoding="utf-8"))
    del profile["configfile"], profile["software-deployment-method"]  # Apptainer need not be here
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "config.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")
    planned = snakemake(
        tmp_path, BIN / "snakemake", "--profile", tmp_path / "profile", "--configfile", config, "--dry-run"
    )
    assert planned.count("Making the slides for leverage") == 25
    assert planned.count("Group job report") == 4
