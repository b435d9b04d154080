"""The slides after the sixth: results with intervals, the tests, and what the result is sensitive to."""

from __future__ import annotations

from pptx.presentation import Presentation as Deck

from report import parts
from report.findings import Findings
from report.layout import BOTTOM, LEFT, ROOM, TOP
from report.slides import Pictures, page
from report.sources import Fact
from report.theme import BLUE, INK, STRATEGY, VERMILLION

GAP = 0.25


def tested_slides(deck: Deck, findings: Findings, pictures: Pictures) -> None:
    """Add slides 7 to 9."""
    intervals_slide(deck, findings, pictures)
    evidence_slide(deck, findings, pictures)
    sensitivity_slide(deck, findings, pictures)


def intervals_slide(deck: Deck, findings: Findings, pictures: Pictures) -> None:
    """Every strategy with the model's intervals and its lead; below the bootstrap."""
    slide = page(deck, findings, "Results with intervals")
    header, rows = findings.interval_header(), findings.intervals()
    keys = [key for key, _ in rows]
    widths = (2.6, 2.5, 2.05, 2.3)
    end = parts.table(
        slide, texts(header), [texts(cells) for _, cells in rows], (*widths, ROOM - sum(widths)), TOP, 2.75,
        sizes=(12, 11, 10, 9, 8), inks=[STRATEGY.get(key, INK) for key in keys], strong=keys.index("trained"),
    )  # fmt: skip
    top, tall = end + 0.15, BOTTOM - end - 0.15
    half = (ROOM - GAP) / 2
    reading = findings.reading()
    drawn = picture_fact("bootstrap of the equity", findings, "tests.bootstrap.fan")
    parts.picture(slide, pictures.bootstrap_fan, LEFT, top, half, tall, "Bootstrap fan", drawn.text)
    parts.box(slide, "How to read them", reading, LEFT + half + GAP, top, half, tall, BLUE)
    parts.notes(slide, [*header, *(fact for _, cells in rows for fact in cells), drawn, *reading])


def evidence_slide(deck: Deck, findings: Findings, pictures: Pictures) -> None:
    """The tests in a table, the null distribution and the verdict beside it."""
    slide = page(deck, findings, "Evidence")
    header, rows, verdicts = findings.test_header(), findings.test_rows(), findings.verdicts()
    wide = 7.0
    widths = (2.55, 1.65, 1.85, wide - 6.05)
    parts.table(
        slide, texts(header), [texts(cells) for cells in rows], widths, TOP, BOTTOM - TOP,
        sizes=(12, 11, 10, 9, 8), strong=0,
    )  # fmt: skip
    left, beside = LEFT + wide + GAP, ROOM - wide - GAP
    tall = 3.6
    drawn = picture_fact("null distribution", findings, "tests.exposure_matched_null.histogram")
    seen = Fact(f"{drawn.text} {verdicts[0].text}", (*drawn.sources, *verdicts[0].sources))
    parts.picture(slide, pictures.null_distribution, left, TOP, beside, tall, "Null distribution", seen.text)
    top = TOP + tall + 0.15
    parts.box(slide, "Verdict", verdicts, left, top, beside, BOTTOM - top, VERMILLION)
    parts.notes(slide, [*header, *(fact for cells in rows for fact in cells), seen, *verdicts])


def sensitivity_slide(deck: Deck, findings: Findings, pictures: Pictures) -> None:
    """Return over cost and latency, and over leverage; below what that says."""
    slide = page(deck, findings, "Sensitivity")
    half, tall = (ROOM - GAP) / 2, 4.0
    statements = findings.sensitivity()
    drawn = [
        picture_fact("map over cost and latency", findings, "tests.sensitivity.surface"),
        picture_fact("return over leverage", findings, "tests.sensitivity.leverage"),
    ]
    parts.picture(slide, pictures.cost_latency, LEFT, 1.15, half, tall, "Costs and latency", drawn[0].text)
    parts.picture(slide, pictures.leverage, LEFT + half + GAP, 1.15, half, tall, "Leverage", drawn[1].text)
    top = 1.15 + tall + 0.1
    parts.box(slide, "What the result depends on", statements, LEFT, top, ROOM, BOTTOM - top, BLUE)
    parts.notes(slide, [*drawn, *statements])


def texts(facts: list[Fact]) -> list[str]:
    """What stands in the cells."""
    return [fact.text for fact in facts]


def picture_fact(what: str, findings: Findings, field: str) -> Fact:
    """Where a picture comes from."""
    return findings.found(f"The picture ({what}) is drawn by scripts/plot.py.", field)
