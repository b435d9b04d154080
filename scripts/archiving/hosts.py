"""Times and machines of a run: what its jobs wrote down, what Slurm's accounting knows, and what it comes to."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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


def totals(found: Sequence[Mapping[str, Any]], slurm: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a run took: hours of jobs, GPU hours by kind of GPU, energy in kWh as far as something measured it.

    Parameters
    ----------
    found
        As `jobs` gives them. A job's GPUs are those of its first node; Slurm's other nodes are taken to be like it.
    slurm
        As `accounted` gives them.
    """
    gpu_hours: dict[str, float] = defaultdict(float)
    for job in found:
        nodes = job["slurm"]["nodes"] if job.get("slurm") else 1
        for gpu in job["gpus"]:
            gpu_hours[gpu["name"]] += nodes * job["seconds"] / 3600
    measured = [job["gpu_joules"] for job in found if job.get("gpu_joules")]
    by_slurm = [row["joules"] for row in slurm if row["joules"]]
    return {
        "jobs": len(found),
        "hours": round(sum(job["seconds"] for job in found) / 3600, 4),
        "gpu_hours": {name: round(hours, 4) for name, hours in sorted(gpu_hours.items())},
        "gpu_kwh": round(sum(measured) / 3.6e6, 4) if measured else None,
        "slurm_jobs": sorted({job["slurm"]["job"] for job in found if job.get("slurm")}),
        "slurm_gpu_hours": round(sum(row["seconds"] * row["gpus"] for row in slurm) / 3600, 4) if slurm else None,
        "slurm_kwh": round(sum(by_slurm) / 3.6e6, 4) if by_slurm else None,
        "processors": sorted({job["node"]["processor"] for job in found}),
        "drivers": sorted({gpu["driver"] for job in found for gpu in job["gpus"]}),
        "cuda": sorted({job["cuda"] for job in found if job.get("cuda")}),
    }


def benchmarked(files: Iterable[Path]) -> float:
    """Hours that Snakemake measured of the last run of each rule."""
    found = [re.match(r".*\n(\d+(?:\.\d+)?)\t", path.read_text(encoding="utf-8")) for path in files]
    return round(sum(float(match[1]) for match in found if match) / 3600, 4)


def spelt(hours: float) -> str:
    """A time in hours, or in minutes where it is shorter."""
    return f"{hours:.2f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def summary(facts: Mapping[str, Any]) -> str:
    """What a run took, in a sentence or two.

    Parameters
    ----------
    facts
        totals, and hours_of_last_runs.
    """
    total = facts["totals"]
    said = f"The last run of each rule took {spelt(facts['hours_of_last_runs'])} together"
    if not total["jobs"]:
        return f"{said}; the run's jobs recorded no machines."
    said += f"; all {total['jobs']} jobs of the run, failed and repeated ones too, {spelt(total['hours'])}"
    said += f", on {', '.join(total['processors'])}."
    if total["gpu_hours"]:
        gpus = ", ".join(f"{hours:.2f} GPU hours on {name}" for name, hours in total["gpu_hours"].items())
        said += f" {gpus} (driver {', '.join(total['drivers'])}; CUDA {', '.join(total['cuda']) or 'unknown'})."
    energy = {"the GPUs by nvidia-smi": total["gpu_kwh"], "the jobs by Slurm": total["slurm_kwh"]}
    known = [f"{kwh:.3f} kWh for {what}" for what, kwh in energy.items() if kwh is not None]
    said += f" Energy: {', '.join(known)}." if known else " Nothing measured the energy."
    if total["slurm_jobs"]:
        said += f" Slurm jobs: {', '.join(total['slurm_jobs'])}."
    return said
