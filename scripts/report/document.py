"""The file of a deck: an empty one in this project's colours, and writing it so that it repeats."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime
from pathlib import Path

from lxml import etree
from pptx import Presentation
from pptx.opc.constants import RELATIONSHIP_TYPE as RT
from pptx.oxml.ns import qn
from pptx.presentation import Presentation as Deck
from pptx.util import Emu, Inches

from common.files import written_whole
from report.theme import BLUE, GREEN, INK, MUTED, ORANGE, PANEL, PURPLE, VERMILLION

WIDTH, HEIGHT = 13.333, 7.5  # inches, 16:9
FONT = "Arial"
NO_TIME = datetime(1980, 1, 1)  # of files and properties: the same run makes the same bytes


def new_deck(title: str, author: str) -> Deck:
    """An empty 16:9 deck in the colours of the figures."""
    deck = Presentation()
    stretch = Inches(WIDTH) / deck.slide_width
    deck.slide_width, deck.slide_height = Inches(WIDTH), Inches(HEIGHT)
    master = deck.slide_master
    for layout in list(deck.slide_layouts):
        if layout.name not in ("Title Slide", "Title Only"):
            deck.slide_layouts.remove(layout)
    for shape in [*master.shapes, *(shape for layout in deck.slide_layouts for shape in layout.shapes)]:
        if shape.element.find(f".//{qn('a:xfrm')}") is not None:
            shape.left, shape.width = Emu(int(shape.left * stretch)), Emu(int(shape.width * stretch))
    theme = master.part.part_related_by(RT.THEME)
    theme._blob = themed(theme.blob)
    # The template's own preview picture and printer settings are not this deck's.
    drop(deck.part.package, RT.THUMBNAIL)
    drop(master.part, RT.PRINTER_SETTINGS)
    drop(deck.part, RT.PRINTER_SETTINGS)
    properties = deck.core_properties
    properties.title, properties.author, properties.last_modified_by = title, author, author
    properties.created = properties.modified = NO_TIME
    properties.revision = 1
    return deck


def drop(part: object, kind: str) -> None:
    """Remove a relationship that the template came with."""
    rels = part._rels
    for name in [name for name, rel in rels.items() if rel.reltype == kind]:
        rels.pop(name)


def themed(blob: bytes) -> bytes:
    """A theme in this project's colours and font, so that what a person adds to the deck matches it."""
    colours = {"dk2": INK, "lt2": PANEL, "accent1": BLUE, "accent2": VERMILLION, "accent3": GREEN}
    colours |= {"accent4": PURPLE, "accent5": ORANGE, "accent6": MUTED}
    tree = etree.fromstring(blob)
    for name, colour in colours.items():
        tree.find(f".//{qn(f'a:{name}')}/{qn('a:srgbClr')}").set("val", colour.lstrip("#"))
    for latin in tree.iterfind(f".//{qn('a:fontScheme')}/*/{qn('a:latin')}"):
        latin.set("typeface", FONT)
    return etree.tostring(tree, xml_declaration=True, encoding="UTF-8", standalone=True)


def save(deck: Deck, path: Path) -> None:
    """Write the deck; the same slides give the same bytes, whenever they are written."""
    buffer = io.BytesIO()
    deck.save(buffer)
    with (
        written_whole(path) as partial,
        zipfile.ZipFile(buffer) as made,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in made.namelist():
            entry = zipfile.ZipInfo(name, date_time=NO_TIME.timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            archive.writestr(entry, made.read(name))
