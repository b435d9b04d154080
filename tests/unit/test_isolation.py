from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import enter
from isolation import (
    HOME,
    START,
    arguments,
    default_cache,
    handed_on,
    named_paths,
    of_another_job,
    passed,
    scratch_folder,
    sees_gpus,
    started_elsewhere,
    used_cache,
)
from slime_engine import cluster


def parts(
    before: str, tmp_path: Path, named: list[Path] | None = None, gpu: bool = False, later: Sequence[Path] = ()
) -> list[str]:
    (tmp_path / "project").mkdir(exist_ok=True)
    return shlex.split(arguments(before, tmp_path / "project", tmp_path / "scratch", named or [], gpu, later))


def mounts(given: list[str]) -> set[str]:
    return {given[place + 1] for place, part in enumerate(given) if part == "--bind"}


def test_only_the_project_and_scratch_are_mounted(tmp_path: Path) -> None:
    given = parts("", tmp_path)
    assert {"--contain", "--cleanenv"} <= set(given)
    assert mounts(given) == {str(tmp_path / "project")}
    assert given[given.index("--workdir") + 1] == str(tmp_path / "scratch")
    assert given[given.index("--home") + 1] == f"{tmp_path / 'scratch' / 'home'}:{HOME}"
    assert (tmp_path / "scratch" / "home").is_dir()


def test_what_the_configuration_names_outside_the_project_is_mounted_to_read(tmp_path: Path) -> None:
    model = tmp_path / "my model"
    inside = tmp_path / "project" / "bars.csv"
    model.mkdir()
    given = parts("", tmp_path, [model, inside, tmp_path / "missing", model])
    assert mounts(given) == {str(tmp_path / "project"), f"{model}:{model}:ro"}
    assert given.count("--bind") == 2


def test_arguments_that_were_handed_on_to_a_job_are_not_added_twice(tmp_path: Path) -> None:
    on_the_submitting_machine = shlex.join(parts("--bind /data", tmp_path, gpu=True))
    assert parts(on_the_submitting_machine, tmp_path, gpu=False) == parts("--bind /data", tmp_path)
    assert parts("--bind /data", tmp_path)[:2] == ["--bind", "/data"]
    assert "--nv" not in parts(on_the_submitting_machine, tmp_path, gpu=False)


def test_processes_on_gpus_share_the_machines_memory(tmp_path: Path) -> None:
    with_gpus, without = parts("", tmp_path, gpu=True), parts("", tmp_path)
    assert mounts(with_gpus) - mounts(without) - {"/dev/infiniband"} == {"/dev/shm"}


def test_gpus_are_seen_by_jobs_that_have_some() -> None:
    assert not sees_gpus("cpu", {"CUDA_VISIBLE_DEVICES": "0"})
    assert sees_gpus("cuda", {})  # a workstation
    assert sees_gpus("cuda", {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "0,1"})
    assert not sees_gpus("cuda", {"SLURM_JOB_ID": "7"})


def test_of_the_environment_no_packages_go_in() -> None:
    environment = {"PYTHONPATH": "x", "LD_PRELOAD": "x", "HOME": "x", "NCCL_DEBUG": "INFO", "https_proxy": "p"}
    environment |= {"CUDA_VISIBLE_DEVICES": "0,1", "HTTP_PROXY": "q", "HOST_FACTS": "results/a/host"}
    environment |= {"SLURMD_NODENAME": "n1"}
    assert passed(environment) == {
        "APPTAINERENV_NCCL_DEBUG": "INFO",
        "APPTAINERENV_https_proxy": "p",
        "APPTAINERENV_HTTP_PROXY": "q",
        "APPTAINERENV_CUDA_VISIBLE_DEVICES": "0,1",
        "APPTAINERENV_HOST_FACTS": "results/a/host",
        "APPTAINERENV_SLURMD_NODENAME": "n1",
    }


def test_a_job_does_not_keep_the_gpus_of_the_one_that_sent_it() -> None:
    sender = passed({"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_ID": "1", "SLURMD_NODENAME": "n1", "NCCL_DEBUG": "INFO"})
    sender |= {f"APPTAINERENV_{START}": "{}"}
    assert set(sender) - set(of_another_job(sender)) == {"APPTAINERENV_NCCL_DEBUG"}


def test_each_project_has_a_scratch_folder_of_its_own_that_stays_the_same(tmp_path: Path) -> None:
    one, two = (scratch_folder(tmp_path / name, str(tmp_path / "scratch")) for name in ("a", "b"))
    assert one != two
    assert one == scratch_folder(tmp_path / "a", str(tmp_path / "scratch"))
    assert one.stat().st_mode & 0o077 == 0


def test_a_market_a_model_and_variants_are_named() -> None:
    settings = {
        "market": {"csv": {"path": "/data/bars.csv"}},
        "base_model": {"source": "folder", "folder": "/models/qwen"},
        "evaluate": {"variants": ["seed1=/runs/1.jsonl"]},
    }
    assert named_paths(settings) == [Path("/data/bars.csv"), Path("/models/qwen"), Path("/runs/1.jsonl")]


def test_the_cache_of_a_model_from_the_hub_is_mounted_whole_and_not_made_before_a_job_needs_it(tmp_path: Path) -> None:
    cache = tmp_path / "new" / "hub"
    model = {"source": "hub", "folder": None, "hub": {"cache": str(cache)}}
    settings = {"market": {"csv": {"path": None}}, "base_model": model, "evaluate": {"variants": []}}
    # Weights are links within the cache, from a commit to the content: a mounted commit alone would lead nowhere.
    given = parts("", tmp_path, named_paths(settings), later=used_cache(model))
    assert f"{cache}:{cache}:ro" in mounts(given)
    assert not cache.parent.exists()
    assert used_cache(model | {"source": "tiny"}) == []


def test_without_a_name_the_cache_is_that_of_the_hubs_own_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert default_cache() == Path("/home/me/.cache/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "/hf")
    assert default_cache() == Path("/hf/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "/big/hub")
    assert default_cache() == Path("/big/hub")


# --- on the other nodes of a job ---

JOB = {"PATH": os.environ["PATH"], "HOME": "/home/me", "SECRET": "x", "SLURM_JOB_ID": "7"}
JOB |= {"SLURMD_NODENAME": "n1", "CUDA_VISIBLE_DEVICES": "0,1", "NCCL_DEBUG": "INFO"}
JOB |= {"APPTAINER_BINDPATH": "/data", "APPTAINERENV_MINE": 'it\'s "mine", $HOME', "APPTAINER_DOCKER_PASSWORD": "x"}


def handed(before: str, tmp_path: Path) -> dict[str, str]:
    """What a task on the other node has, when the job's container was started with these arguments of the user."""
    given = arguments(before, tmp_path / "project", tmp_path / "scratch", [tmp_path], gpu=True)
    (variable,) = handed_on(given, tmp_path / "scratch", JOB | passed(JOB)).items()
    assert variable[0] == "APPTAINERENV_CONTAINER_START"
    node = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n2", "CUDA_VISIBLE_DEVICES": "4,5", "USER": "me"}
    return node | {START: variable[1]}


def test_on_another_node_a_container_has_the_arguments_of_the_jobs_own_and_a_home_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a folder").mkdir()
    before = f"--bind '{tmp_path}/a folder' --env A=$NCCL_DEBUG"  # Snakemake leaves them to the shell
    own = parts("", tmp_path, [tmp_path], gpu=True)
    call, _ = started_elsewhere(["i.sif", "ray", "it's"], handed(before, tmp_path))
    scratch = tmp_path / "scratch" / "n2"
    there = ["--workdir", str(scratch), "--home", f"{scratch / 'home'}:{HOME}"]
    user = ["--bind", f"{tmp_path}/a folder", "--env", "A=INFO"]
    assert call == ["apptainer", "exec", *user, *own, *there, "i.sif", "ray", "it's"]
    assert {"--contain", "--cleanenv", "--nv"} <= set(call)
    assert f"{tmp_path}:{tmp_path}:ro" in mounts(call)
    assert (scratch / "home").is_dir()
    assert scratch.stat().st_mode & 0o077 == 0


def test_on_another_node_a_container_has_that_nodes_gpus_and_the_users_variables(tmp_path: Path) -> None:
    _, environment = started_elsewhere(["i.sif", "ray"], handed("", tmp_path))
    inside = {name.removeprefix("APPTAINERENV_"): value for name, value in environment.items() if "ENV_" in name}
    assert inside == {
        "CUDA_VISIBLE_DEVICES": "4,5",
        "SLURMD_NODENAME": "n2",
        "SLURM_JOB_ID": "7",
        "NCCL_DEBUG": "INFO",
        "MINE": 'it\'s "mine", $HOME',
    }
    outside = {name: environment[name] for name in ("PATH", "HOME", "APPTAINER_BINDPATH")}
    assert outside == {name: JOB[name] for name in outside}
    assert not {"SECRET", START, "APPTAINER_DOCKER_PASSWORD"} & set(environment)


def test_arguments_that_no_shell_can_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unexpected EOF while looking for matching"):
        handed_on("--bind 'a", tmp_path, JOB)


def test_a_training_reads_the_variable_that_the_workflow_sets() -> None:
    assert cluster.START == START


def test_a_scratch_folder_of_somebody_else_is_refused_there_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = handed("", tmp_path)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(PermissionError, match="belongs to somebody else"):
        started_elsewhere(["i.sif", "ray"], given)


def test_a_node_without_apptainer_says_so_in_one_line(tmp_path: Path) -> None:
    given = handed("", tmp_path)
    start = json.loads(base64.b64decode(given[START]))
    start["environment"]["PATH"] = str(tmp_path)
    given[START] = base64.b64encode(json.dumps(start).encode()).decode()
    done = subprocess.run([sys.executable, enter.__file__, "i.sif"], env=given, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == ("containers: error: n2: apptainer: not on the PATH on which the job's first node has it.\n")


def test_a_container_is_entered_from_a_job_of_slurm_only() -> None:
    done = subprocess.run([sys.executable, enter.__file__], capture_output=True, text=True, env={})
    assert done.returncode == 1
    assert done.stderr == (
        "containers: error: SLURMD_NODENAME is not set. The workflow starts this program, through srun.\n"
    )
