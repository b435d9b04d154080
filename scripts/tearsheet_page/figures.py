"""Figures inside the page, as data: URLs of images, in which nothing can run and whose names cannot clash."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from common.errors import InputError
from report.theme import EVIDENCE_KEY, METRICS_KEY
from tearsheet_page.markup import Markup, element

# An SVG stays sharp at any size, but one with many marks is larger than its picture.
LARGEST_SVG = 400_000
PNG_START = b"\x89PNG\r\n\x1a\n"
# Title, and what a reader who does not see the figure is told; the numbers themselves stand in the tables.
TITLES = {
    "equity_curve": ("Equity", "Lines: the capital of each strategy at every hour."),
    "drawdown": ("Drawdown", "Lines: the loss of each strategy since its highest capital so far, at every hour."),
    "decisions": ("Decisions", "The price with the model's decisions, and their shares over time."),
    "training": ("Training", "Lines: reward, invalid answers and other measures over the training iterations."),
    "null_distribution": (
        "Exposure-matched chance",
        "Histogram: total returns of rearrangements of the model's positions, with the model marked.",
    ),
    "bootstrap_fan": ("Bootstrap", "Bands: percentiles of the capital over the bootstrap paths, with the model's own."),
    "cost_latency": ("Costs and latency", "Surface: total return over trading costs and latency."),
    "leverage": ("Leverage", "Lines: total return of each strategy over leverage."),
}
# Drawn for a whole line of the page; two of the others stand beside one another.
WIDE = frozenset({"equity_curve", "drawdown", "decisions", "training"})
_BETWEEN = re.compile(rb">\s+<")
_SPACE = re.compile(rb"[ \t\r\n]+")
_NOT_SHOWN = re.compile(rb"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", re.DOTALL)


def read_figures(paths: Sequence[Path], made_of: Mapping[str, str]) -> dict[Path, bytes]:
    """The files, checked.

    Parameters
    ----------
    made_of
        ``METRICS_KEY`` and ``EVIDENCE_KEY`` to the SHA-256 of the files that the figures must have been drawn of.

    Raises
    ------
    InputError
        If a file is missing, is no SVG or PNG, or was drawn of other files.
    """
    found = {}
    for path in paths:
        try:
            found[path] = path.read_bytes()
        except FileNotFoundError:
            raise InputError(f"{path}: no such file. Run plot.") from None
        check_drawn_of(found[path], path, made_of)
    return found


def figures(files: Mapping[Path, bytes]) -> Markup:
    """All figures in the order given; of an SVG and a PNG of the same name one."""
    chosen: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        chosen.setdefault(path.stem, {})[path.suffix.lower()] = content
    return element("div", *(_figure(name, kinds) for name, kinds in chosen.items()), class_="figures")


def _figure(name: str, kinds: Mapping[str, bytes]) -> Markup:
    svg, png = kinds.get(".svg"), kinds.get(".png")
    address = svg_address(svg) if svg else ""
    if png and (not svg or len(address) > LARGEST_SVG):
        address = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    title, says = TITLES.get(name, (name.replace("_", " ").capitalize(), ""))
    picture = element("img", src=address, alt=f"{title}. {says}".strip())
    words = element("figcaption", element("b", f"{title}."), f" {says}")
    return element("figure", picture, words, class_="wide" if name in WIDE else None)


def svg_address(content: bytes) -> str:
    """An SVG as a data: URL, without comments, metadata and needless space."""
    kept = _BETWEEN.sub(b"><", _SPACE.sub(b" ", _NOT_SHOWN.sub(b"", content))).strip()
    # What HTML would escape and what ends an address is written as %xx; the rest stays short.
    return "data:image/svg+xml," + quote(kept, safe=" /:;=,()!?@$*+[]{}|")


def check_drawn_of(content: bytes, path: Path, made_of: Mapping[str, str]) -> None:
    """Refuse what is no figure, or says that it was drawn of another metrics.json or evidence.json."""
    notes = _png_notes(content) if path.suffix.lower() == ".png" else _svg_notes(content)
    if notes is None:
        raise InputError(f"{path}: not an SVG or PNG picture, or cut short. Run plot again.")
    for key, expected in made_of.items():
        file = "metrics.json" if key == METRICS_KEY else "evidence.json"
        if key in notes and notes[key] != expected:
            raise InputError(f"{path}: was drawn of another {file}. Run plot again.")
    if path.suffix.lower() == ".png" and METRICS_KEY not in notes:
        raise InputError(f"{path}: does not say which metrics.json it was drawn of. Run plot again.")


def _png_notes(content: bytes) -> dict[str, str] | None:
    """Text entries of a PNG; None if it is none or has no end."""
    if not content.startswith(PNG_START):
        return None
    notes, place = {}, len(PNG_START)
    while place + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        data = content[place + 8 : place + 8 + length]
        if kind == b"IEND":
            return notes
        if kind == b"tEXt":
            key, _, value = data.partition(b"\0")
            notes[key.decode("latin-1")] = value.decode("latin-1")
        place += length + 12
    return None


def _svg_notes(content: bytes) -> dict[str, str] | None:
    """The files that an SVG names in its metadata; None if it is none or has no end."""
    if b"<svg" not in content[:2000] or not content.rstrip().endswith(b"</svg>"):
        return None
    found = re.findall(rf"({METRICS_KEY}|{EVIDENCE_KEY})\W{{1,3}}([0-9a-f]{{64}})".encode(), content)
    return {key.decode(): value.decode() for key, value in found}
