"""What goes into the archive of a run: each file's name there, and where it lies or what it holds."""

from __future__ import annotations

import base64
import copy
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from archiving.hosts import accounted, benchmarked, jobs, totals
from archiving.pack import Content, sha256_of
from archiving.replaying.machine import processor
from archiving.scan import WEIGHTS
from common.errors import InputError
from common.files import dump, read_json, sha256
from trading.bars import format_times, read_bars
from trading.decisions import first_bar, read_decisions
from trading.evidence.trials import split_digest

RESULTS, HOST = "data/results", "data/host"

# The market's closes stand in these too, or can be read back from them.
PRICED = ("market/bars.csv", "samples/*.jsonl", "leverage-*/equity.csv", "leverage-*/trades.csv")
PAGES = "leverage-*/tearsheet.html"
ONCE = ("market/*", "samples/*", "train/checkpoint.json", "train/metrics.jsonl", "model/parity.json")
ONCE += ("infer/*/decisions.jsonl", "infer/*/summary.json", "infer/*.json")
TIMES = ("starttime", "endtime", "external_jobid", "container_img_url", "software_stack_hash")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    folder
        results/<run>.
    configuration
        Resolved.
    leverages
        As they stand in paths.
    """

    folder: Path
    configuration: dict[str, Any]
    leverages: list[str]

    @property
    def name(self) -> str:
        return self.configuration["run"]

    def path(self, name: str) -> Path:
        return self.folder / name

    def json(self, name: str) -> dict[str, Any]:
        return read_json(self.folder / name)


def to_json(value: Any) -> bytes:
    """A JSON file's content."""
    return (dump(value, indent=2) + "\n").encode()


def results(run: Run, weights: bool) -> dict[str, Path]:
    """The run's results by their name below it; host facts, logs and checkpoints are none."""
    patterns = [*ONCE, *(f"model/{name}/*" for name in model_names(run))]
    patterns += [f"leverage-{leverage}/*" for leverage in run.leverages]
    found = {}
    for pattern in patterns:
        for path in sorted(run.folder.glob(pattern)):
            hidden = path.name.startswith(".")
            if path.is_file() and not hidden and (weights or path.suffix not in WEIGHTS):
                found[path.relative_to(run.folder).as_posix()] = path
    for leverage in run.leverages:
        for name in ("equity.csv", "metrics.json", "evidence.json", "deck.pptx"):
            if f"leverage-{leverage}/{name}" not in found:
                raise InputError(f"{run.folder}/leverage-{leverage}/{name}: no such file. Run snakemake archive.")
    return found


def model_names(run: Run) -> list[str]:
    """The run's models: folders in the form of Hugging Face."""
    return sorted(path.parent.name for path in run.folder.glob("model/*/config.json"))


def withheld(run: Run, names: Iterable[str], how_to_get: str) -> dict[str, Any]:
    """What withheld.json says of results that the archive leaves out because of the market's licence."""
    rows = []
    for name in sorted(names):
        path = run.path(name)
        how = how_to_get if name == "market/bars.csv" else "python replay.py makes it of the bars."
        rows.append(
            {"file": f"{RESULTS}/{name}", "sha256": sha256(path), "bytes": path.stat().st_size, "how_to_get": how}
        )
    return {"reason": "The archive may not hold the market's prices.", "files": rows}


def priced(run: Run, names: Iterable[str]) -> set[str]:
    """The results in which the market's prices stand."""
    found = {path.relative_to(run.folder).as_posix() for p in (*PRICED, PAGES) for path in run.folder.glob(p)}
    return found & set(names)


def images(run: Run, project: Path, snakemake: Path, packed: bool) -> dict[str, Content]:
    """The container images that the run's results were made in: their SHA-256 and, if asked for, themselves.

    Raises
    ------
    InputError
        If they are asked for, and there are none, or not the ones that were used.
    """
    used = used_images(run, snakemake)
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


def how_to_get(configuration: Mapping[str, Any]) -> str:
    """Where the market's bars come from, in a sentence."""
    market = configuration["market"]
    if market["source"] == "download":
        return (
            f"download {market['download']['url']} (SHA-256 {market['download']['sha256']}) and run scripts/market.py."
        )
    if market["source"] == "csv":
        return f"ask whom {market['name']} belongs to for a file with the SHA-256 that stands here."
    return "the bars are synthetic: scripts/market.py makes them of data/configuration.json."


def models(run: Run) -> dict[str, Any]:
    """SHA-256 of all weights, those too that the archive does not hold."""
    manifest = run.json("train/checkpoint.json")
    found: dict[str, Any] = {}
    for name in model_names(run):
        folder = run.path(f"model/{name}")
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        found[name] = {
            "folder_sha256": sha256(folder),
            "files": {
                path.relative_to(folder).as_posix(): {"sha256": sha256(path), "bytes": path.stat().st_size}
                for path in files
            },
        }
    checkpoint = run.path("train") / manifest["checkpoint"]
    shards = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    found["checkpoint"] = {
        "name": manifest["name"],
        "weights_sha256": manifest["weights_sha256"],
        "files": {path.relative_to(checkpoint).as_posix(): {"sha256": sha256(path)} for path in shards},
    }
    return found


def portable(configuration: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Path]]:
    """The configuration with the paths of the archive's copies, and what they are copies of.

    A path outside of the project would name a folder of this machine, and lead nowhere elsewhere.
    """
    settings = copy.deepcopy(dict(configuration))
    found: dict[str, Path] = {}

    def inside(path: str) -> str:
        name = f"sources/{re.sub(r'[^A-Za-z0-9._-]', '_', Path(path).name)}"
        if found.setdefault(name, Path(path)) != Path(path):
            raise InputError(f"{path}: another file of the same name is in the configuration. Rename one of them.")
        return name

    if settings["market"]["source"] == "csv":
        settings["market"]["csv"]["path"] = inside(settings["market"]["csv"]["path"])
    else:
        settings["market"]["csv"]["path"] = None
    folder = settings["base_model"]["folder"]
    settings["base_model"]["folder"] = (
        inside(folder) if folder and settings["base_model"]["source"] == "folder" else None
    )
    variants = settings["evaluate"]["variants"]
    for number, variant in enumerate(variants):
        name, _, path = variant.partition("=")
        place = f"sources/variant-{name}.jsonl"
        found[place] = Path(path)
        variants[number] = f"{name}={place}"
    return settings, found


def without_paths(text: bytes, paths: Mapping[str, Path]) -> bytes:
    """A text in which files outside of the project have their names in the archive."""
    for name, path in sorted(paths.items(), key=lambda item: -len(str(item[1]))):
        for form in {str(path), os.path.abspath(path)}:
            text = text.replace(form.encode(), name.encode())
    return text


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
        first = below.partition("/")[0]
        if first == "archive" or (
            first.startswith("leverage-") and first.removeprefix("leverage-") not in run.leverages
        ):
            continue
        found.append({"file": below, **{key: record.get(key) for key in ("rule", "shellcmd", "input", *TIMES)}})
    return sorted(found, key=lambda row: row["file"])


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
        "images_sha256": used_images(run, snakemake),
    }


def content_sha256(path: Path) -> str:
    """SHA-256 of a file, or of a folder by its files."""
    return sha256(path) if path.is_dir() else sha256_of(path)


def used_images(run: Run, snakemake: Path) -> dict[str, str]:
    """File name and SHA-256 of the container images in which the run's results were made."""
    known = run.json("containers.json") if run.path("containers.json").exists() else {}
    named = {Path(row["container_img_url"] or "").name for row in records(run, snakemake / "metadata")}
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
    took = benchmarked(found.values())
    found |= {f"{HOST}/timing-{path.parent.name}.json": path for path in sorted(run.folder.glob("infer/*/timing.json"))}
    facts = {"hours_of_last_runs": took, "totals": totals(worked, slurm), "slurm": slurm, "jobs": worked}
    recorded = to_json(provenance(run, snakemake))
    # Where the jobs wrote none down: results that were made before they did.
    made_on = facts["totals"]["processors"] or [processor()]
    return {
        **found,
        f"{HOST}/jobs.json": to_json(facts),
        f"{HOST}/snakemake.json": without_paths(recorded, paths),
        f"{HOST}/machine.json": to_json({"processor": " and ".join(made_on)}),
    }


def trial_ledger(run: Run, ledger: Path) -> dict[str, Path]:
    """The entries of the ledger of trials that the run's evidence counted.

    Raises
    ------
    InputError
        If it holds another number of variants by now: the evidence must count them all.
    """
    decisions = read_decisions(run.path("infer/trained/decisions.jsonl"))
    bars = read_bars(run.path("market/bars.csv"), gaps="allow")
    start = first_bar(decisions, format_times(bars.time), run.path("market/bars.csv"))
    split = split_digest(decisions.timestamps[0], bars.close[start : start + len(decisions) + 1])[:16]
    entries = sorted((ledger / split).glob("[!.]*.json"))
    for leverage in run.leverages:
        name = f"leverage-{leverage}/evidence.json"
        counted = run.json(name)["tests"]["sharpe"]["settings"]["trials"]["ledger"]
        if counted != len(entries):
            raise InputError(
                f"{run.folder}/{name}: counts {counted} variants on these hours, but {ledger} holds {len(entries)} by "
                "now. Run snakemake archive again with --forcerun evaluate."
            )
    return {path.relative_to(ledger).as_posix(): path for path in entries}
