"""Parts of a slide: title, table, box, picture, flow, notes. Sizes in inches on a 16:9 page."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from lxml import etree
from pptx import Presentation
from pptx.dml.color import RGBColor
from pptx.enum.shapes import MSO_SHAPE
from pptx.enum.text import MSO_ANCHOR, PP_ALIGN
from pptx.opc.constants import RELATIONSHIP_TYPE as RT
from pptx.oxml.ns import qn
from pptx.oxml.xmlchemy import OxmlElement
from pptx.presentation import Presentation as Deck
from pptx.shapes.autoshape import Shape
from pptx.slide import Slide
from pptx.text.text import TextFrame
from pptx.util import Emu, Inches, Pt

from common.files import written_whole
from report import fit
from report.sources import Fact
from report.theme import BLUE, GREEN, INK, LINE, MUTED, ORANGE, PANEL, PURPLE, VERMILLION, WHITE

WIDTH, HEIGHT = 13.333, 7.5
LEFT, RIGHT = 0.55, WIDTH - 0.55
ROOM = RIGHT - LEFT
TOP, BOTTOM = 1.3, 6.9  # of what is between title and footer
FONT = "Arial"
INSET = 0.1  # inside cells and boxes, at every side
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
            shape.top, shape.height = (Emu(int(length * HEIGHT / 7.5)) for length in (shape.top, shape.height))
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


# Text ---------------------------------------------------------------------------------------------------------


def colour(value: str) -> RGBColor:
    """A colour of the theme for python-pptx."""
    return RGBColor.from_string(value.lstrip("#"))


def write(
    frame: TextFrame,
    paragraphs: Sequence[str],
    size: float,
    ink: str = INK,
    bold: bool = False,
    bullets: bool = False,
    gap: float = 0.0,
    inset: float = INSET,
) -> None:
    """Fill a text frame with paragraphs of one kind, `gap` points apart."""
    frame.word_wrap = True
    frame.margin_left = frame.margin_right = frame.margin_top = frame.margin_bottom = Inches(inset)
    for number, text in enumerate(paragraphs):
        paragraph = frame.paragraphs[0] if number == 0 else frame.add_paragraph()
        run = paragraph.add_run()
        run.text = text
        style(run.font, size, ink, bold)
        if number:
            paragraph.space_before = Pt(gap)
        if bullets:
            bullet(paragraph)


def style(font: object, size: float, ink: str, bold: bool) -> None:
    """Size, colour and weight of a run."""
    font.size, font.bold = Pt(size), bold
    font.color.rgb = colour(ink)


BULLET = 0.2  # inches that a bullet takes


def bullet(paragraph: object) -> None:
    """Set a real bullet with a hanging indent."""
    properties = paragraph._p.get_or_add_pPr()
    properties.set("marL", str(Inches(BULLET)))
    properties.set("indent", str(-Inches(BULLET)))
    mark = OxmlElement("a:buChar")
    mark.set("char", "•")
    properties.append(mark)


def text_box(
    slide: Slide,
    text: str,
    left: float,
    top: float,
    wide: float,
    tall: float,
    size: float,
    ink: str,
    bold: bool = False,
) -> Shape:
    """A line or paragraph of text without a frame."""
    box = slide.shapes.add_textbox(Inches(left), Inches(top), Inches(wide), Inches(tall))
    box.text_frame.vertical_anchor = MSO_ANCHOR.MIDDLE
    write(box.text_frame, [text], size, ink, bold, inset=0)
    return box


# Parts --------------------------------------------------------------------------------------------------------


def content_slide(deck: Deck, title: str, footer: str, badge: str) -> Slide:
    """A slide with its title, a footer, its number and, if any, a badge at the top right."""
    slide = deck.slides.add_slide(next(layout for layout in deck.slide_layouts if layout.name == "Title Only"))
    remove_placeholders(slide, keep=slide.shapes.title)
    slot = slide.shapes.title
    badge_wide = fit.width(badge, 11, bold=True) + 0.4 if badge else 0.0
    room = ROOM - (badge_wide + 0.3 if badge else 0.0) - 0.22
    place(slot, LEFT + 0.22, 0.4, room, 0.62)
    slot.text_frame.vertical_anchor = MSO_ANCHOR.MIDDLE
    write(slot.text_frame, [title], fit.largest(title, (28, 24, 20, 16, 13), room, 0.62, bold=True), bold=True, inset=0)
    slot.text_frame.paragraphs[0].alignment = PP_ALIGN.LEFT
    bar(slide, LEFT, 0.4, 0.09, 0.62, BLUE)
    if badge:
        pill = slide.shapes.add_shape(
            MSO_SHAPE.ROUNDED_RECTANGLE, Inches(RIGHT - badge_wide), Inches(0.53), Inches(badge_wide), Inches(0.36)
        )
        plain(pill, ORANGE)
        pill.adjustments[0] = 0.5
        pill.text_frame.vertical_anchor = MSO_ANCHOR.MIDDLE
        write(pill.text_frame, [badge], 11, INK, bold=True, inset=0)
        pill.text_frame.word_wrap = False
        pill.text_frame.paragraphs[0].alignment = PP_ALIGN.CENTER
    bar(slide, LEFT, 7.0, ROOM, 0.012, LINE)
    text_box(slide, footer, LEFT, 7.06, ROOM - 1, 0.28, fit.largest(footer, (10, 9, 8, 7), ROOM - 1, 0.2), MUTED)
    slide_number(slide)
    return slide


def remove_placeholders(slide: Slide, keep: Shape) -> None:
    """Remove the empty placeholders that a layout brought along."""
    for shape in list(slide.placeholders):
        if shape.shape_id != keep.shape_id:
            shape.element.getparent().remove(shape.element)


def place(shape: Shape, left: float, top: float, wide: float, tall: float) -> None:
    """Put a shape somewhere."""
    shape.left, shape.top, shape.width, shape.height = (Inches(length) for length in (left, top, wide, tall))


def plain(shape: Shape, fill: str) -> None:
    """One colour, no outline, no shadow."""
    shape.fill.solid()
    shape.fill.fore_color.rgb = colour(fill)
    shape.line.fill.background()
    # The template's style adds a shadow that an empty effect list does not remove everywhere.
    shape._element.remove(shape._element.find(qn("p:style")))


def bar(slide: Slide, left: float, top: float, wide: float, tall: float, fill: str) -> Shape:
    """A filled rectangle."""
    shape = slide.shapes.add_shape(MSO_SHAPE.RECTANGLE, *(Inches(length) for length in (left, top, wide, tall)))
    plain(shape, fill)
    return shape


def slide_number(slide: Slide) -> None:
    """The slide's number at the bottom right, as a field that follows when slides are moved."""
    box = slide.shapes.add_textbox(Inches(RIGHT - 0.8), Inches(7.06), Inches(0.8), Inches(0.28))
    box.name = "Slide number"
    box.text_frame.vertical_anchor = MSO_ANCHOR.MIDDLE
    write(box.text_frame, [""], 10, MUTED, inset=0)
    paragraph = box.text_frame.paragraphs[0]
    paragraph.alignment = PP_ALIGN.RIGHT
    run = paragraph._p.find(qn("a:r"))
    field = OxmlElement("a:fld")
    field.set("id", "{B6F15528-21DE-4FAA-801E-634DDDAF4B2B}")
    field.set("type", "slidenum")
    for child in list(run):
        field.append(child)
    field.find(qn("a:t")).text = str(len(slide.part.package.presentation_part.presentation.slides))
    paragraph._p.replace(run, field)


def table(
    slide: Slide,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[float],
    top: float,
    tall: float,
    sizes: tuple[float, ...] = (16, 15, 14, 13, 12, 11, 10, 9),
    inks: Sequence[str] | None = None,
    strong: int | None = None,
    figures: Sequence[int] = (),
) -> float:
    """A native table in the largest of `sizes` that fits; gives where it ends.

    Parameters
    ----------
    header
        Titles of the columns, or empty for none.
    rows
        Cells; the first column is set in bold.
    tall
        Inches that it may take; where there is more room than text, rows grow a little to use it.
    inks
        Colour of the first cell of each row.
    strong
        Row to stand out.
    figures
        Columns of numbers, set to the right.
    """
    everything = [*([header] if header else []), *rows]

    def heights(size: float) -> list[float]:
        bold = [True, *[False] * (len(widths) - 1)]
        return [
            2 * INSET
            + max(
                fit.height(cell, size, wide - 2 * INSET, bold=first or (bool(header) and i == 0))
                for cell, wide, first in zip(row, widths, bold, strict=True)
            )
            for i, (number, row) in enumerate(enumerate(everything, start=-1 if header else 0))
        ]

    size = next((size for size in sizes if sum(heights(size)) <= tall), sizes[-1])
    made = heights(size)
    spare = min(0.22, max(0.0, tall - sum(made)) / len(made))
    made = [height + spare for height in made]
    shape = slide.shapes.add_table(
        len(everything), len(widths), Inches(LEFT), Inches(top), Inches(sum(widths)), Inches(sum(made))
    )
    grid = shape.table
    grid.first_row = bool(header)
    grid.horz_banding = False
    for column, wide in enumerate(widths):
        grid.columns[column].width = Inches(wide)
    for i, row in enumerate(everything):
        grid.rows[i].height = Inches(made[i])
        head = bool(header) and i == 0
        number = i - bool(header)
        for column, text in enumerate(row):
            cell = grid.cell(i, column)
            first = column == 0
            ink = WHITE if head else (inks[number] if inks and first else INK)
            cell.fill.solid()
            cell.fill.fore_color.rgb = colour(INK if head else "#E3EEF6" if number == strong else WHITE)
            cell.vertical_anchor = MSO_ANCHOR.MIDDLE
            write(cell.text_frame, [text], size, ink, bold=head or first)
            cell.margin_left = cell.margin_right = cell.margin_top = cell.margin_bottom = Inches(INSET)
            if column in figures:
                cell.text_frame.paragraphs[0].alignment = PP_ALIGN.RIGHT
            rule_below(cell)
    return top + sum(made)


def rule_below(cell: object) -> None:
    """A thin line below a cell, and none elsewhere."""
    properties = cell._tc.get_or_add_tcPr()
    fill = properties.find(qn("a:solidFill"))
    for side in ("a:lnL", "a:lnR", "a:lnT", "a:lnB"):
        line = OxmlElement(side)
        if side == "a:lnB":
            line.set("w", str(Pt(0.75)))
            solid = OxmlElement("a:solidFill")
            tint = OxmlElement("a:srgbClr")
            tint.set("val", LINE.lstrip("#"))
            solid.append(tint)
            line.append(solid)
        else:
            line.set("w", "0")
            line.append(OxmlElement("a:noFill"))
        fill.addprevious(line)


def box(
    slide: Slide,
    heading: str,
    facts: Sequence[Fact],
    left: float,
    top: float,
    wide: float,
    tall: float,
    accent: str,
    size: float | None = None,
) -> None:
    """A shaded box with a heading and one bullet a fact, an accent bar at its left."""
    texts = [fact.text for fact in facts]
    size = size or box_size(facts, wide, tall)
    bar(slide, left, top, 0.07, tall, accent)
    shape = bar(slide, left + 0.07, top, wide - 0.07, tall, PANEL)
    frame = shape.text_frame
    frame.vertical_anchor = MSO_ANCHOR.TOP
    write(frame, [heading], size + 1, accent, bold=True, inset=BOX_INSET)
    for text in texts:
        paragraph = frame.add_paragraph()
        run = paragraph.add_run()
        run.text = text
        style(run.font, size, INK, bold=False)
        paragraph.space_before = Pt(BOX_GAP)
        bullet(paragraph)
    for paragraph in frame.paragraphs:
        paragraph.alignment = PP_ALIGN.LEFT


BOX_INSET, BOX_GAP = 0.16, 5.0
BOX_SIZES = (16, 15, 14, 13, 12, 11, 10, 9, 8)


def box_size(facts: Sequence[Fact], wide: float, tall: float) -> float:
    """The largest size of letters at which a box's facts fit."""
    room = wide - 0.07 - 2 * BOX_INSET

    def height(size: float) -> float:
        body = sum(fit.height(fact.text, size, room - BULLET) + BOX_GAP / 72 for fact in facts)
        return 2 * BOX_INSET + fit.height("Heading", size + 1, room, bold=True) + body

    return next((size for size in BOX_SIZES if height(size) <= tall), BOX_SIZES[-1])


def picture(slide: Slide, path: Path, top: float, tall: float, description: str) -> None:
    """A picture as large as fits between the margins, with its description for those who cannot see it."""
    shape = slide.shapes.add_picture(str(path), 0, 0)
    scale = min(Inches(ROOM) / shape.width, Inches(tall) / shape.height)
    shape.width, shape.height = Emu(int(shape.width * scale)), Emu(int(shape.height * scale))
    shape.left = Emu((Inches(WIDTH) - shape.width) // 2)
    shape.top = Inches(top)
    shape.name = "Equity curve"
    shape._element.nvPicPr.cNvPr.set("descr", description)


def flow(slide: Slide, stages: Sequence[tuple[str, Fact]], top: float, tall: float) -> None:
    """Stages from left to right as arrows, each with what ran it."""
    wide = ROOM / len(stages)
    inner = wide - tall * 0.62  # what the arrow's notch and point leave
    details = [fact.text for _, fact in stages]
    size = min(fit.largest(text, (13, 12, 11, 10, 9, 8), inner, tall * 0.5) for text in details)
    for number, (name, fact) in enumerate(stages):
        kind = MSO_SHAPE.PENTAGON if number == 0 else MSO_SHAPE.CHEVRON
        shape = slide.shapes.add_shape(kind, Inches(LEFT + number * wide), Inches(top), Inches(wide), Inches(tall))
        plain(shape, INK)
        shape.adjustments[0] = 0.25
        frame = shape.text_frame
        frame.vertical_anchor = MSO_ANCHOR.MIDDLE
        write(frame, [name], size + 1, WHITE, bold=True, inset=0.02)
        paragraph = frame.add_paragraph()
        run = paragraph.add_run()
        run.text = fact.text
        style(run.font, size, "#D5DEEA", bold=False)
        for paragraph in frame.paragraphs:
            paragraph.alignment = PP_ALIGN.CENTER


def notes(slide: Slide, facts: Sequence[Fact]) -> None:
    """Speaker notes: each statement and the files and fields it was computed from."""
    lines = ["Where each statement comes from (files of this run, computed by scripts/deck.py):"]
    for fact in facts:
        text = re.sub(r"\s+", " ", fact.text)
        origin = "; ".join(fact.sources) or "fixed wording, no figure in it"
        lines.append(f"- {text} [{origin}]")
    slide.notes_slide.notes_text_frame.text = "\n".join(lines)
