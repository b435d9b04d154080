"""What a run took: hours of jobs and GPUs, energy as far as something measured it; and that in sentences."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def totals(found: Sequence[Mapping[str, Any]], slurm: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a run took: hours of jobs, GPU hours by kind of GPU, energy in kWh as far as something measured it.

    Parameters
    ----------
    found
        As `hosts.jobs` gives them. A job's GPUs are those of its first node; Slurm's other nodes are taken to be like
        it. Their energy is measured on the first node.
    slurm
        As `hosts.accounted` gives them.
    """
    gpu_hours: dict[str, float] = defaultdict(float)
    on_gpus = [job for job in found if job["gpus"]]
    for job in on_gpus:
        for gpu in job["gpus"]:
            gpu_hours[gpu["name"]] += _nodes(job) * job["seconds"] / 3600
    numbers = sorted({job["slurm"]["job"] for job in found if job.get("slurm")})
    measured = [job["gpu_joules"] for job in on_gpus if job.get("gpu_joules")]
    by_slurm = [row["joules"] for row in slurm if row["joules"]]
    several = any(_nodes(job) > 1 for job in on_gpus)
    return {
        "jobs": len(found),
        "jobs_cut_off": sum(job["ended"] is None for job in found),
        "hours": round(sum(job["seconds"] for job in found) / 3600, 4),
        "gpu_hours": {name: round(hours, 4) for name, hours in sorted(gpu_hours.items())},
        "gpu_hours_on_several_nodes": several,
        "gpu_kwh": round(sum(measured) / 3.6e6, 4) if measured else None,
        "gpu_kwh_is_all": len(measured) == len(on_gpus) and not several,
        "slurm_jobs": numbers,
        "slurm_gpu_hours": round(sum(row["seconds"] * row["gpus"] for row in slurm) / 3600, 4) if slurm else None,
        "slurm_kwh": round(sum(by_slurm) / 3.6e6, 4) if by_slurm else None,
        "slurm_kwh_is_all": len(by_slurm) == len(slurm) and {row["job"] for row in slurm} == set(numbers),
        "processors": sorted({job["node"]["processor"] for job in found}),
        "drivers": sorted({gpu["driver"] for job in on_gpus for gpu in job["gpus"]}),
        "cuda": sorted({job["cuda"] for job in found if job.get("cuda")}),
    }


def _nodes(job: Mapping[str, Any]) -> int:
    return job["slurm"]["nodes"] if job.get("slurm") else 1


def benchmarked(texts: Iterable[str]) -> tuple[float, int]:
    """Hours that Snakemake measured of the last run of each step, and how many of these it did.

    Parameters
    ----------
    texts
        Its tables, one a step.
    """
    found = [re.match(r".*\n(\d+(?:\.\d+)?)\t", text) for text in texts]
    seconds = [float(match[1]) for match in found if match]
    return round(sum(seconds) / 3600, 4), len(seconds)


def spelt(hours: float) -> str:
    """A time in hours, or in minutes where it is shorter."""
    return f"{hours:.2f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def took(facts: Mapping[str, Any]) -> str:
    """What a run took, in a sentence or two.

    Parameters
    ----------
    facts
        totals, hours_of_last_runs and steps_timed: data/host/jobs.json.
    """
    total, steps = facts["totals"], facts["steps_timed"]
    said = f"By Snakemake's clock the last runs of {steps} steps took {spelt(facts['hours_of_last_runs'])} together"
    said = said if steps else "Snakemake's times are not there"
    if not total["jobs"]:
        return f"{said}; the run's jobs recorded no machines."
    said += f". By their own, all {total['jobs']} jobs on record, failed and repeated ones too, {spelt(total['hours'])}"
    if total["jobs_cut_off"]:
        said += f" ({total['jobs_cut_off']} cut off, whose time is known in part)"
    said += f", on {', '.join(total['processors'])}."
    if total["gpu_hours"]:
        gpus = ", ".join(f"{hours:.2f} GPU hours on {name}" for name, hours in total["gpu_hours"].items())
        alike = "; all nodes of a job counted like its first" if total["gpu_hours_on_several_nodes"] else ""
        cuda = ", ".join(total["cuda"]) or "unknown"
        said += f" {gpus} (driver {', '.join(total['drivers'])}; CUDA {cuda}{alike})."
    known = [
        f"{'' if total[f'{key}_is_all'] else 'at least '}{total[key]:.3f} kWh for {what}"
        for key, what in (("gpu_kwh", "the GPUs by nvidia-smi"), ("slurm_kwh", "the jobs by Slurm"))
        if total[key] is not None
    ]
    said += f" Energy: {', '.join(known)}." if known else " Nothing measured the energy."
    if total["slurm_jobs"]:
        said += f" Slurm jobs: {', '.join(total['slurm_jobs'])}."
    return said
