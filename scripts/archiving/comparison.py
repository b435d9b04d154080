"""Two runs side by side: what differs in settings, code, data, weights, decisions and results."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archiving.verification.checksums import digest
from archiving.verification.container import ArchiveError, Files, content, opened
from common.errors import InputError

ARCHIVED = "data/results/"
SETTINGS = {
    "market": "market/summary.json",
    "train": "train/checkpoint.json",
}
FIGURES = ("total_return", "final_capital", "max_drawdown", "sharpe", "trades", "hit_rate", "costs", "liquidated")
MISSING = "-"


@dataclass(frozen=True)
class Side:
    """One of two runs: an archive, packed or unpacked, or a folder results/<run>."""

    name: str
    files: Files
    prefix: str

    def json(self, name: str) -> dict[str, Any]:
        """A result; nothing where there is none."""
        if self.prefix + name not in self.files.names():
            return {}
        return json.loads(content(self.files, self.prefix + name))

    def digest(self, name: str) -> str:
        """SHA-256 of a result, shortened; of one that the archive left out as it says."""
        if self.prefix + name in self.files.names():
            return digest(self.files, self.prefix + name)[:16]
        if "data/withheld.json" in self.files.names():
            for row in json.loads(content(self.files, "data/withheld.json"))["files"]:
                if row["file"] == ARCHIVED + name:
                    return row["sha256"][:16]
        return MISSING

    def lines(self, name: str) -> list[dict[str, Any]]:
        """A result of one JSON object a line."""
        if self.prefix + name not in self.files.names():
            return []
        return [json.loads(line) for line in content(self.files, self.prefix + name).splitlines()]

    def leverages(self) -> list[str]:
        """As they stand in paths, by size."""
        return sorted(self._below("leverage-"), key=float)

    def asked(self) -> list[str]:
        """The models and variants whose decisions are there, the trained model first."""
        return sorted(
            (name for name in self._below("infer/") if "." not in name), key=lambda name: (name != "trained", name)
        )

    def _below(self, start: str) -> set[str]:
        """How names go on that begin so."""
        start = self.prefix + start
        return {name[len(start) :].partition("/")[0] for name in self.files.names() if name.startswith(start)}


@dataclass(frozen=True)
class Row:
    """One thing of both runs."""

    section: str
    what: str
    one: str
    two: str

    @property
    def differs(self) -> bool:
        return self.one.removesuffix(" common") != self.two.removesuffix(" alike")


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
    found: list[Row] = []
    sides = (one, two)
    for section in (settings, code, data, weights):
        a, b = (dict(section(part)) for part in sides)
        found += [Row(section.__name__, key, a.get(key, MISSING), b.get(key, MISSING)) for key in merged(a, b)]
    found += decisions(one, two)
    a, b = (dict(results(part)) for part in sides)
    return found + [Row("results", key, a.get(key, MISSING), b.get(key, MISSING)) for key in merged(a, b)]


def merged(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
    """Keys of both, in their order."""
    return [*one, *(key for key in two if key not in one)]


def settings(part: Side) -> Iterator[tuple[str, str]]:
    """The values that each result was computed with; both kinds of run have them."""
    places = SETTINGS | {f"infer {name}": f"infer/{name}/summary.json" for name in part.asked()}
    places |= {f"simulate {leverage}x": f"leverage-{leverage}/metrics.json" for leverage in part.leverages()}
    places |= {f"evaluate {leverage}x": f"leverage-{leverage}/evidence.json" for leverage in part.leverages()}
    for name, file in places.items():
        for key, value in part.json(file).get("parameters", {}).items():
            yield f"{name}: {key}", shown(value)


def code(part: Side) -> Iterator[tuple[str, str]]:
    """Commit, and the versions that ran."""
    if "data/run.json" in part.files.names():
        source = json.loads(content(part.files, "data/run.json"))["source"]
        yield "commit", source["commit"][:12] + (" with changes" if source["dirty"] else "")
    for file in (*SETTINGS.values(), "infer/trained/summary.json", "model/parity.json"):
        for package, version in part.json(file).get("versions", {}).items():
            yield f"{file.partition('/')[0]}: {package}", version


def data(part: Side) -> Iterator[tuple[str, str]]:
    """Market and samples."""
    market = part.json("market/summary.json")
    for key in ("name", "source", "bars", "first", "last", "total_return"):
        yield f"market {key}", shown(market.get(key, MISSING))
    for name in ("market/bars.csv", *(f"samples/{split}.jsonl" for split in ("train", "validation", "test"))):
        yield f"SHA-256 of {name}", part.digest(name)


def weights(part: Side) -> Iterator[tuple[str, str]]:
    """What was trained."""
    manifest = part.json("train/checkpoint.json")
    yield "checkpoint", str(manifest.get("name", MISSING))
    yield "SHA-256 of the checkpoint", str(manifest.get("weights_sha256", MISSING))[:16]
    yield "SHA-256 of the base model's weights", str(manifest.get("inputs", {}).get("weights", MISSING))[:16]


def decisions(one: Side, two: Side) -> list[Row]:
    """How many hours were decided the same way."""
    found = []
    for model in dict.fromkeys([*one.asked(), *two.asked()]):
        first, second = (
            {row["timestamp"]: row for row in part.lines(f"infer/{model}/decisions.jsonl")} for part in (one, two)
        )
        found.append(Row("decisions", f"{model}: hours", f"{len(first):,}", f"{len(second):,}"))
        common = [time for time in first if time in second]
        same = sum(first[time]["decision"] == second[time]["decision"] for time in common)
        found.append(Row("decisions", f"{model}: alike in common hours", f"{len(common):,} common", f"{same:,} alike"))
        for word in ("BUY", "SELL", "HOLD"):
            counts = [sum(row["decision"] == word for row in part.values()) for part in (first, second)]
            found.append(Row("decisions", f"{model}: {word}", *(f"{count:,}" for count in counts)))
    return found


def results(part: Side) -> Iterator[tuple[str, str]]:
    """What was earned, and what the tests say of it."""
    for leverage in part.leverages():
        for row in part.json(f"leverage-{leverage}/metrics.json").get("strategies", []):
            for key in FIGURES:
                if key in row:
                    yield f"{leverage}x {row['key']}: {key}", shown(row[key])
        verdict = part.json(f"leverage-{leverage}/evidence.json").get("verdict", {})
        for key in ("summary", "p_value_adjusted"):
            if key in verdict:
                yield f"{leverage}x verdict: {key}", shown(verdict[key])


def shown(value: Any) -> str:
    """A value, short enough for a table."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def table(found: Sequence[Row], one: str, two: str, everything: bool = False) -> str:
    """What differs, or everything, as lines of at most about 120 letters."""
    kept = [row for row in found if everything or row.differs]
    lines = []
    for section in dict.fromkeys(row.section for row in found):
        mine = [row for row in kept if row.section == section]
        count = sum(row.differs for row in found if row.section == section)
        total = sum(row.section == section for row in found)
        lines += ["", f"{section}: {count} of {total} differ" if count else f"{section}: all {total} are the same"]
        wide = max((len(row.what) for row in mine), default=0)
        side_wide = min(32, max((len(row.one) for row in mine), default=0))
        lines += [f"  {row.what:{wide}}  {cut(row.one):{side_wide}}  {cut(row.two)}" for row in mine]
    return "\n".join([f"A: {one}", f"B: {two}", *lines])


def cut(text: str) -> str:
    """At most 32 letters, on one line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= 32 else f"{flat[:31]}…"


def page(found: Sequence[Row], one: str, two: str) -> str:
    """Everything as one HTML page that needs nothing else."""
    body = []
    for section in dict.fromkeys(row.section for row in found):
        mine = [row for row in found if row.section == section]
        count = sum(row.differs for row in mine)
        body.append(f"<h2>{section.title()} <small>{count} of {len(mine)} differ</small></h2>")
        for differs in (True, False):
            part = [row for row in mine if row.differs == differs]
            text = f"<table><tr><th></th><th>A</th><th>B</th></tr>{''.join(map(_cells, part))}</table>" if part else ""
            alike = f"<details><summary>{len(part)} are the same</summary>{text}</details>"
            body.append(text if differs or not part else alike)
    title = f"{html.escape(one)} and {html.escape(two)}"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{STYLE}</style></head>\n<body><h1>Two runs</h1><p>A: {html.escape(one)}<br>B: {html.escape(two)}</p>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _cells(row: Row) -> str:
    cells = "".join(f"<td>{html.escape(text)}</td>" for text in (row.what, row.one, row.two))
    return f"<tr{' class=other' if row.differs else ''}>{cells}</tr>\n"


STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;color:#14213d;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%;table-layout:fixed}td,th{text-align:left;padding:.25rem .6rem;"
    "border-bottom:1px solid #c9d0db;overflow-wrap:anywhere}tr.other td{background:#fdf0e6;font-weight:600}"
    "small,summary{font-weight:400;color:#5b6577}summary{cursor:pointer;margin:.4rem 0}"
)
