"""How a run's results were made: Snakemake's records, container images, times and machines."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from archiving.collect import HOST, Run, to_json, without_paths
from archiving.hosts import accounted, jobs, makers
from archiving.pack import Content, sha256_of
from archiving.took import benchmarked, totals
from common.errors import InputError
from common.files import sha256
from common.processor import processor

TIMES = ("starttime", "endtime", "external_jobid", "software_stack_hash")


def records(run: Run, folder: Path) -> list[dict[str, Any]]:
    """What Snakemake recorded of each result: the rule, its command, parameters, inputs and times.

    Parameters
    ----------
    folder
        .snakemake/metadata, where a record's path is that of the result in base 64.
    """
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        coded = "".join(part.removeprefix("@") for part in file.relative_to(folder).parts)
        try:
            name = base64.b64decode(coded, altchars=b"-_" if set(coded) & set("-_") else None).decode()
            record = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            continue
        try:
            below = Path(name).relative_to(f"results/{run.folder.name}").as_posix()
        except ValueError:
            continue
        if of_run(run, below):
            found.append({"file": below, **{key: record.get(key) for key in ("rule", "shellcmd", "input", *TIMES)}})
    return sorted(found, key=lambda row: row["file"])


def of_run(run: Run, name: str) -> bool:
    """Whether a file below results/<run> is of the run itself: no archive, no leverage that is not asked for."""
    first = name.partition("/")[0]
    return first != "archive" and (
        not first.startswith("leverage-") or first.removeprefix("leverage-") in run.leverages
    )


def replay_rules(run: Run, snakemake: Path) -> list[str]:
    """The rules that made what follows from the decisions."""
    rows = records(run, snakemake / "metadata")
    return sorted({row["rule"] for row in rows if row["file"].startswith("leverage-")})


def ended(run: Run, snakemake: Path) -> str | None:
    """When the last of the results was made, ISO 8601, UTC; None if Snakemake's records are not there."""
    times = [row["endtime"] for row in records(run, snakemake / "metadata") if row["endtime"]]
    return datetime.fromtimestamp(max(times), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if times else None


def provenance(run: Run, snakemake: Path) -> dict[str, Any]:
    """What Snakemake recorded, and what it leaves out: the SHA-256 of each input and of the container images."""
    found = records(run, snakemake / "metadata")
    # Inputs are recorded from the project's folder on, in which results/<run> lies.
    root = run.folder.absolute().parents[1]
    inputs = sorted({name for row in found for name in row["input"] or ()})
    return {
        "records": found,
        "inputs_sha256": {name: content_sha256(root / name) for name in inputs if (root / name).exists()},
        "images_sha256": used_images(run),
    }


def content_sha256(path: Path) -> str:
    """SHA-256 of a file, or of a folder by its files."""
    return sha256(path) if path.is_dir() else sha256_of(path)


def used_images(run: Run) -> dict[str, str]:
    """File name and SHA-256 of the container images in which the run's results were made, as its jobs recorded them.

    Snakemake's own records name an image for a job that ran without one, too.
    """
    known = run.json("containers.json") if run.path("containers.json").exists() else {}
    made = makers(jobs(run.path("host")))
    named = {job.get("image") for name, job in made.items() if of_run(run, name) and run.path(name).exists()}
    return {name: sha for name, sha in sorted(known.items()) if name in named}


def host_facts(run: Run, snakemake: Path, paths: Mapping[str, Path]) -> dict[str, Content]:
    """Times and machines: nothing that two equal runs need to have in common."""
    worked = jobs(run.path("host"))
    slurm = accounted(run.path("host"), worked)
    found: dict[str, Path] = {}
    for path in sorted(run.folder.glob("benchmarks/*.tsv")):
        leverage = re.fullmatch(r"[a-z]+-([0-9.]+)", path.stem)
        if path.stem != "archive" and (leverage is None or leverage[1] in run.leverages):
            found[f"{HOST}/benchmarks/{path.name}"] = path
    hours, steps = benchmarked(path.read_text(encoding="utf-8") for path in found.values())
    found |= {f"{HOST}/timing-{path.parent.name}.json": path for path in sorted(run.folder.glob("infer/*/timing.json"))}
    facts = {"hours_of_last_runs": hours, "steps_timed": steps, "totals": totals(worked, slurm), "slurm": slurm}
    facts["jobs"] = worked
    recorded = to_json(provenance(run, snakemake))
    # Where the jobs wrote none down: results that were made before they did.
    made_on = facts["totals"]["processors"] or [processor()]
    return {
        **found,
        f"{HOST}/jobs.json": to_json(facts),
        f"{HOST}/snakemake.json": without_paths(recorded, paths),
        f"{HOST}/machine.json": to_json({"processor": " and ".join(made_on)}),
    }


def images(run: Run, project: Path, packed: bool) -> dict[str, Content]:
    """The container images that the run's results were made in: their SHA-256 and, if asked for, themselves.

    Raises
    ------
    InputError
        If they are asked for, and there are none, or not the ones that were used.
    """
    used = used_images(run)
    found: dict[str, Content] = {"data/containers/images.json": to_json({"sha256": used})} if used else {}
    if packed and not used:
        raise InputError(
            "archive.images: the run was made without containers. Make it with --software-deployment-method apptainer, "
            "or set archive.images: false."
        )
    for name, sha in used.items() if packed else ():
        path = project / "containers" / name
        if not path.is_file() or sha256_of(path) != sha:
            what = "is another one than the run was made in" if path.is_file() else "no such file"
            raise InputError(f"containers/{name}: {what}. Put it back, or set archive.images: false.")
        found[f"data/containers/{name}"] = path
    return found
