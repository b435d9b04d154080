"""What a container sees of the machine: the project, the files that the configuration names, scratch, its GPUs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from trading.answered import records_of

# Snakemake hands its arguments on to jobs on a cluster, where these are added anew: they begin with this one.
_FIRST = "--contain"
# Of the environment only this goes in; packages come from PYTHONPATH and the like.
_PASSED = ("CUDA_VISIBLE_DEVICES", "HOST_FACTS", "SLURM", "NCCL_", "http_proxy", "https_proxy", "no_proxy")
HOME = "/home/user"  # not below /tmp, over which --workdir comes
# In a job on several nodes: how its container was started, for the containers on the other nodes (enter.py).
START = "CONTAINER_START"
# What Apptainer itself reads of the environment; a registry's password is for pulling.
_READ, _UNREAD = ("APPTAINER", "SINGULARITY"), ("APPTAINER_DOCKER_", "SINGULARITY_DOCKER_")
_FOUND_BY = ("PATH", "LD_LIBRARY_PATH", "HOME")
_INFINIBAND = Path("/dev/infiniband")


def arguments(
    before: str, project: Path, scratch: Path, named: Iterable[Path], gpu: bool, later: Iterable[Path] = ()
) -> str:
    """Arguments of ``apptainer exec`` that keep the machine out of a container.

    Parameters
    ----------
    before
        Arguments that the user gave Snakemake; they stay.
    project
        The project's folder: mounted to read and write, and the working directory.
    scratch
        A folder for HOME, caches and temporary files; made if it is missing.
    named
        Files and folders that the configuration names: those outside the project are mounted to read only.
    gpu
        Whether the job's GPUs are seen.
    later
        More of them, that are there before the first job begins, if not now.
    """
    # Snakemake's own --home, the project, comes first; the last one holds.
    parts = [_FIRST, "--cleanenv", *_scratch_arguments(scratch), "--bind", str(project)]
    there = {path.absolute() for path in named if path.exists()} | {path.absolute() for path in later}
    for path in sorted(there):
        if not path.is_relative_to(project):
            parts += ["--bind", f"{path}:{path}:ro"]
    if gpu:
        # Processes share memory in /dev/shm, of which a contained one has 64 MB.
        parts += ["--nv", "--bind", "/dev/shm", *(["--bind", str(_INFINIBAND)] if _INFINIBAND.exists() else [])]
    given = before.partition(_FIRST)[0].strip()
    return f"{given} {shlex.join([*parts, '--pwd', str(project)])}".strip()


def _scratch_arguments(scratch: Path) -> list[str]:
    """HOME and temporary files lie there."""
    home = scratch / "home"
    home.mkdir(parents=True, exist_ok=True)
    return ["--workdir", str(scratch), "--home", f"{home}:{HOME}"]


def scratch_folder(project: Path, chosen: str | None) -> Path:
    """The project's folder for HOME and temporary files: below what the configuration names, or TMPDIR.

    Raises
    ------
    PermissionError
        If somebody else made it.
    """
    place = hashlib.sha256(str(project).encode()).hexdigest()[:8]
    return _own_folder(Path(chosen or tempfile.gettempdir()) / f"containers-{os.getuid()}-{place}")


def _own_folder(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(13, "belongs to somebody else", str(folder))
    return folder


def sees_gpus(device: str, environment: Mapping[str, str]) -> bool:
    """Whether a container gets GPUs: never on a CPU; on a cluster in the jobs that asked for some."""
    if device != "cuda":
        return False
    return "SLURM_JOB_ID" not in environment or bool(environment.get("CUDA_VISIBLE_DEVICES"))


def passed(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for Apptainer, which hands them on into the container in spite of --cleanenv."""
    return {
        f"APPTAINERENV_{name}": value
        for name, value in environment.items()
        if name.lower() in _PASSED or name.startswith(_PASSED)
    }


def of_another_job(environment: Mapping[str, str]) -> list[str]:
    """Variables that :func:`passed` and :func:`handed_on` made in the process that sent this job: they speak of it."""
    speaking = tuple(f"APPTAINERENV_{name}" for name in ("SLURM", "CUDA_VISIBLE_DEVICES", START))
    return [name for name in environment if name.startswith(speaking)]


def handed_on(given: str, scratch: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """A variable that says how a container is started, for the other nodes of its job; see :func:`started_elsewhere`.

    Parameters
    ----------
    given
        Arguments of ``apptainer exec``, as :func:`arguments` makes them.
    scratch
        The folder that they name for HOME and temporary files.
    environment
        In which Apptainer runs.

    Raises
    ------
    ValueError
        If the shell cannot read the arguments; says why.
    """
    # Snakemake has the shell read them, with all that it replaces.
    read = subprocess.run(["bash", "-c", f"printf '%s\\0' {given}"], capture_output=True, text=True, env=environment)
    if read.returncode:
        raise ValueError(read.stderr.strip().splitlines()[-1])
    past = of_another_job(environment)
    start = {
        "python": sys.executable,
        "arguments": read.stdout.split("\0")[:-1],
        "scratch": str(scratch),
        "environment": {
            name: value
            for name, value in environment.items()
            if name in _FOUND_BY or (name.startswith(_READ) and not name.startswith(_UNREAD) and name not in past)
        },
    }
    # Apptainer has a shell read the values of variables, which would replace what stands behind a $.
    return {f"APPTAINERENV_{START}": base64.b64encode(json.dumps(start).encode()).decode()}


def started_elsewhere(command: Sequence[str], environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The call of Apptainer on another node of a job, with the arguments of the job's own container.

    Only HOME and temporary files are the node's own, so that nodes with a common scratch do not meet there, and what
    Slurm says of the node and its GPUs.

    Parameters
    ----------
    command
        Image, program and its arguments.
    environment
        That of a task which Slurm started on that node, with the variable of :func:`handed_on`.

    Returns
    -------
    tuple[list[str], dict[str, str]]
        The call, and its environment.

    Raises
    ------
    PermissionError
        If somebody else made the folder of scratch.
    """
    start = json.loads(base64.b64decode(environment[START]))
    folder = _own_folder(_own_folder(Path(start["scratch"])) / environment["SLURMD_NODENAME"])
    call = ["apptainer", "exec", *start["arguments"], *_scratch_arguments(folder), *command]
    node = {name: value for name, value in environment.items() if name != START}
    return call, node | start["environment"] | passed(node)


def named_paths(settings: Mapping[str, Any]) -> list[Path]:
    """Files and folders that a complete configuration names, and what belongs to them, but for the hub's cache."""
    paths = [settings["market"]["csv"]["path"], settings["base_model"]["folder"]]
    variants = [Path(variant.partition("=")[2]) for variant in settings["evaluate"]["variants"]]
    beside = [path for decisions in variants for path in (decisions, *records_of(decisions))]
    return [*(Path(path) for path in paths if path), *beside]


def used_cache(base_model: Mapping[str, Any]) -> list[Path]:
    """The hub's cache, if the base model is from the hub."""
    return [hub_cache(base_model)] if base_model["source"] == "hub" else []


def hub_cache(base_model: Mapping[str, Any]) -> Path:
    """The cache of models from the hub: what the section names, or the one that the hub's own tools use."""
    named = base_model["hub"]["cache"]
    return Path(named).expanduser().absolute() if named else default_cache().absolute()


def default_cache() -> Path:
    """The hub's own: HF_HUB_CACHE, else below HF_HOME, else below the home folder."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()
