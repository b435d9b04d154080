"""What results say of the files that they were made from: each SHA-256 must be that of the file in the archive."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping

from archiving.verification.checksums import digest
from archiving.verification.container import Files, content
from archiving.verification.ledger import RESULTS, WITHHELD, read_sources
from archiving.verification.page import page_problems

VARIANTS = "data/sources/variant-"  # decisions of other runs, each in a folder with what lies beside them
PICTURE_NOTE = re.compile(rb"(Metrics|Evidence)-SHA256\W{1,3}([0-9a-f]{64})")
# Role in a result's record to the file it stands for; "{here}" is the folder of the leverage.
ROLES = {
    "bars": "market/bars.csv",
    "market": "market/summary.json",
    "trained": "infer/trained/decisions.jsonl",
    "decisions": "infer/trained/decisions.jsonl",
    "trained_summary": "infer/trained/summary.json",
    "inference": "infer/trained/summary.json",
    "manifest": "train/checkpoint.json",
    "train": "samples/train.jsonl",
    "validation": "samples/validation.jsonl",
    "samples": "samples/test.jsonl",
    "train_samples": "samples/train.jsonl",
    "validation_samples": "samples/validation.jsonl",
    "test_samples": "samples/test.jsonl",
    "probe": "infer/probe.json",
    "equity": "{here}/equity.csv",
    "trades": "{here}/trades.csv",
    "metrics": "{here}/metrics.json",
    "evidence": "{here}/evidence.json",
}


def known_digests(files: Files) -> dict[str, str]:
    """SHA-256 of all results, those that were left out of the archive too, by name below the results.

    And of the decisions of other runs with what lies beside them, by their whole names.
    """
    found = {n.removeprefix(RESULTS): digest(files, n) for n in files.names() if n.startswith((RESULTS, VARIANTS))}
    if WITHHELD in files.names():
        listed = json.loads(content(files, WITHHELD))["files"]
        found |= {row["file"].removeprefix(RESULTS): row["sha256"] for row in listed}
    return found


def check_records(files: Files) -> tuple[list[str], int]:
    """Problems, one line each, and how many recorded hashes were compared."""
    problems, count = [], 0
    digests = known_digests(files)
    beside = [name for name in files.names() if name.startswith(VARIANTS) and name.endswith("/summary.json")]
    for name, record in {**read_sources(files), **{n: json.loads(content(files, n)) for n in beside}}.items():
        inputs = record.get("inputs", {}) if isinstance(record, Mapping) else {}
        for role, sha in inputs.items():
            target = _target(name, role, digests)
            own = f"{name.rpartition('/')[0]}/samples.jsonl"
            if role == "samples" and own in digests:
                target = own  # a variant's own prompts
            if target in digests:
                count += 1
                if digests[target] != sha:
                    problems.append(f"{_whole(name)}: was computed from another {role} than {_whole(target)}")
    for name in sorted(files.names()):
        if name.startswith(f"{RESULTS}leverage-") and name.endswith((".png", ".svg")):
            found, compared = _picture_problems(name, content(files, name), digests)
            problems += found
            count += compared
        elif name.startswith(f"{RESULTS}leverage-") and name.endswith("/tearsheet.html"):
            text = content(files, name).decode("utf-8", "replace")
            found, compared = page_problems(name.removeprefix(RESULTS), text, digests)
            problems += found
            count += compared
    return problems, count


def _picture_problems(name: str, blob: bytes, digests: Mapping[str, str]) -> tuple[list[str], int]:
    """Whether a figure is the one that its name says, drawn of the results beside it."""
    here, _, file = name.removeprefix(RESULTS).rpartition("/")
    stem = file.rpartition(".")[0].encode()
    title = b"Title\0" + stem
    # A PNG file's title in a chunk of its own; an SVG file's in its head.
    titled = struct.pack(">I", len(title)) + b"tEXt" + title in blob or b"<dc:title>" + stem + b"</dc:title>" in blob
    problems = [] if titled else [f"{name}: is another figure, or none: its title is not {stem.decode()}"]
    noted = dict.fromkeys(PICTURE_NOTE.findall(blob))
    for kind, sha in noted:
        made_of = f"{here}/{kind.decode().lower()}.json"
        if digests.get(made_of) != sha.decode():
            problems.append(f"{name}: was not drawn of {RESULTS}{made_of}")
    return problems if noted else [*problems, f"{name}: does not say what it was drawn of"], 1 + len(noted)


def _whole(name: str) -> str:
    """A file's name in the archive."""
    return name if name.startswith(VARIANTS) else RESULTS + name


def _target(name: str, role: str, digests: Mapping[str, str]) -> str | None:
    """The file that a role in a result's record stands for; None for folders and what the archive does not hold."""
    if role == "base":
        return "infer/base/decisions.jsonl" if name.startswith("leverage-") else None
    if role.startswith("variant "):
        variant = role.removeprefix("variant ")
        own, other = f"infer/{variant}/decisions.jsonl", f"{VARIANTS}{variant}/decisions.jsonl"
        return own if own in digests else other
    place = ROLES.get(role)
    return place.format(here=name.partition("/")[0]) if place else None


def picture_names(files: Files) -> dict[str, str]:
    """SHA-256 of the run's pictures to their names below the results."""
    names = [n for n in files.names() if n.startswith(f"{RESULTS}leverage-") and n.endswith(".png")]
    return {digest(files, name): name.removeprefix(RESULTS) for name in names}
