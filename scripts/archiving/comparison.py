"""Two runs: what differs in configuration, settings, code, versions, data, weights, decisions and results."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from archiving.hosts import makers
from archiving.side_by_side import Absent, Row, compared, row
from archiving.verification.checksums import digest
from archiving.verification.container import ArchiveError, Files, content, opened
from common.errors import InputError

ARCHIVED = "data/results/"
REQUIREMENTS = "data/requirements/"
JOB = re.compile(r"host/(?!\.|slurm\.json)[^/]+\.json")
FIGURES = ("total_return", "final_capital", "max_drawdown", "sharpe", "trades", "hit_rate", "costs", "liquidated")


@dataclass(frozen=True)
class Side:
    """One of two runs: an archive, packed or unpacked, or a folder results/<run>."""

    name: str
    files: Files
    prefix: str

    @property
    def archived(self) -> bool:
        """Whether it is an archive, which says how the results were made, or a folder of results alone."""
        return self.prefix == ARCHIVED

    @cached_property
    def present(self) -> frozenset[str]:
        """Names of all files."""
        return frozenset(self.files.names())

    @cached_property
    def folders(self) -> frozenset[str]:
        """Names of all folders, each with a slash at its end."""
        return frozenset(f"{above}/" for name in self.present for above in map(str, PurePosixPath(name).parents))

    def record(self, name: str) -> Any:
        """One of the archive's own JSON files; None where there is none."""
        return json.loads(content(self.files, name)) if name in self.present else None

    def json(self, name: str) -> dict[str, Any]:
        """A result; nothing where there is none."""
        return self.record(self.prefix + name) or {}

    def digest(self, name: str) -> str | Absent:
        """SHA-256 of a result, shortened; of one that the archive left out as it says."""
        if self.prefix + name in self.present:
            return digest(self.files, self.prefix + name)[:16]
        for left_out in (self.record("data/withheld.json") or {"files": []})["files"]:
            if left_out["file"] == ARCHIVED + name:
                return left_out["sha256"][:16]
        return Absent.NOT_RECORDED

    def lines(self, name: str) -> list[dict[str, Any]]:
        """A result of one JSON object a line."""
        if self.prefix + name not in self.present:
            return []
        return [json.loads(line) for line in content(self.files, self.prefix + name).splitlines()]

    def leverages(self) -> list[str]:
        """As they stand in paths, by size."""
        return sorted(self._below("leverage-"), key=float)

    def asked(self) -> list[str]:
        """The models and variants whose decisions are there, the trained model first."""
        found = (name for name in self._below("infer/") if f"{self.prefix}infer/{name}/decisions.jsonl" in self.present)
        return sorted(found, key=lambda name: (name != "trained", name))

    def stages(self) -> dict[str, dict[str, Any]]:
        """What each stage wrote down beside its result, in the order in which they ran."""
        places = {
            "market": "market/summary.json",
            "base_model": "model/base/model.json",
            "train": "train/checkpoint.json",
            "export_weights": "model/parity.json",
            **{f"infer {name}": f"infer/{name}/summary.json" for name in self.asked()},
            "probe": "infer/probe.json",
        }
        for leverage in self.leverages():
            places[f"simulate {leverage}x"] = f"leverage-{leverage}/metrics.json"
            places[f"evaluate {leverage}x"] = f"leverage-{leverage}/evidence.json"
        return {stage: self.json(file) for stage, file in places.items()}

    def _below(self, start: str) -> set[str]:
        """How names go on that begin so."""
        start = self.prefix + start
        return {name[len(start) :].partition("/")[0] for name in self.present if name.startswith(start)}


def side(path: Path) -> Side:
    """An archive or a folder of results.

    Raises
    ------
    InputError
        If it is neither.
    """
    try:
        files = opened(path)
        problems = files.problems() if path.is_file() else []
    except ArchiveError as error:
        raise InputError(f"{error}. Give an archive's ZIP file or folder, or results/<run>.") from None
    if problems:
        raise InputError(f"{problems[0]}. Run verify.py on it.")
    for prefix in (ARCHIVED, ""):
        if f"{prefix}train/checkpoint.json" in files.names():
            return Side(str(path), files, prefix)
    raise InputError(f"{path}: neither an archive nor the results of a finished run. Give one of them.")


def rows(one: Side, two: Side) -> list[Row]:
    """Everything that is compared, in the order in which it is made."""
    return [
        *compared("configuration", "resolved configuration", configuration(one), configuration(two)),
        *compared("settings", "settings", dict(settings(one)), dict(settings(two))),
        *code(one, two),
        *compared("versions", "versions", dict(versions(one)), dict(versions(two))),
        *compared("data", "data", dict(data(one)), dict(data(two))),
        *compared("weights", "weights", dict(weights(one)), dict(weights(two))),
        *decisions(one, two),
        *compared("results", "results", dict(results(one)), dict(results(two))),
    ]


def configuration(part: Side) -> dict[str, Any] | None:
    """The resolved configuration by dotted keys; a folder of results does not record it."""
    found = part.record("data/configuration.json") if part.archived else None
    return None if found is None else dict(dotted(found))


def dotted(values: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values by dotted keys.

    >>> dict(dotted({"train": {"keep": 2, "slime": {"pipeline": 1}}, "leverages": [2, 3]}))
    {'train.keep': 2, 'train.slime.pipeline': 1, 'leverages': [2, 3]}
    """
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from dotted(value, f"{start}{key}.")
        else:
            yield f"{start}{key}", value


def settings(part: Side) -> Iterator[tuple[str, Any]]:
    """The values that each result was computed with; both kinds of run have them."""
    for stage, record in part.stages().items():
        for key, value in record.get("parameters", {}).items():
            yield f"{stage}: {key}", value


def code(one: Side, two: Side) -> list[Row]:
    """Sources, container images and pinned packages: what could have run; `versions` is what ran."""
    found = compared("code", "commit", commit(one), commit(two))
    used = (images(one), images(two))
    if used == ({}, {}):
        found.append(row("code", "container images", "none", "none"))
    found += compared("code", "container images", *used)
    return found + compared("code", "pinned packages", requirements(one), requirements(two))


def commit(part: Side) -> dict[str, Any] | None:
    """The commit, and what differed from it; a folder of results does not record them."""
    facts = part.record("data/run.json") if part.archived else None
    if facts is None:
        return None
    source = facts["source"]
    patch = "data/source.patch"
    return {
        "commit": source["commit"],
        "uncommitted changes": ", ".join(source["changed"]) or "none",
        "SHA-256 of uncommitted changes": digest(part.files, patch)[:16] if patch in part.present else "none",
    }


def images(part: Side) -> dict[str, str] | None:
    """SHA-256 of the container images that the results were made in, by what runs in them.

    Empty where they were made without containers; None where no job recorded whether they were.
    """
    if part.archived:
        worked = (part.record("data/host/jobs.json") or {"jobs": []})["jobs"]
        files = (part.record("data/containers/images.json") or {"sha256": {}})["sha256"]
    else:
        worked = [part.record(name) for name in part.present if JOB.fullmatch(name)]
        made = makers(worked)
        used = {job.get("image") for name, job in made.items() if name in part.present or f"{name}/" in part.folders}
        files = {name: sha for name, sha in (part.record("containers.json") or {}).items() if name in used}
    if not files and not makers(worked):
        return None
    found = defaultdict(list)
    for name, sha256 in sorted(files.items()):
        found[f"image {re.sub(r'(-[0-9a-f]+)?[.]sif$', '', name)}"].append(sha256[:16])
    return {name: ", ".join(sums) for name, sums in found.items()}


def requirements(part: Side) -> dict[str, str] | None:
    """The pinned packages, each with its version and the files that say so; a folder does not record them."""
    if not part.archived:
        return None
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(name for name in part.present if name.startswith(REQUIREMENTS)):
        file = name.removeprefix(REQUIREMENTS).removesuffix(".txt")
        for package, version in pinned(content(part.files, name).decode()):
            found[package][version].append(file)
    return {
        package: "; ".join(f"{version} in {', '.join(files)}".lstrip() for version, files in found[package].items())
        for package in sorted(found)
    }


def pinned(text: str) -> Iterator[tuple[str, str]]:
    """Packages of a requirements file and their versions; its options, as they stand, have none.

    >>> list(pinned("-c constraints.txt\\nPyYAML==6.0.3  # reads\\n# alone\\n"))
    [('-c constraints.txt', ''), ('pyyaml', '6.0.3')]
    """
    for line in text.splitlines():
        wanted = re.sub(r"(^|\s)#.*", "", line).strip()
        name = re.match(r"[A-Za-z0-9._-]+(\[[^]]*\])?", wanted)
        if name and not wanted.startswith("-"):
            plain = re.sub(r"[-_.]+", "-", name[0]).lower()  # as PEP 503 does
            yield plain, wanted[name.end() :].strip().removeprefix("==")
        elif wanted:
            yield wanted, ""


def versions(part: Side) -> Iterator[tuple[str, Any]]:
    """The versions that each stage wrote down."""
    for stage, record in part.stages().items():
        for package, version in record.get("versions", {}).items():
            yield f"{stage}: {package}", Absent.NOT_RECORDED if version is None else version


def data(part: Side) -> Iterator[tuple[str, Any]]:
    """Market and samples."""
    market = part.json("market/summary.json")
    for key in ("name", "source", "bars", "first", "last", "total_return"):
        yield f"market {key}", market.get(key, Absent.NOT_RECORDED)
    for name in ("market/bars.csv", *(f"samples/{split}.jsonl" for split in ("train", "validation", "test"))):
        yield f"SHA-256 of {name}", part.digest(name)


def weights(part: Side) -> Iterator[tuple[str, Any]]:
    """What was trained."""
    manifest = part.json("train/checkpoint.json")
    yield "checkpoint", manifest.get("name", Absent.NOT_RECORDED)
    sums = {
        "checkpoint": manifest.get("weights_sha256"),
        "base model's weights": manifest.get("inputs", {}).get("weights"),
    }
    for what, sha256 in sums.items():
        yield f"SHA-256 of the {what}", sha256[:16] if sha256 else Absent.NOT_RECORDED


def decisions(one: Side, two: Side) -> list[Row]:
    """How many hours were decided the same way."""
    found = []
    for model in dict.fromkeys([*one.asked(), *two.asked()]):
        first, second = (
            {line["timestamp"]: line for line in part.lines(f"infer/{model}/decisions.jsonl")} for part in (one, two)
        )
        found.append(row("decisions", f"{model}: hours", f"{len(first):,}", f"{len(second):,}"))
        common = [time for time in first if time in second]
        same = sum(first[time]["decision"] == second[time]["decision"] for time in common)
        texts = (f"{len(common):,} common", f"{same:,} alike")
        alike = same == len(common) if common else None
        found.append(Row("decisions", f"{model}: alike in common hours", *texts, same=alike))
        for word in ("BUY", "SELL", "HOLD"):
            counts = [sum(line["decision"] == word for line in part.values()) for part in (first, second)]
            found.append(row("decisions", f"{model}: {word}", *(f"{count:,}" for count in counts)))
    return found


def results(part: Side) -> Iterator[tuple[str, Any]]:
    """What was earned, and what the tests say of it."""
    for leverage in part.leverages():
        for strategy in part.json(f"leverage-{leverage}/metrics.json").get("strategies", []):
            for key in FIGURES:
                if key in strategy:
                    yield f"{leverage}x {strategy['key']}: {key}", strategy[key]
        verdict = part.json(f"leverage-{leverage}/evidence.json").get("verdict", {})
        for key in ("summary", "p_value_adjusted"):
            if key in verdict:
                yield f"{leverage}x verdict: {key}", verdict[key]
