"""Times and machines of a run: what its jobs wrote down, and what Slurm's accounting knows."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import read_json, write_json

ACCOUNTED = "slurm.json"  # what sacct said; kept, since sites forget their jobs
FIELDS = ("JobIDRaw", "State", "ElapsedRaw", "AllocTRES", "ConsumedEnergyRaw")
PATIENCE_S = 60


def jobs(folder: Path) -> list[dict[str, Any]]:
    """What each job of a run wrote down, failed and repeated ones too, by program and time.

    Parameters
    ----------
    folder
        results/<run>/host.
    """
    return [read_json(path) for path in sorted(folder.glob("[!.]*.json")) if path.name != ACCOUNTED]


def makers(found: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The job that made each result: the last one that ended well.

    Parameters
    ----------
    found
        As `jobs` gives them.

    Returns
    -------
    dict
        The first file that the job makes, below results/<run>, to the job.
    """
    ended_well = (job for job in found if job["ended"] == "ok" and job["makes"])
    return {job["makes"]: job for job in sorted(ended_well, key=lambda job: job["started"])}


def accounted(folder: Path, found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What Slurm's accounting says of the run's jobs: asked once, and kept beside what the jobs wrote down.

    Returns
    -------
    list of dict
        Job, state, seconds, GPUs and, where the site measures it, energy in joules; several rows for a job that
        Slurm started again. None for jobs outside of Slurm, or where there is no sacct.
    """
    file = folder / ACCOUNTED
    known = read_json(file)["jobs"] if file.exists() else []
    wanted = {job["slurm"]["job"] for job in found if job.get("slurm")}
    missing = sorted(wanted - {row["job"] for row in known})
    program = shutil.which("sacct")
    if missing and program:
        command = [program, "-X", "-D", "-P", "-n", "-j", ",".join(missing), "-o", ",".join(FIELDS)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        except subprocess.TimeoutExpired:
            raise InputError(
                f"sacct: no answer in {PATIENCE_S} s. Try again when Slurm's accounting answers."
            ) from None
        rows = parsed(done.stdout) if done.returncode == 0 else []
        if rows:
            known = sorted([*known, *rows], key=lambda row: (row["job"], row["seconds"], row["state"]))
            write_json(file, {"jobs": known})
    return [row for row in known if row["job"] in wanted]


def parsed(text: str) -> list[dict[str, Any]]:
    """Lines of ``sacct -X -D -P -n -o JobIDRaw,State,ElapsedRaw,AllocTRES,ConsumedEnergyRaw``; ended jobs only.

    >>> parsed("7|COMPLETED|90|billing=8,cpu=8,gres/gpu:h100=4,gres/gpu=4,node=1|72000")[0]["gpus"]
    4
    """
    found = []
    for line in text.splitlines():
        job, state, seconds, resources, energy = (line.split("|") + [""] * 5)[:5]
        if not seconds.isdigit() or state.startswith(("RUNNING", "PENDING")):
            continue
        gpus = re.search(r"(?:^|,)gres/gpu=(\d+)", resources) or re.search(r"(?:^|,)gres/gpu:[^=,]+=(\d+)", resources)
        found.append(
            {
                "job": job,
                "state": state.partition(" ")[0],  # "CANCELLED by 1000" names a user
                "seconds": int(seconds),
                "gpus": int(gpus[1]) if gpus else 0,
                "joules": int(energy) if energy.isdigit() and int(energy) else None,
            }
        )
    return found
