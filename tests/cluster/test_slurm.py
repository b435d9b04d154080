"""The workflow on a real Slurm, with the shipped profile; without containers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pptx import Presentation
from slurm import BIN, PROJECT, Cluster, Folder, Run, project, toy, wait_for

pytestmark = pytest.mark.timeout(1200)
MINIMAL = Path("config/minimal.yaml")
EVERY_RULE = {
    *("market", "samples", "base_model", "import_weights", "train", "export_weights", "export_checkpoint", "infer"),
    *("variants", "all"),
}


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.Popen[bytes]]:
    """The minimal configuration on this machine alone; it runs beside what waits for Slurm."""
    folder = project(tmp_path_factory.mktemp("local")).path
    command = [BIN / "snakemake", "--cores", "1", "--quiet", "all", "--configfile", MINIMAL]
    with open(folder / "output", "wb") as output:
        return folder, subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)


@pytest.fixture(scope="session")
def finished(
    cluster: Cluster, local: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Folder, Run, dict[str, int]]:
    """The minimal configuration through Slurm to its slides; what was printed, and what a dry run had said."""
    folder = project(tmp_path_factory.mktemp("through-slurm"))
    planned = folder.planned("--configfile", MINIMAL)
    run = folder.run("--configfile", MINIMAL)
    assert local[1].wait(300) == 0, (local[0] / "output").read_text()[-3000:]
    return folder, run, planned


def results(folder: Path) -> Path:
    return folder / "results" / "minimal"


def said(deck: Path) -> list[str]:
    """All text on slides, tables included."""
    texts = []
    for slide in Presentation(str(deck)).slides:
        for shape in slide.shapes:
            if shape.has_text_frame:
                texts.append(shape.text_frame.text)
            if shape.has_table:
                texts += [cell.text for row in shape.table.rows for cell in row.cells]
    return texts


def copied(folder: Folder, path: Path, settings: dict[str, Any]) -> Folder:
    """A finished run, to spoil."""
    shutil.copytree(folder.path, path, symlinks=True)
    copy = Folder(path)
    copy.configure(settings)
    return copy


def configuration(folder: Path, name: str, **sections: Any) -> Path:
    """The minimal configuration with other values."""
    settings = yaml.safe_load((PROJECT / MINIMAL).read_text())
    for section, values in sections.items():
        settings[section] = settings.get(section, {}) | values if isinstance(values, dict) else values
    path = folder / "config" / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def rules_of(run: Run) -> list[str]:
    """What was submitted: rule_train, group_report_deck_plot_simulate, in the order of submission."""
    return list(run.jobs.values())


def test_the_slides_say_what_those_of_a_local_run_say(finished: tuple, local: tuple) -> None:
    through_slurm, alone = results(finished[0].path), results(local[0])
    for name in ("infer/trained/decisions.jsonl", "leverage-2/equity.csv"):
        assert (through_slurm / name).read_bytes() == (alone / name).read_bytes(), name
    assert json.loads((through_slurm / "leverage-2/metrics.json").read_text())["strategies"]
    assert said(through_slurm / "leverage-2/deck.pptx") == said(alone / "leverage-2/deck.pptx")


def test_a_dry_run_announces_what_is_then_submitted(finished: tuple) -> None:
    _, run, planned = finished
    submitted = rules_of(run)
    (report,) = [name for name in submitted if name.startswith("group_report")]
    single = [name.removeprefix("rule_") for name in submitted if name != report]
    assert sorted(single) == sorted(
        r for r, n in planned.items() for _ in range(n) if f"_{r}" not in report and r != "all"
    )
    assert all(f"_{rule}" in report for rule in planned if rule not in EVERY_RULE)


def test_every_job_can_be_found_by_its_rule_and_its_log(finished: tuple, cluster: Cluster) -> None:
    folder, run, _ = finished
    for number in run.jobs:
        assert cluster.job(number)["State"] == "COMPLETED"
        assert len(list((folder.path / "logs" / "slurm").rglob(f"{number}.log"))) == 1
    named = cluster.command("sacct", "-X", "-n", "-P", "-j", ",".join(run.jobs), "-o", "JobName,Comment")
    assert all(line.startswith("market_") for line in named.splitlines())
    assert "rule_train" in named


def test_another_leverage_submits_its_report_alone(finished: tuple, tmp_path: Path) -> None:
    folder = copied(finished[0], tmp_path / "leverage", {})
    changed = configuration(folder.path, "other", simulate={"max_invalid_share": 0.5, "leverage": [3]})
    planned = folder.planned("--configfile", changed)
    report = set(planned) - {"all"}
    assert report == {"simulate", "evaluate", "plot", "deck", "tearsheet"}
    (submitted,) = rules_of(folder.run("--configfile", changed))
    assert set(submitted.removeprefix("group_report_").split("_")) == report
    assert (results(folder.path) / "leverage-3" / "deck.pptx").stat().st_size > 0


GPU_JOBS = """
import os
os.environ["DEVICE"] = "cuda"
localrules: all
rule all:
    input: expand("{n}.done", n=range(3))
rule infer:
    output: "{n}.done"
    threads: 1
    resources: gpu=1, gpu_memory_mb=0, gpu_driver=0
    shell:
        "echo start {wildcards.n} $CUDA_VISIBLE_DEVICES >> events; sleep 12;"
        " echo end {wildcards.n} >> events; touch {output}"
"""


@pytest.mark.parametrize("way", ["gpu", "gres"])
def test_two_gpu_jobs_run_at_once_and_the_third_waits(cluster: Cluster, tmp_path: Path, way: str) -> None:
    asked = {"gres": {"gpu": 0, "gres": "'gpu:fake:1'"}, "gpu": {"gpu_model": "'fake'"}}[way]
    folder = toy(tmp_path, GPU_JOBS, {"set-resources": {"infer": asked}})
    run = folder.run()
    events = [line.split() for line in (tmp_path / "events").read_text().splitlines()]
    running, most = 0, 0
    for event in events:
        running += 1 if event[0] == "start" else -1
        most = max(most, running)
    assert most == 2
    assert {event[2] for event in events if event[0] == "start"} == {"0", "1"}
    assert {cluster.job(number)["Partition"] for number in run.jobs} == {"gpu"}


LAUNCHER = """
import os
os.environ["DEVICE"] = "cuda"
rule train:
    output: "done"
    threads: 2
    resources: gpu=2, gpu_memory_mb=0, gpu_driver=0
    shell: "echo $SLURM_JOB_ID $CUDA_VISIBLE_DEVICES >> starts; sleep 2; touch {output}"
"""


@pytest.mark.parametrize(
    ("asked", "nodes", "devices"),
    [({}, 1, "0,1"), ({"nodes": 2, "gpu": 0, "gres": "'gpu:1'"}, 2, "0")],
    ids=["one node", "two nodes"],
)
def test_a_training_on_two_gpus_starts_its_launcher_once(
    cluster: Cluster, tmp_path: Path, asked: dict[str, Any], nodes: int, devices: str
) -> None:
    folder = toy(tmp_path, LAUNCHER, {"set-resources": {"train": {"slurm_partition": "'wide'"} | asked}})
    run = folder.run()
    (number,) = run.jobs
    booked = cluster.job(number)["ReqTRES"].split(",")
    assert {"gres/gpu=2", f"node={nodes}"} <= set(booked)
    assert (tmp_path / "starts").read_text().splitlines() == [f"{number} {devices}"]


FAILURES = """
localrules: all
rule all:
    input: "killed", "slow", "big"
rule market:
    output: "big"
    shell: "python3 -c 'import time; x = bytearray(1_300_000_000); time.sleep(5)'; touch {output}"
rule samples:
    output: "killed"
    shell: "[ -e once ] || {{ touch once; scancel $SLURM_JOB_ID; sleep 60; }}; touch {output}"
rule slow:
    output: "slow"
    shell: "[ {resources.runtime} -gt 1 ] || sleep 600; touch {output}"
"""


def test_killed_late_and_hungry_jobs_are_tried_again_with_more(cluster: Cluster, tmp_path: Path) -> None:
    run = toy(tmp_path, FAILURES, {"default-resources": {"runtime": "1 * attempt"}}).run("--jobs", "3")
    ended: dict[str, list[dict[str, str]]] = {}
    for number, rule in sorted(run.jobs.items(), key=lambda item: int(item[0])):
        ended.setdefault(rule, []).append(cluster.job(number))
    assert {rule: len(jobs) for rule, jobs in ended.items()} == {"rule_market": 2, "rule_samples": 2, "rule_slow": 2}
    assert [jobs[1]["State"] for jobs in ended.values()] == ["COMPLETED"] * 3
    assert ended["rule_slow"][0]["State"] == "TIMEOUT"
    assert [job["TimelimitRaw"] for job in ended["rule_slow"]] == ["1", "2"]
    # Elsewhere OUT_OF_MEMORY: cgroups tell Slurm why a process was killed.
    assert ended["rule_market"][0]["State"] in ("FAILED", "OUT_OF_MEMORY", "CANCELLED")
    assert [job["ReqMem"] for job in ended["rule_market"]] == ["1000M", "2000M"]
    assert ended["rule_samples"][0]["State"].startswith("CANCELLED")


LOST_NODE = """
rule simulate:
    output: "done"
    shell: "echo $SLURMD_NODENAME >> nodes; [ $(wc -l < nodes) -gt 1 ] || sleep 600; touch {output}"
"""


def test_the_job_of_a_node_that_goes_down_runs_on_another(cluster: Cluster, tmp_path: Path) -> None:
    folder = toy(tmp_path, LOST_NODE)
    process = folder.start()
    nodes = tmp_path / "nodes"
    try:
        lost = wait_for(lambda: nodes.exists() and nodes.read_text().strip())
        cluster.power_off(lost)
        run = folder.end(process)
    finally:
        cluster.power_on(lost)
    assert run.code == 0, run.text[-3000:]
    first, second = nodes.read_text().split()
    assert {first, second} == {"n1", "n2"}
    # One owner: Slurm started the same job again, Snakemake submitted nothing.
    assert len(run.jobs) == 1


def learned(folder: Folder, before: set[Path]) -> list[str]:
    """Lines of the journal of a training that was not there before."""
    new = set(results(folder.path).glob("train/checkpoints/*/metrics.jsonl")) - before
    return new.pop().read_text().splitlines() if new else []


def train_log(folder: Folder) -> str:
    """What the training's job says; Snakemake removes it when the next attempt begins."""
    try:
        return (results(folder.path) / "logs" / "train.log").read_text()
    except FileNotFoundError:
        return ""


def longer(folder: Path, **train: Any) -> Path:
    """A training of its own, with few checkpoints that no signal asked for."""
    train = {"save_every": 100_000, "decay_iterations": 0} | train
    return configuration(folder, "longer", train=train)


MANIFEST = "results/minimal/train/checkpoint.json"
SPARE = {"slurm_partition": "'spare'", "gres": "'gpu:2'"}


def test_a_preempted_training_goes_on_from_its_checkpoint(
    finished: tuple, local: tuple, cluster: Cluster, tmp_path: Path
) -> None:
    folder = copied(finished[0], tmp_path / "preempted", {"set-resources": {"train": SPARE}})
    before = set(results(folder.path).glob("train/checkpoints/*/metrics.jsonl"))
    process = folder.start(MANIFEST, "--configfile", longer(folder.path, iterations=200))
    alone = subprocess.Popen(
        [BIN / "snakemake", "--cores", "1", MANIFEST, "--configfile", longer(local[0], iterations=200)],
        cwd=local[0],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: len(learned(folder, before)) >= 5)
    urgent = cluster.command(
        "sbatch", "--parsable", "-p", "gpu", "--gres=gpu:2", "-o", "/dev/null", "--wrap", "sleep 3"
    )
    run = folder.end(process)
    assert run.code == 0, run.text[-3000:]
    assert cluster.job(urgent.strip())["State"] == "COMPLETED"
    assert len(run.jobs) == 1  # requeued by Slurm, not submitted again
    # Only the signal can have made a checkpoint there.
    assert 5 <= int(train_log(folder).partition("resuming after iteration ")[2].split()[0]) < 200
    assert len(learned(folder, before)) == 200
    assert alone.wait(200) == 0
    ours, theirs = (json.loads((path / MANIFEST).read_text()) for path in (folder.path, local[0]))
    assert ours["iteration"] == 200
    assert ours["weights_sha256"] == theirs["weights_sha256"]


def test_a_training_longer_than_its_limit_goes_on_in_the_next_job_and_ctrl_c_cancels_it(
    finished: tuple, cluster: Cluster, tmp_path: Path
) -> None:
    # Slurm warns at the limit less 60 s, or up to a minute earlier.
    short = {"runtime": 2, "slurm_extra": "'--signal=TERM@60'"}
    folder = copied(finished[0], tmp_path / "long", {"set-resources": {"train": short}})
    process = folder.start(MANIFEST, "--configfile", longer(folder.path, iterations=100_000))
    wait_for(lambda: "stopped by a signal; iteration " in train_log(folder), 200)
    stopped = int(train_log(folder).partition("stopped by a signal; iteration ")[2].split()[0])
    wait_for(lambda: f"resuming after iteration {stopped}\n" in train_log(folder), 120)
    os.kill(process.pid, signal.SIGINT)
    run = folder.end(process)
    assert run.code != 0
    wait_for(lambda: not cluster.queue(), 60)
    assert [cluster.job(number)["State"].split()[0] for number in run.jobs] == ["FAILED", "CANCELLED"]


def test_without_its_gpus_a_job_ends_with_one_line(finished: tuple, cluster: Cluster, tmp_path: Path) -> None:
    folder = copied(finished[0], tmp_path / "cuda", {})
    cuda = configuration(folder.path, "cuda", device="cuda")
    run = folder.end(folder.start("results/minimal/train/checkpoint.json", "--retries", "0", "--configfile", cuda))
    assert run.code != 0
    (number,) = run.jobs
    assert cluster.job(number)["Partition"] == "gpu"
    (line,) = train_log(folder).splitlines()
    assert line.startswith("gpus: error: n1 ")
    assert "nvidia-smi is not found" in line
