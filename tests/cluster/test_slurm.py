"""The workflow on a real Slurm, in containers, with the shipped profile; small Snakefiles for what only Slurm does."""

from __future__ import annotations

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from archive_alone import commit_sources, made_again, program, unpacked
from pptx import Presentation
from slurm import MINIMAL, Cluster, Folder, Minimal, Run, toy, wait_for

from images import image_path, root_arguments

pytestmark = pytest.mark.timeout(1200)
# Of what the workflow makes, what has to be equal to the last bit, in containers and without.
EQUAL = (
    *("market/bars.csv", "samples/train.jsonl", "samples/test.jsonl", "model/base/model.safetensors"),
    *("model/trained/model.safetensors", "infer/trained/decisions.jsonl", "infer/base/decisions.jsonl"),
    *(f"leverage-2/{name}" for name in ("equity.csv", "trades.csv", "metrics.json", "evidence.json", "deck.pptx")),
)
REPORT = {"simulate", "evaluate", "plot", "deck", "tearsheet"}


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


def rules_of(run: Run) -> list[str]:
    """What was submitted: rule_train, group_report_deck_plot_simulate, in the order of submission."""
    return list(run.jobs.values())


def test_slides_and_numbers_through_slurm_in_containers_are_those_of_a_run_without(
    finished: Minimal, local: Minimal
) -> None:
    through, alone = finished.results, local.results
    assert [name for name in EQUAL if (through / name).read_bytes() != (alone / name).read_bytes()] == []
    assert len(said(through / "leverage-2/deck.pptx")) > 50


def test_the_archive_of_a_run_in_containers_verifies_and_replays_without_them(
    finished: Minimal, tmp_path: Path
) -> None:
    folder = finished.folder.copied(tmp_path / "project")
    commit_sources(folder.path)
    assert folder.run("archive", "--configfile", MINIMAL).jobs == {}  # packed here, of the results that are there
    alone = unpacked(folder.path / "results/minimal/archive/minimal.zip", tmp_path / "alone")
    known = json.loads((finished.results / "containers.json").read_text())
    assert json.loads((alone / "data/containers/images.json").read_text()) == {"sha256": known}
    verified = program(alone, "verify.py")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    replayed = program(alone, "replay.py", "--python", sys.executable)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert made_again(alone) in replayed.stdout


def test_a_dry_run_announces_what_is_then_submitted_in_containers_and_run_without(
    finished: Minimal, local: Minimal
) -> None:
    assert finished.planned == finished.run.announced == local.planned == local.run.announced
    submitted = rules_of(finished.run)
    (report,) = [name for name in submitted if name.startswith("group_report")]
    assert set(report.removeprefix("group_report_").split("_")) == REPORT
    single = sorted(name.removeprefix("rule_") for name in submitted if name != report)
    assert single == sorted(rule for rule, n in finished.planned.items() for _ in range(n) if rule not in REPORT)
    for one, options in ((finished, ("--profile", "slurm")), (local, ())):
        assert "Nothing to be done" in one.folder.here(*options, "--dry-run", "--configfile", MINIMAL).text
    assert finished.folder.run("--configfile", MINIMAL).jobs == {}


def test_every_job_can_be_found_by_its_rule_its_log_and_what_it_used(finished: Minimal, cluster: Cluster) -> None:
    logs = finished.folder.path / "logs" / "slurm"
    for number in finished.run.jobs:
        assert cluster.job(number)["State"] == "COMPLETED"
        assert len(list(logs.rglob(f"{number}.log"))) == 1
    named = cluster.command("sacct", "-X", "-n", "-P", "-j", ",".join(finished.run.jobs), "-o", "JobName,Comment")
    assert all(line.startswith("market_") for line in named.splitlines())
    assert "rule_train" in named
    tables = [path.read_text() for path in (logs / "efficiency").glob("*.csv")]
    assert any("rule_train" in table and "Memory" in table for table in tables)


def test_another_leverage_submits_its_report_alone(finished: Minimal, tmp_path: Path) -> None:
    folder = finished.folder.copied(tmp_path / "leverage")
    changed = folder.configuration("other", simulate={"leverage": [3]})
    planned = folder.planned("--configfile", changed)
    assert planned.keys() == REPORT
    (submitted,) = rules_of(folder.run("--configfile", changed))
    assert set(submitted.removeprefix("group_report_").split("_")) == REPORT
    assert (folder.path / "results/minimal/leverage-3/deck.pptx").stat().st_size > 0


GPU_JOBS = """
import os
os.environ.update(DEVICE="cuda", INFER_PROCESSES="1")
localrules: all
rule all:
    input: expand("{n}.done", n=range(3))
rule infer:
    output: "{n}.done"
    threads: 1
    resources: gpu=1, gpu_memory_mb=0, gpu_driver=0
    shell:
        "echo start {wildcards.n} $CUDA_VISIBLE_DEVICES >> events;"
        " until [ $(grep -c start events) -gt 1 ]; do sleep 1; done; sleep 8;"
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
os.environ.update(DEVICE="cuda", TRAIN_PROCESSES="2", TRAIN_MEMORY_MB="120000")
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


MANIFEST = "results/minimal/train/checkpoint.json"
SPARE = {"slurm_partition": "'spare'", "gres": "'gpu:2'"}


def journals(folder: Folder) -> set[Path]:
    """What trainings have written, an iteration a line."""
    return set(folder.path.glob("results/minimal/train/checkpoints/*/metrics.jsonl"))


def train_log(folder: Folder) -> str:
    """What the training's job says; Snakemake removes it when the next attempt begins."""
    try:
        return (folder.path / "results/minimal/logs/train.log").read_text()
    except FileNotFoundError:
        return ""


def longer(folder: Folder, iterations: int) -> Path:
    """A training of its own, without checkpoints that no signal asked for."""
    train = {"iterations": iterations, "save_every": 100_000, "decay_iterations": 0}
    return folder.configuration("longer", train=train)


def test_a_preempted_training_goes_on_from_its_checkpoint(
    finished: Minimal, local: Minimal, cluster: Cluster, tmp_path: Path
) -> None:
    folder = finished.folder.copied(tmp_path / "preempted", {"set-resources": {"train": SPARE}})
    before = journals(folder)

    def learned() -> int:
        new = journals(folder) - before
        return len(new.pop().read_text().splitlines()) if new else 0

    process = folder.start(MANIFEST, "--configfile", longer(folder, 200))
    undisturbed = local.folder.copied(tmp_path / "undisturbed")
    with ThreadPoolExecutor(1) as beside:
        alone = beside.submit(undisturbed.here, MANIFEST, "--configfile", longer(undisturbed, 200))
        wait_for(lambda: learned() >= 5)
        urgent = cluster.command(
            "sbatch", "--parsable", "-p", "gpu", "--gres=gpu:2", "-o", "/dev/null", "--wrap", "sleep 3"
        )
        run = folder.end(process)
    alone.result()
    assert run.code == 0, run.text[-3000:]
    assert cluster.job(urgent.strip())["State"] == "COMPLETED"
    assert len(run.jobs) == 1  # requeued by Slurm, not submitted again
    # Only the signal can have made a checkpoint there.
    assert 5 <= int(train_log(folder).partition("resuming after iteration ")[2].split()[0]) < 200
    assert learned() == 200
    ours, theirs = (json.loads((one.path / MANIFEST).read_text()) for one in (folder, undisturbed))
    assert ours["iteration"] == 200
    assert ours["weights_sha256"] == theirs["weights_sha256"]


def test_a_training_longer_than_its_limit_goes_on_in_the_next_job_and_ctrl_c_cancels_it(
    finished: Minimal, cluster: Cluster, tmp_path: Path
) -> None:
    # Slurm warns at the limit less 60 s, or up to a minute earlier: a minute is left for the start.
    short = {"runtime": 3, "slurm_extra": "'--signal=TERM@60'"}
    folder = finished.folder.copied(tmp_path / "long", {"set-resources": {"train": short}})
    process = folder.start(MANIFEST, "--configfile", longer(folder, 100_000))
    wait_for(lambda: "stopped by a signal; iteration " in train_log(folder), 400)
    stopped = int(train_log(folder).partition("stopped by a signal; iteration ")[2].split()[0])
    wait_for(lambda: f"resuming after iteration {stopped}\n" in train_log(folder))
    os.kill(process.pid, signal.SIGINT)
    run = folder.end(process)
    assert run.code != 0
    wait_for(lambda: not cluster.queue())
    assert [cluster.job(number)["State"].split()[0] for number in run.jobs] == ["FAILED", "CANCELLED"]


NVIDIA_SMI = """#!/bin/sh
echo "0, GPU-0, Fake, 81559, 560.35.03"
echo "1, GPU-1, Fake, 81559, 560.35.03"
"""


@pytest.mark.parametrize("there", [False, True], ids=["without a driver", "with one"])
def test_a_gpu_job_looks_for_its_gpus_from_inside_its_container(
    finished: Minimal,
    cuda_images: dict[str, Path],
    debian: dict[str, str],
    cluster: Cluster,
    tmp_path: Path,
    there: bool,
) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    if there:  # only --nv brings it into the container
        (tools / "nvidia-smi").write_text(NVIDIA_SMI)
        (tools / "nvidia-smi").chmod(0o755)
    folder = finished.folder.copied(tmp_path / "cuda")
    os.link(cuda_images["train-cuda"], folder.path / image_path(folder.path, "train-cuda", root_arguments(**debian)))
    path = {"PATH": f"{tools}:{folder.environment['PATH']}"}
    on_gpus = Folder(folder.path, dict(folder.environment) | path)
    cuda = folder.configuration("cuda", device="cuda")
    run = on_gpus.end(on_gpus.start(MANIFEST, "--retries", "0", "--configfile", cuda))
    assert run.code != 0
    (number,) = run.jobs
    assert cluster.job(number)["Partition"] == "gpu"
    first, *rest = train_log(folder).splitlines()
    if there:
        assert first == "1 x Fake, 85521 MB, driver 560.35.03"
        assert rest  # PyTorch finds no GPU
    else:
        assert first.startswith("gpus: error: n1 ")
        assert "nvidia-smi is not found" in first
        assert rest == []
