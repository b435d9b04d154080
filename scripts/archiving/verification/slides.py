"""What a PowerPoint file shows: paragraphs, pictures and speaker notes of each slide."""

from __future__ import annotations

import hashlib
import io
import posixpath
import re
import zipfile
from dataclasses import dataclass
from xml.etree import ElementTree

from archiving.verification.container import ArchiveError

DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
PRESENTATION = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
CREATOR = "{http://purl.org/dc/elements/1.1/}creator"
RELATIONS = "{http://schemas.openxmlformats.org/package/2006/relationships}"


NO_ROW = -1


@dataclass(frozen=True)
class Slide:
    """One slide.

    Attributes
    ----------
    texts, rows
        Its paragraphs; and for each the number of the table's row that it stands in, ``NO_ROW`` if in none.
    pictures
        SHA-256 of each.
    notes
        Paragraphs of the speaker notes.
    described
        What is said of the pictures to those who cannot see them.
    author
        Of the deck, by its properties.
    """

    number: int
    texts: list[str]
    rows: list[int]
    pictures: list[str]
    notes: list[str]
    described: list[str]
    author: str = ""


def read_slides(name: str, blob: bytes) -> list[Slide]:
    """The slides in their order; ArchiveError if the file is no PowerPoint file.

    Parameters
    ----------
    name
        Of the file, for messages.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as deck:
            names = [n for n in deck.namelist() if re.fullmatch(r"ppt/slides/slide\d+\.xml", n)]
            names.sort(key=lambda n: int(re.findall(r"\d+", n)[0]))
            author = _tree(deck, "docProps/core.xml").findtext(CREATOR) or ""
            return [_slide(deck, number, n, author) for number, n in enumerate(names, start=1)]
    except (zipfile.BadZipFile, KeyError, ElementTree.ParseError, EOFError, NotImplementedError) as error:
        raise ArchiveError(f"{name}: no readable PowerPoint file ({error})") from None


def _slide(deck: zipfile.ZipFile, number: int, name: str, author: str) -> Slide:
    folder, file = posixpath.split(name)
    pictures, notes = [], []
    for relation in _tree(deck, f"{folder}/_rels/{file}.rels").iter(f"{RELATIONS}Relationship"):
        target = posixpath.normpath(posixpath.join(folder, relation.get("Target", "")))
        kind = relation.get("Type", "").rsplit("/", 1)[-1]
        if kind == "image":
            pictures.append(hashlib.sha256(deck.read(target)).hexdigest())
        elif kind == "notesSlide":
            notes = [text for text, _ in paragraphs(_tree(deck, target))]
    tree = _tree(deck, name)
    said = paragraphs(tree)
    shapes = (shape.get("descr") for shape in tree.iter(f"{PRESENTATION}cNvPr"))
    described = [" ".join(text.split()) for text in shapes if text]
    texts, rows = [text for text, _ in said], [row for _, row in said]
    return Slide(number, texts, rows, sorted(pictures), notes, described, author)


def _tree(deck: zipfile.ZipFile, name: str) -> ElementTree.Element:
    return ElementTree.fromstring(deck.read(name))


def paragraphs(tree: ElementTree.Element) -> list[tuple[str, int]]:
    """The text of each paragraph that has any, white space made plain, and the table's row that it stands in."""
    rows = {p: number for number, row in enumerate(tree.iter(f"{DRAWING}tr")) for p in row.iter(f"{DRAWING}p")}
    found = []
    for paragraph in tree.iter(f"{DRAWING}p"):
        parts = [(" " if part.tag == f"{DRAWING}br" else part.text or "") for part in paragraph.iter() if _says(part)]
        text = " ".join("".join(parts).split())
        if text:
            found.append((text, rows.get(paragraph, NO_ROW)))
    return found


def _says(part: ElementTree.Element) -> bool:
    return part.tag in (f"{DRAWING}t", f"{DRAWING}br")
