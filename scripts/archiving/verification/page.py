"""A tearsheet's own word on what it was made of: each SHA-256 must be that of the file in the archive."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

SECTION = re.compile(r"<summary>This page</summary>(.*?)</details>", re.DOTALL)
INPUT = re.compile(r'<th scope="row">([^<]*)</th><td>([0-9a-f]{64})</td>')
# Its own role to the file; "{here}" is the folder of the leverage.
PAGE_ROLES = {
    "metrics": "{here}/metrics.json",
    "evidence": "{here}/evidence.json",
    "equity": "{here}/equity.csv",
    "trades": "{here}/trades.csv",
    "decisions": "infer/trained/decisions.jsonl",
    "market": "market/summary.json",
    "inference": "infer/trained/summary.json",
    "manifest": "train/checkpoint.json",
}


def page_problems(name: str, text: str, digests: Mapping[str, str]) -> tuple[list[str], int]:
    """Problems, one line each, and how many hashes were compared.

    Parameters
    ----------
    name
        Of the page, below the results.
    digests
        SHA-256 of all results by name.
    """
    here = name.rpartition("/")[0]
    section = SECTION.search(text)
    rows = {html.unescape(role): sha for role, sha in INPUT.findall(section[1] if section else "")}
    made_of = {place.format(here=here): rows.pop(role, "") for role, place in PAGE_ROLES.items()}
    figures = {role.removeprefix("figure ").replace(" ", "_"): sha for role, sha in rows.items()}
    made_of |= {f"{here}/{figure}": sha for figure, sha in figures.items()}
    problems = [
        f"data/results/{name}: {'was made of another' if sha else 'does not say that it was made of'} {place}"
        for place, sha in made_of.items()
        if digests.get(place) != sha
    ]
    return problems, len(made_of)
