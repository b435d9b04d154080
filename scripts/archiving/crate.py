"""The archive as a Workflow Run RO-Crate: what each file is, what the workflow took and what it made."""

from __future__ import annotations

import mimetypes
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from archiving.cards import NOT_STATED
from archiving.describe import LICENCES, author_name
from archiving.pack import Content, sha256_of, size_of
from archiving.verification.facts import version_of
from common.errors import InputError

WORKFLOW = "data/workflow/Snakefile"
CONFIGURATION = "data/configuration.json"
VERSION = "1.1"  # the one that the profiles below build on
# The profile's own term; RO-Crate 1.1 has none for it.
TERMS = {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}
PROFILES = (
    "https://w3id.org/ro/wfrun/process/0.5",
    "https://w3id.org/ro/wfrun/workflow/0.5",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
)
TYPES = {
    ".jsonl": "application/jsonl", ".md": "text/markdown", ".py": "text/x-python", ".smk": "text/x-python",
    ".yaml": "application/yaml", ".svg": "image/svg+xml", ".csv": "text/csv", ".json": "application/json",
    ".bundle": "application/x-git-bundle", ".patch": "text/x-diff", ".def": "text/plain", ".jinja": "text/plain",
    ".tsv": "text/tab-separated-values",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}  # fmt: skip
NAMES = {
    WORKFLOW: "The workflow",
    CONFIGURATION: "Every setting of the run",
    "data/claims.json": "Each number on the slides and where it comes from",
    "data/source.bundle": "The sources with their history",
    "data/models.json": "SHA-256 of all weights",
}


def describe(
    files: Mapping[str, Content],
    run: Mapping[str, Any],
    cff: Mapping[str, Any],
    description: str,
    versions: Mapping[str, str],
    ended: str | None,
    market: Collection[str],
    data: str | None,
) -> dict[str, Any]:
    """ro-crate-metadata.json.

    Parameters
    ----------
    files
        The archive's files so far.
    run
        run.json.
    cff
        CITATION.cff.
    versions
        Of Python and Snakemake.
    ended
        When the run ended, ISO 8601, as far as known.
    market
        The files that hold the market's data.
    data
        Their licence; None if nobody stated one.

    Raises
    ------
    InputError
        If the rocrate library is not installed.
    """
    try:
        from rocrate.model import ContextEntity
        from rocrate.rocrate import ROCrate
    except ImportError:
        raise InputError("rocrate: not installed. Install what envs/archive.txt lists.") from None
    crate = ROCrate(version=VERSION)
    root = crate.root_dataset
    date = run["source"]["date"]
    crate.name, crate.description, crate.datePublished = run["title"], description, date
    root["version"] = version_of(run["source"])
    names = {cff["license"], data} if market else {cff["license"]}
    licences = {name: crate.add(ContextEntity(crate, *_licence(name))) for name in sorted(names, key=str)}
    licence = licences[cff["license"]]
    crate.license = list(licences.values())
    authors = [
        crate.add(
            ContextEntity(
                crate,
                author.get("orcid") or f"#author-{number}",
                properties={
                    "@type": "Person" if author.get("family-names") else "Organization",
                    "name": author_name(author),
                },
            )
        )
        for number, author in enumerate(cff["authors"], start=1)
    ]
    root["author"] = authors
    entities = {}
    for name in sorted(files):
        properties = {
            "name": NAMES.get(name, name.removeprefix("data/")),
            "encodingFormat": encoding(name),
            "contentSize": str(size_of(files[name])),
            "sha256": sha256_of(files[name]),
        }
        if name == WORKFLOW:
            main = crate.add_workflow(
                None, name, main=True, lang="snakemake", lang_version=versions["snakemake"], properties=properties
            )
            main["license"], main["author"], main["version"] = licence, authors, run["source"]["commit"]
            entities[name] = main
        else:
            entities[name] = crate.add_file(None, dest_path=name, properties=properties)
        if name in market:
            entities[name]["license"] = licences[data]
    root["conformsTo"] = [
        crate.add(
            ContextEntity(
                crate,
                profile,
                properties={"@type": "CreativeWork", "name": _name(profile), "version": _version(profile)},
            )
        )
        for profile in PROFILES
    ]
    entities["README.md"]["about"] = root
    workflow = entities[WORKFLOW]
    workflow["hasPart"] = [
        entities[name] for name in entities if name.startswith("data/workflow/") and name != WORKFLOW
    ]
    made = [entities[name] for name in entities if name.startswith("data/results/")]
    taken = [entities[name] for name in entities if name == CONFIGURATION or name.startswith("data/sources/")]
    action = crate.add_action(
        workflow,
        identifier=f"#run-{run['run']}",
        object=taken,
        result=made,
        properties={
            "name": f"The run {run['run']}",
            "description": run["command"],
            **({"endTime": ended} if ended else {}),
        },
    )
    action["agent"] = authors
    if root.get("mentions") is None:
        root["mentions"] = [action]
    return _sorted(crate.metadata.generate())


def _licence(name: str | None) -> tuple[str, dict[str, str]]:
    """Identifier and properties of a licence."""
    if name is None:
        return "#licence-of-the-data", {"@type": "CreativeWork", "name": f"Licence of the market's data: {NOT_STATED}"}
    return f"{LICENCES}{name}", {"@type": "CreativeWork", "name": name, "url": f"{LICENCES}{name}"}


def _name(profile: str) -> str:
    return f"{profile.rsplit('/', 2)[-2].replace('-', ' ').title()} profile"


def _version(profile: str) -> str:
    return profile.rpartition("/")[2]


def encoding(name: str) -> str:
    """Media type of a file."""
    ending = f".{name.rpartition('.')[2]}"
    return TYPES.get(ending) or mimetypes.guess_type(name)[0] or "text/plain"


def _sorted(metadata: dict[str, Any]) -> dict[str, Any]:
    """Entities by their identifier, the two that describe the crate first: the library's order is that of adding."""
    first = ("ro-crate-metadata.json", "./")
    rows: Iterable[dict[str, Any]] = metadata["@graph"]
    graph = sorted(rows, key=lambda row: (first.index(row["@id"]) if row["@id"] in first else 2, row["@id"]))
    for row in graph:
        for key, value in row.items():
            if isinstance(value, list) and len(value) == 1 and key != "@type":
                row[key] = value[0]
    return {"@context": [metadata["@context"], TERMS], "@graph": graph}
