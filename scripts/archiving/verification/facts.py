"""What run.json and data/host say of a run, and the list of its models' files: against the rest of the archive."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from archiving.cards import title
from archiving.took import benchmarked, totals
from archiving.verification.checksums import digest
from archiving.verification.container import Files, content
from archiving.verification.ledger import RESULTS, read_sources

RUN, BUNDLE, JOBS, MODELS = "data/run.json", "data/source.bundle", "data/host/jobs.json", "data/models.json"
CONFIGURATION, MODEL = "data/configuration.json", f"{RESULTS}model/"
TIMES = re.compile(r"data/host/benchmarks/[^/]+\.tsv")
TRIAL = re.compile(r"data/trials/[^/]+/[0-9a-f]+\.json")
VERSIONED = ("codemeta.json", ".zenodo.json")


def version_of(source: Mapping[str, Any]) -> str:
    """The version of the sources: their commit, and whether something differed from it."""
    return f"{source['commit'][:12]}{'-dirty' if source['dirty'] else ''}"


def check_facts(files: Files) -> tuple[list[str], int]:
    """Problems, one line each, and how many files of models are listed."""
    run, settings, listed = (json.loads(content(files, name)) for name in (RUN, CONFIGURATION, MODELS))
    sources = read_sources(files)
    count = sum(len(record["files"]) for record in listed.values())
    found = [*_run_problems(files, run, settings, sources), *_host_problems(files)]
    return [*found, *_model_problems(files, listed, sources)], count


def _run_problems(files: Files, run: Mapping[str, Any], settings: Mapping[str, Any], sources: Any) -> Iterator[str]:
    commit = run["source"]["commit"]
    if next(files.chunks(BUNDLE), b"").split(b"\n")[:2] != [b"# v2 git bundle", f"{commit} HEAD".encode()]:
        yield f"{RUN}: says commit {commit}, {BUNDLE} holds another one"
    for name in VERSIONED:
        said = json.loads(content(files, name)).get("version")
        if said != version_of(run["source"]):
            yield f"{name}: says version {said}, {RUN} has commit {version_of(run['source'])}"
    if f'commit: "{commit}"' not in content(files, "CITATION.cff").decode("utf-8", "replace").splitlines():
        yield f"CITATION.cff: names no commit, or another than {RUN}"
    if run["title"] != title(settings):
        yield f"{RUN}: its title is {run['title']!r}, the settings make it {title(settings)!r}"
    asked = [f"{leverage:g}" for leverage in settings["simulate"]["leverage"]]
    there = {n.split("/")[2].removeprefix("leverage-") for n in files.names() if n.startswith(f"{RESULTS}leverage-")}
    if run["leverages"] != asked or there != set(asked):
        said = f"{RUN} lists the leverages {', '.join(run['leverages'])}, the settings {', '.join(asked)}"
        yield f"{said}; there are results of {', '.join(sorted(there))}"
    trials = sum(TRIAL.fullmatch(name) is not None for name in files.names())
    for leverage in sorted(there):
        counted = sources[f"leverage-{leverage}/evidence.json"]["tests"]["sharpe"]["settings"]["trials"]["ledger"]
        if counted != trials:
            yield f"{RESULTS}leverage-{leverage}/evidence.json: counts {counted} trials, data/trials holds {trials}"


def _host_problems(files: Files) -> Iterator[str]:
    """Whether what a run took is the sum of what its jobs recorded."""
    facts = json.loads(content(files, JOBS))
    made = totals(facts["jobs"], facts["slurm"])
    times = (content(files, name).decode("utf-8", "replace") for name in files.names() if TIMES.fullmatch(name))
    made["hours_of_last_runs"], made["steps_timed"] = benchmarked(times)
    said = {**facts["totals"], **{key: facts[key] for key in ("hours_of_last_runs", "steps_timed")}}
    for key, value in made.items():
        if said.get(key) != value:
            yield f"{JOBS}: {key} is {said.get(key)}, the jobs and Snakemake's times give {value}"


def _model_problems(files: Files, listed: Mapping[str, Any], sources: Mapping[str, Any]) -> Iterator[str]:
    """Whether the listed files of each model are those that training, conversion and inference recorded as one."""
    folders = {name: record for name, record in listed.items() if name != "checkpoint"}
    for name in (name for name in files.names() if name.startswith(MODEL) and name.count("/") > 3):
        _, _, _, model, file = name.split("/", 4)
        if folders.get(model, {"files": {}})["files"].get(file, {}).get("sha256") != digest(files, name):
            yield f"{name}: is not the file that {MODELS} lists"
    for model, record in folders.items():
        whole = hashlib.sha256()
        for file in sorted(record["files"], key=lambda file: file.split("/")):
            whole.update(f"{file} {record['files'][file]['sha256']}\n".encode())
        if whole.hexdigest() != record["folder_sha256"]:
            yield f"{MODELS}: the files of {model} do not make its folder_sha256"
    known = {record["folder_sha256"] for record in folders.values()}
    for name, record in sources.items():
        for role, sha in record.get("inputs", {}).items():
            which = {"base": "base", "model": name.split("/")[1]}.get(role, "") if "/" in name else ""
            wanted = {folders[which]["folder_sha256"]} if which in folders else known  # a variant names no model
            if (role == "model" or (role == "base" and not name.startswith("leverage-"))) and sha not in wanted:
                yield f"{RESULTS}{name}: was computed with another {role} than {MODELS} lists"
    weights = sources["train/checkpoint.json"]["weights_sha256"]
    if listed["checkpoint"]["weights_sha256"] != weights:
        yield f"{MODELS}: lists another checkpoint than {RESULTS}train/checkpoint.json"
