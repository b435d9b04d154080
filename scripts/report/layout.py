"""A page and the text on it: title, badge, footer, number. Sizes in inches on a 16:9 page."""

from __future__ import annotations

from collections.abc import Sequence

from pptx.dml.color import RGBColor
from pptx.enum.shapes import MSO_SHAPE
from pptx.enum.text import MSO_ANCHOR, PP_ALIGN
from pptx.oxml.ns import qn
from pptx.oxml.xmlchemy import OxmlElement
from pptx.presentation import Presentation as Deck
from pptx.shapes.autoshape import Shape
from pptx.slide import Slide
from pptx.text.text import TextFrame
from pptx.util import Inches, Pt

from report import fit
from report.document import WIDTH
from report.theme import BLUE, INK, LINE, MUTED, ORANGE

LEFT, RIGHT = 0.55, WIDTH - 0.55
ROOM = RIGHT - LEFT
TOP, BOTTOM = 1.3, 6.9  # of what is between title and footer
INSET = 0.1  # inside cells and boxes, left and right
BULLET = 0.2  # what a bullet takes


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
