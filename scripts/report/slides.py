"""The first six slides, in their order: what `content` says, set with the parts of `layout`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pptx.enum.text import MSO_ANCHOR, PP_ALIGN
from pptx.presentation import Presentation as Deck
from pptx.slide import Slide

from report import fit, layout, parts, wording
from report.content import Content
from report.layout import BOTTOM, LEFT, ROOM, TOP
from report.sources import Fact
from report.statements import Row, Statements
from report.theme import BLUE, INK, MUTED, ORANGE, STRATEGY, VERMILLION, WHITE

SUBTITLE = "Model Validation & Performance Report"


@dataclass(frozen=True)
class Pictures:
    """PNG files that plot drew."""

    equity_curve: Path
    null_distribution: Path
    bootstrap_fan: Path
    cost_latency: Path
    leverage: Path


def published_slides(deck: Deck, content: Content, equity_curve: Path, author: str) -> None:
    """Add the six slides of the published deck."""
    title_slide(deck, content, content.title(), author)
    rows_slide(deck, content, "Methodology (Training)", content.training())
    rows_slide(deck, content, "Methodology (Evaluation)", content.evaluation())
    results_slide(deck, content)
    picture_slide(deck, content, equity_curve)
    conclusion_slide(deck, content)


def page(deck: Deck, content: Statements, title: str) -> Slide:
    """A slide with the deck's footer and, on a synthetic market, its badge."""
    heading, footer = content.heading(title), content.footer()
    slide = layout.content_slide(deck, heading.text, footer.text, badge=wording.badge(content.market))
    parts.notes(slide, [heading, footer])
    return slide


def title_slide(deck: Deck, content: Content, title: Fact, author: str) -> None:
    """Title, subtitle, and what was run."""
    slide = deck.slides.add_slide(next(layout for layout in deck.slide_layouts if layout.name == "Title Slide"))
    fill = slide.background.fill
    fill.solid()
    fill.fore_color.rgb = layout.colour(INK)
    heading, subtitle = slide.shapes.title, slide.placeholders[1]
    wide, left = ROOM - 0.6, LEFT + 0.6
    size = fit.largest(title.text, (44, 40, 36, 32, 28, 24, 20), wide, 1.6, bold=True)
    tall = fit.height(title.text, size, wide, bold=True)
    layout.place(heading, left, 3.2 - tall, wide, tall)
    layout.place(subtitle, left, 3.35, wide, 0.6)
    for shape in (heading, subtitle):
        shape.text_frame.vertical_anchor = MSO_ANCHOR.MIDDLE
    layout.write(heading.text_frame, [title.text], size, WHITE, bold=True, inset=0)
    layout.write(subtitle.text_frame, [SUBTITLE], 22, "#B8C7DB", inset=0)
    line = content.title_line()
    size = fit.largest(line.text, (16, 14, 12, 10), wide, 0.75)
    layout.text_box(slide, line.text, left, 4.75, wide, 0.8, size, "#DCE4EE")
    nature = content.nature()
    size = fit.largest(nature.text, (14, 13, 12, 11, 10), wide, 0.6)
    layout.text_box(
        slide, nature.text, left, 5.7, wide, 0.65, size, "#F2C14E" if content.market["synthetic"] else "#DCE4EE"
    )
    if author:
        layout.text_box(slide, author, left, 6.6, wide, 0.35, 14, "#B8C7DB")
    layout.bar(slide, left, 4.35, 1.6, 0.05, ORANGE)
    layout.bar(slide, LEFT, 3.2 - tall, 0.12, 3.15 + tall, BLUE)
    for shape in (heading, subtitle):
        shape.text_frame.paragraphs[0].alignment = PP_ALIGN.LEFT
    parts.notes(slide, [title, line, nature])


def rows_slide(deck: Deck, content: Content, title: str, rows: list[Row]) -> None:
    """A table of what was done and how."""
    slide = page(deck, content, title)
    cells = [(row.label, row.fact.text) for row in rows]
    parts.table(slide, (), cells, (2.75, ROOM - 2.75), TOP, BOTTOM - TOP - 0.15, inks=[BLUE] * len(rows))
    parts.notes(slide, [row.fact for row in rows])


def results_slide(deck: Deck, content: Content) -> None:
    """The table of the strategies, what it says, and how to read it."""
    slide = page(deck, content, f"Results ({content.leverage} leverage)")
    rows = content.table()
    header = ("Strategy", "Total return", "Final capital", "Max drawdown", "Invalid answers", "Key characteristic")
    widths = (2.45, 1.4, 1.4, 1.6, 1.65)
    keys = [key for key, _ in rows]
    end = parts.table(
        slide, header, [[fact.text for fact in cells] for _, cells in rows], (*widths, ROOM - sum(widths)), TOP, 2.6,
        sizes=(13, 12, 11, 10, 9), inks=[STRATEGY[key] for key in keys], strong=keys.index("trained"),
        figures=(1, 2, 3),
    )  # fmt: skip
    insight, caution = content.insight(), content.caution()
    parts.two_boxes(slide, ("Key insight", "Read with care"), (insight, caution), end + 0.2, (BLUE, VERMILLION))
    parts.notes(slide, [*(fact for _, cells in rows for fact in cells), *insight, *caution])


def picture_slide(deck: Deck, content: Content, equity_curve: Path) -> None:
    """The equity curves."""
    slide = page(deck, content, "Visual verification")
    caption = content.caption()
    equity = content.metrics.replace("metrics.json", "equity.csv")
    seen = Fact(f"Equity of all strategies over time. {caption.text}", (*caption.sources, equity))
    parts.picture(slide, equity_curve, LEFT, 1.15, ROOM, 5.3, "Equity curve", seen.text)
    size = fit.largest(caption.text, (14, 13, 12, 11, 10, 9), ROOM, 0.3)
    layout.text_box(slide, caption.text, LEFT, 6.52, ROOM, 0.4, size, MUTED)
    parts.notes(slide, [seen, caption])


def conclusion_slide(deck: Deck, content: Content) -> None:
    """What ran, what it shows, and what it does not."""
    slide = page(deck, content, "Conclusion")
    stages, shown, missing = content.stages(), content.shown(), content.not_shown()
    parts.flow(slide, stages, TOP, 0.95)
    headings = ("What this run shows", "What it does not show")
    parts.two_boxes(slide, headings, (shown, missing), TOP + 1.2, (BLUE, VERMILLION))
    parts.notes(slide, [*(fact for _, fact in stages), *shown, *missing])
