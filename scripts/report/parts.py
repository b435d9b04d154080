"""Parts of a slide: table, box of statements, picture, flow of stages, speaker notes. Sizes in inches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pptx.enum.shapes import MSO_SHAPE
from pptx.enum.text import MSO_ANCHOR, PP_ALIGN
from pptx.oxml.ns import qn
from pptx.oxml.xmlchemy import OxmlElement
from pptx.slide import Slide
from pptx.util import Emu, Inches, Pt

from report import fit
from report.layout import BOTTOM, BULLET, INSET, LEFT, ROOM, bar, bullet, colour, plain, style, write
from report.sources import Fact
from report.theme import INK, LINE, PANEL, WHITE

CELL = 0.06  # inside cells, above and below
BOX_INSET, BOX_GAP = 0.16, 5.0  # inches, points
BOX_SIZES = (16, 15, 14, 13, 12, 11, 10, 9, 8)


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
            2 * CELL
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
            cell.margin_left = cell.margin_right = Inches(INSET)
            cell.margin_top = cell.margin_bottom = Inches(CELL)
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


def two_boxes(
    slide: Slide,
    headings: tuple[str, str],
    facts: tuple[Sequence[Fact], Sequence[Fact]],
    top: float,
    accents: tuple[str, str],
) -> None:
    """Two boxes side by side from `top` to the bottom, letters of one size, wider where there is more to say."""
    letters = [sum(len(fact.text) for fact in group) for group in facts]
    room, tall = ROOM - 0.25, BOTTOM - top
    widths = [room * min(max(letters[0] / sum(letters), 0.4), 0.6)]
    widths.append(room - widths[0])
    size = min(box_size(group, wide, tall) for group, wide in zip(facts, widths, strict=True))
    box(slide, headings[0], facts[0], LEFT, top, widths[0], tall, accents[0], size)
    box(slide, headings[1], facts[1], LEFT + widths[0] + 0.25, top, widths[1], tall, accents[1], size)


def box_size(facts: Sequence[Fact], wide: float, tall: float) -> float:
    """The largest size of letters at which a box's facts fit."""
    room = wide - 0.07 - 2 * BOX_INSET

    def height(size: float) -> float:
        body = sum(fit.height(fact.text, size, room - BULLET) + BOX_GAP / 72 for fact in facts)
        return 2 * BOX_INSET + fit.height("Heading", size + 1, room, bold=True) + body

    return next((size for size in BOX_SIZES if height(size) <= tall), BOX_SIZES[-1])


def picture(
    slide: Slide, path: Path, left: float, top: float, wide: float, tall: float, name: str, description: str
) -> None:
    """A picture as large as fits into a place, in its middle, with its description for those who cannot see it."""
    shape = slide.shapes.add_picture(str(path), 0, 0)
    scale = min(Inches(wide) / shape.width, Inches(tall) / shape.height)
    shape.width, shape.height = Emu(int(shape.width * scale)), Emu(int(shape.height * scale))
    shape.left = Inches(left) + Emu((Inches(wide) - shape.width) // 2)
    shape.top = Inches(top) + Emu((Inches(tall) - shape.height) // 2)
    shape.name = name
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
    """Add to the speaker notes each statement and the files and fields it was computed from."""
    frame = slide.notes_slide.notes_text_frame
    lines = [frame.text or "Where each statement comes from (files of this run, computed by scripts/deck.py):"]
    for fact in facts:
        text = re.sub(r"\s+", " ", fact.text)
        origin = "; ".join(fact.sources) or "fixed wording, no figure in it"
        lines.append(f"- {text} [{origin}]")
    frame.text = "\n".join(lines)
