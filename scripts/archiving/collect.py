"""What goes into the archive of a run: each file's name there, and where it lies or what it holds."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archiving.reading import WEIGHTS
from common.errors import InputError
from common.files import dump, read_json, sha256
from trading.bars import format_times, read_bars
from trading.decisions import first_bar, read_decisions
from trading.evidence.trials import HOURS, entries, window_of

RESULTS, HOST = "data/results", "data/host"

# The market's closes stand in these too, or can be read back from them: a vector figure holds the numbers it is of.
PRICED = (
    "market/bars.csv",
    "samples/*.jsonl",
    "infer/*/samples.jsonl",
    "leverage-*/equity.csv",
    "leverage-*/trades.csv",
    "leverage-*/*.svg",
    "leverage-*/tearsheet.html",
)
KEPT_BACK = (
    "The archive may not hold the market's prices. What is left of them: figures as pixels (PNG), and in evidence.json "
    "the model's equity at 120 hours at most."
)
ONCE = ("market/*", "samples/*", "train/checkpoint.json", "train/metrics.jsonl", "model/*.json")
ONCE += ("infer/*/decisions.jsonl", "infer/*/summary.json", "infer/*/samples.jsonl", "infer/*.json")


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


def withheld(files: Mapping[str, Path], how_to_get: Mapping[str, str]) -> dict[str, Any]:
    """What withheld.json says of files that the archive leaves out because of the market's licence.

    Parameters
    ----------
    files
        By their names in the archive.
    how_to_get
        Of those that replay.py does not make.
    """
    rows = []
    for name, path in sorted(files.items()):
        how = how_to_get.get(name, "python replay.py makes it of the bars.")
        rows.append({"file": name, "sha256": sha256(path), "bytes": path.stat().st_size, "how_to_get": how})
    return {"reason": KEPT_BACK, "files": rows}


def priced(run: Run, names: Iterable[str]) -> set[str]:
    """The results in which the market's prices stand."""
    found = {path.relative_to(run.folder).as_posix() for p in PRICED for path in run.folder.glob(p)}
    return found & set(names)


def unmasked(configuration: Mapping[str, Any]) -> list[str]:
    """Settings that let a model read the market's true prices, which its answers may quote."""
    asked = {"samples": configuration["samples"]}
    for row in configuration.get("variants", ()):
        own = {key: row[key] for key in ("prompt", "mask") if row.get(key) is not None}
        asked[f"variants, {row['name']}"] = configuration["samples"] | own
    return [name for name, row in asked.items() if row["prompt"] == "report" and not row.get("mask", True)]


def models(run: Run) -> dict[str, Any]:
    """SHA-256 of all weights, those too that the archive does not hold."""
    manifest = run.json("train/checkpoint.json")
    found: dict[str, Any] = {}
    for name in model_names(run):
        folder = run.path(f"model/{name}")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
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


def variant_place(name: str, file: str = "decisions.jsonl") -> str:
    """Where in the archive a file of another run's decisions lies, below data/."""
    return f"sources/variant-{name}/{file}"


def portable(configuration: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Path]]:
    """The configuration with the paths of the archive's copies, and what they are copies of.

    A path outside of the project would name a folder of this machine, and lead nowhere elsewhere. The hub's cache, the
    folders for container images and temporary files, and the image that the others start from are left out: everybody
    has others. Of the image run.json has the SHA-256.
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
    # Commands name it even where the configuration that was written leaves it to the hub's tools.
    if settings["base_model"]["source"] == "hub" and settings["base_model"]["hub"]["cache"]:
        found["sources/hub-cache"] = Path(settings["base_model"]["hub"]["cache"])
    settings["base_model"]["hub"]["cache"] = None
    settings["containers"] |= {"folder": None, "scratch": None}
    if settings["containers"]["bootstrap"] == "localimage":
        settings["containers"]["base"] = None
    variants = settings["evaluate"]["variants"]
    for number, variant in enumerate(variants):
        name, _, path = variant.partition("=")
        place = variant_place(name)
        found[place] = Path(path)
        variants[number] = f"{name}={place}"
    return settings, found


def base_image(configuration: Mapping[str, Any], project: Path) -> dict[str, str]:
    """SHA-256 of the image that the container images start from, if it is a file, and there."""
    containers = configuration["containers"]
    if containers["bootstrap"] != "localimage" or not containers.get("base"):
        return {}
    path = project / containers["base"]
    return {"container_base_sha256": sha256(path)} if path.is_file() else {}


def without_paths(text: bytes, paths: Mapping[str, Path]) -> bytes:
    """A text in which files outside of the project have their names in the archive.

    A path that is only the end or the middle of another one is none of them.
    """
    for name, path in sorted(paths.items(), key=lambda item: -len(str(item[1]))):
        for form in {str(path), os.path.abspath(path)}:
            text = re.sub(rb"(?<![\w./-])" + re.escape(form.encode()) + rb"(?![\w.-])", name.encode(), text)
    return text


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
    span = slice(start, start + len(decisions) + 1)
    seconds = bars.time[span].astype("int64").tolist()
    found = entries(ledger, window_of(seconds, bars.close[span].tolist()))
    for leverage in run.leverages:
        name = f"leverage-{leverage}/evidence.json"
        counted = run.json(name)["tests"]["sharpe"]["settings"]["trials"]["ledger"]
        if counted != len(found):
            raise InputError(
                f"{run.folder}/{name}: counts {counted} variants on these hours, but {ledger} holds {len(found)} by "
                "now. Run snakemake archive again."
            )
    found += sorted({path.parent / HOURS for path in found})
    return {path.relative_to(ledger).as_posix(): path for path in found}
