"""Rows with a value of each of two runs, as a table in the terminal and as a page."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import zip_longest
from typing import Any

WIDEST = 32  # letters of a value in the terminal


class Absent(Enum):
    """Why a run has no value."""

    MISSING = "-"  # it has none: it was made without
    NOT_RECORDED = "not recorded"  # it had one perhaps; nothing says so


@dataclass(frozen=True)
class Row:
    """One thing of both runs.

    Attributes
    ----------
    same
        Whether both are the same; None if that cannot be said, since one of them recorded nothing.
    """

    section: str
    what: str
    one: str
    two: str
    same: bool | None


def row(section: str, what: str, one: Any, two: Any) -> Row:
    """Two values, compared as they are and not as they are shown: 0.1 and 0.1000000001 differ, and so do 1 and 1.0."""
    same = exact(one) == exact(two)
    texts = (shown(one), shown(two))
    if not same and texts[0] == texts[1]:
        texts = (exact(one), exact(two))
    unknown = Absent.NOT_RECORDED in (one, two)
    return Row(section, what, *texts, same=None if unknown else same)


def compared(section: str, what: str, one: Mapping[str, Any] | None, two: Mapping[str, Any] | None) -> list[Row]:
    """A row for each key of either; only one row, which claims nothing, if a run has not recorded them.

    Parameters
    ----------
    what
        The name of it all.
    one, two
        None where nothing is recorded.
    """
    if one is None or two is None:
        texts = [Absent.NOT_RECORDED if part is None else f"{len(part)} recorded" for part in (one, two)]
        return [row(section, what, *texts)]
    keys = [*one, *(key for key in two if key not in one)]
    return [row(section, key, one.get(key, Absent.MISSING), two.get(key, Absent.MISSING)) for key in keys]


def exact(value: Any) -> str:
    """A value in full."""
    return value.value if isinstance(value, Absent) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def shown(value: Any) -> str:
    """A value, short enough for a table."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else exact(value)


def counted(found: Sequence[Row]) -> str:
    """How many of a section's rows differ.

    >>> counted([row("code", "commit", "a", "b"), row("code", "images", Absent.NOT_RECORDED, "c")])
    '1 of 1 differ, 1 not recorded'
    """
    differ = sum(part.same is False for part in found)
    known = sum(part.same is not None for part in found)
    if not known:
        return "not recorded"
    words = f"{differ} of {known} differ" if differ else f"all {known} are the same"
    return words if known == len(found) else f"{words}, {len(found) - known} not recorded"


def table(found: Sequence[Row], one: str, two: str, everything: bool = False) -> str:
    """What differs or is not recorded, or everything, as lines of at most about 120 letters."""
    lines = []
    for section in dict.fromkeys(part.section for part in found):
        mine = [part for part in found if part.section == section]
        lines += ["", f"{section}: {counted(mine)}"]
        kept = [(part.what, *cut(part.one, part.two)) for part in mine if everything or not part.same]
        wide, side_wide = (max((len(texts[at]) for texts in kept), default=0) for at in (0, 1))
        lines += [f"  {what:{wide}}  {first:{side_wide}}  {second}" for what, first, second in kept]
    return "\n".join([f"A: {one}", f"B: {two}", *lines])


def cut(one: str, two: str) -> tuple[str, str]:
    """At most 32 letters of each on one line; of long texts that begin alike those around the first difference.

    >>> cut("a" * 40 + "1", "a" * 40 + "2")
    ('…aaaaaaaa1', '…aaaaaaaa2')
    """
    flat = [" ".join(text.split()) for text in (one, two)]
    if flat[0] == flat[1] and one != two:  # they differ in white space
        flat = [json.dumps(text, ensure_ascii=False) for text in (one, two)]
    if one != two and _first(flat[0]) == _first(flat[1]):
        at = next(at for at, (left, right) in enumerate(zip_longest(*flat)) if left != right)
        flat = [f"…{text[at - 8 :]}" for text in flat]
    return _first(flat[0]), _first(flat[1])


def _first(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def page(found: Sequence[Row], one: str, two: str) -> str:
    """Everything as one HTML page that needs nothing else."""
    body = []
    for section in dict.fromkeys(part.section for part in found):
        mine = [part for part in found if part.section == section]
        body.append(f"<h2>{section.title()} <small>{counted(mine)}</small></h2>")
        body.append(_rows([part for part in mine if not part.same]))
        alike = [part for part in mine if part.same]
        if alike:
            body.append(f"<details><summary>{len(alike)} are the same</summary>{_rows(alike)}</details>")
    title = f"{html.escape(one)} and {html.escape(two)}"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        f"<style>{STYLE}</style></head>\n<body><h1>Two runs</h1><p>A: {html.escape(one)}<br>B: {html.escape(two)}</p>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _rows(found: Sequence[Row]) -> str:
    return f"<table><tr><th></th><th>A</th><th>B</th></tr>{''.join(map(_cells, found))}</table>" if found else ""


def _cells(part: Row) -> str:
    cells = "".join(f"<td>{html.escape(text)}</td>" for text in (part.what, part.one, part.two))
    return f"<tr{KINDS[part.same]}>{cells}</tr>\n"


KINDS = {True: "", False: " class=other", None: " class=unknown"}
STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;color:#14213d;max-width:70rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%;table-layout:fixed}td,th{text-align:left;padding:.25rem .6rem;"
    "border-bottom:1px solid #c9d0db;overflow-wrap:anywhere;vertical-align:top;white-space:pre-wrap}"
    "tr.other td{background:#fdf0e6;font-weight:600}tr.unknown td{color:#5b6577;font-style:italic}"
    "small,summary{font-weight:400;color:#5b6577}summary{cursor:pointer;margin:.4rem 0}"
)
