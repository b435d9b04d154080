"""How the slides are laid out: nothing overlaps or leaves the page, and how LibreOffice renders them."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from pptx.slide import Slide
from pptx.util import Inches
from report_runs import KINDS, VERDICTS, Shelf, made

from common.files import read_json
from report import fit

Words = list[tuple[str, float, float, float, float]]
RENDERED = ("strong", "chance", "constant", "wiped out", "long names", "costly")


@pytest.fixture(scope="module")
def decks(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("decks"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_runs_are_of_the_kinds_that_they_are_called(decks: Shelf, kind: str) -> None:
    verdict = read_json(decks[kind][0].folder / "leverage-2/evidence.json")["verdict"]
    assert verdict["kind"] == VERDICTS[kind]


def overlaps(slide: Slide, wide: int, tall: int) -> list[tuple[str, str]]:
    """Pairs of shapes that overlap, and shapes that leave the page."""
    boxes = [(s.name, s.left, s.top, s.left + s.width, s.top + s.height) for s in slide.shapes]
    found = []
    for number, (name, left, top, right, bottom) in enumerate(boxes):
        if min(left, top) < 0 or right > wide or bottom > tall:
            found.append((name, "page"))
        for other, l2, t2, r2, b2 in boxes[:number]:
            apart = 2000  # EMU, rounding: 0.05 mm
            if min(right, r2) - max(left, l2) > apart and min(bottom, b2) - max(top, t2) > apart:
                found.append((name, other))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_stay_on_the_slide_and_do_not_overlap(decks: Shelf, kind: str) -> None:
    _, slides = decks[kind]
    assert len(slides.slides) == 9
    for slide in slides.slides:
        assert overlaps(slide, slides.slide_width, slides.slide_height) == [], slide.shapes.title.text


def test_the_control_finds_shapes_that_overlap(tmp_path: Path) -> None:
    _, slides = made(tmp_path)
    slide = slides.slides[7]
    next(shape for shape in slide.shapes if shape.name == "Null distribution").left -= Inches(1)
    assert overlaps(slide, slides.slide_width, slides.slide_height)


def test_the_pictures_keep_their_proportions_and_have_descriptions(decks: Shelf) -> None:
    _, slides = decks["planted"]
    found = {s.name: s for slide in slides.slides for s in slide.shapes if s.shape_type == 13}
    assert list(found) == ["Equity curve", "Bootstrap fan", "Null distribution", "Costs and latency", "Leverage"]
    for picture in found.values():
        wide, tall = picture.image.size
        assert picture.width / picture.height == pytest.approx(wide / tall, rel=2e-3)
        assert len(picture._element.nvPicPr.cNvPr.get("descr")) > 40


def test_text_is_broken_between_words() -> None:
    assert fit.lines("one two three", 12, 100) == 1
    assert fit.lines("one two three", 12, fit.width("one two", 12) + 0.01) == 2
    assert fit.lines("a\nb", 12, 100) == 2
    assert fit.lines("x" * 100, 12, fit.width("x" * 30, 12)) == 4


def test_the_largest_size_that_fits_is_taken() -> None:
    assert fit.largest("word", (30, 20, 10), 100, 0.4) == 20
    assert fit.largest("word " * 500, (30, 20, 10), 1, 0.1) == 10


# LibreOffice ----------------------------------------------------------------------------------------------

needs_office = pytest.mark.skipif(
    not (shutil.which("soffice") and shutil.which("pdftotext")),
    reason="LibreOffice Impress (soffice) or poppler-utils (pdftotext) is not installed",
)


def rendered(files: list[Path], folder: Path) -> list[list[Words]]:
    """Of each deck the words of each page with their boxes in inches, as LibreOffice sets them."""
    profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
    command = ["soffice", "--headless", profile, "--convert-to", "pdf", "--outdir", str(folder), *map(str, files)]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    return [words_of(folder / f"{file.stem}.pdf") for file in files]


def words_of(pdf: Path) -> list[Words]:
    """The words of each page of a PDF: text, left, top, right, bottom."""
    page = subprocess.run(["pdftotext", "-bbox", str(pdf), "-"], check=True, capture_output=True, text=True).stdout
    space = "{http://www.w3.org/1999/xhtml}"
    return [
        [
            (word.text or "", *(float(word.get(side)) / 72 for side in ("xMin", "yMin", "xMax", "yMax")))
            for word in sheet.iter(f"{space}word")
        ]
        for sheet in ET.fromstring(page).iter(f"{space}page")
    ]


def outside(slide: Slide, words: Words) -> list[str]:
    """The words that lie in none of the slide's places for text."""
    frames = text_frames(slide)
    found = []
    for text, left, top, right, bottom in words:
        slack = 0.03 + 0.1 * (bottom - top)  # a word's box has more than its letters above and below
        if not any(
            left >= l2 - slack and top >= t2 - slack and right <= r2 + slack and bottom <= b2 + slack
            for l2, t2, r2, b2 in frames
        ):
            found.append(text)
    return found


@pytest.fixture(scope="module")
def pages(decks: Shelf, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Words]]:
    folder = tmp_path_factory.mktemp("rendered")
    files = []
    for kind in RENDERED:
        files.append(folder / f"{kind.replace(' ', '-')}.pptx")
        decks[kind][1].save(str(files[-1]))
    return dict(zip(RENDERED, rendered(files, folder), strict=True))


@needs_office
@pytest.mark.parametrize("kind", RENDERED)
def test_rendered_text_stays_inside_its_shape(decks: Shelf, pages: dict[str, list[Words]], kind: str) -> None:
    assert len(pages[kind]) == 9
    for slide, words in zip(decks[kind][1].slides, pages[kind], strict=True):
        assert words
        assert outside(slide, words) == [], slide.shapes.title.text


@needs_office
@pytest.mark.parametrize(("number", "heading"), [(3, "Read with care"), (7, "Verdict")])
def test_the_control_finds_text_that_overflows(tmp_path: Path, number: int, heading: str) -> None:
    _, slides = made(tmp_path)
    for shape in slides.slides[number].shapes:
        if shape.has_text_frame and heading in shape.text_frame.text:
            shape.text_frame.paragraphs[1].runs[0].text *= 9
    file = tmp_path / "overflowing.pptx"
    slides.save(str(file))
    assert outside(slides.slides[number], rendered([file], tmp_path)[0][number])


def text_frames(slide: Slide) -> list[tuple[float, ...]]:
    """Box (left, top, right, bottom in inches) of each place where a slide has text; of a table, each cell."""
    inch = 914_400
    frames = []
    for shape in slide.shapes:
        if shape.has_table:
            top = shape.top
            for row in shape.table.rows:
                left = shape.left
                for column in shape.table.columns:
                    frames.append((left, top, left + column.width, top + row.height))
                    left += column.width
                top += row.height
        elif shape.has_text_frame and shape.text_frame.text:
            frames.append((shape.left, shape.top, shape.left + shape.width, shape.top + shape.height))
    return [tuple(side / inch for side in sides) for sides in frames]
