"""The deck: order, tables, notes, wording, geometry, determinism, refusals, and how LibreOffice renders it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pptx import Presentation
from pptx.presentation import Presentation as Deck
from pptx.slide import Slide
from report_inputs import Run, edit_json, edit_lines, make_run, run_program

import deck
import simulate
from common.errors import InputError
from common.files import read_json, sha256
from report import fit
from report.theme import METRICS_KEY

TITLES = [
    "Tiny-Qwen3 Trading Evaluation",
    "Methodology (Training)",
    "Methodology (Evaluation)",
    "Results (2x leverage)",
    "Visual verification",
    "Conclusion",
]
FORBIDDEN = re.compile(r"alpha|\bedge\b|skill|outperform", re.IGNORECASE)
LONG = "Qwen3-4B-Thinking-2507-with-a-name-that-goes-on-and-on"
# Runs that stretch the slides in different ways.
KINDS: dict[str, dict[str, Any]] = {
    "planted": {},
    "null": {"signal": (0.0, 0.0, 0.0)},
    "real": {"synthetic": False, "source": "csv", "name": "BTC-USD, hourly closes of late 2025"},
    "long names": {"model": LONG, "name": "A market whose name somebody wrote as if it were a sentence of its own"},
}


def finished(folder: Path, **changes: Any) -> Run:
    """A run up to its figures."""
    run = make_run(folder, **changes)
    run_program(simulate.main, run.simulate)
    metrics = run.folder / "leverage-2/metrics.json"
    # A stand-in of the picture's size that says which metrics it is of: drawing it is another test's matter.
    stand_in(metrics)
    return run


def stand_in(metrics: Path) -> None:
    """A white picture beside `metrics` that says it is of them."""
    note = PngInfo()
    note.add_text(METRICS_KEY, sha256(metrics))
    Image.new("RGB", (1984, 880), "white").save(metrics.parent / "equity_curve.png", pnginfo=note)


def made(folder: Path, *more: Any, **changes: Any) -> tuple[Run, Deck]:
    run = finished(folder, **changes)
    run_program(deck.main, run.deck, *more)
    return run, Presentation(str(run.folder / "leverage-2/deck.pptx"))


def texts(slide: Slide) -> list[str]:
    """All text on a slide, cell by cell and paragraph by paragraph, without the slide's number."""
    found = []
    for shape in slide.shapes:
        if shape.has_table:
            found += [cell.text for row in shape.table.rows for cell in row.cells]
        elif shape.has_text_frame and shape.name != "Slide number":
            found += [paragraph.text for paragraph in shape.text_frame.paragraphs]
    return [text for text in found if text]


def notes(slide: Slide) -> str:
    return slide.notes_slide.notes_text_frame.text


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Deck]:
    return made(tmp_path_factory.mktemp("planted"), "--author", "A. Person")


def test_the_six_slides_stand_in_their_order(planted: tuple[Run, Deck]) -> None:
    assert [slide.shapes.title.text for slide in planted[1].slides] == TITLES
    assert planted[1].slide_width / planted[1].slide_height == pytest.approx(16 / 9, abs=1e-3)


def test_the_title_slide_names_subtitle_market_and_author(planted: tuple[Run, Deck]) -> None:
    found = texts(planted[1].slides[0])
    assert "Model Validation & Performance Report" in found
    assert "A. Person" in found
    assert any("60 hours, 2025-01-02 to 2025-01-05" in text for text in found)


def test_the_results_are_a_native_table_of_the_metrics(planted: tuple[Run, Deck]) -> None:
    run, slides = planted
    (table,) = [shape.table for shape in slides.slides[3].shapes if shape.has_table]
    rows = [[cell.text for cell in row.cells] for row in table.rows]
    assert rows[0][:3] == ["Strategy", "Total return", "Final capital"]
    for row, expected in zip(rows[1:], read_json(run.folder / "leverage-2/metrics.json")["strategies"], strict=True):
        assert row[0] == expected["label"]
        assert float(row[1].rstrip("%").replace("\N{MINUS SIGN}", "-")) == round(100 * expected["total_return"], 2)
        assert row[2] == f"${expected['final_capital']:,.0f}"


def test_the_methodology_says_what_the_run_says(planted: tuple[Run, Deck]) -> None:
    training, evaluation = (" | ".join(texts(planted[1].slides[number])) for number in (1, 2))
    for words in (
        "Megatron-core 0.16.1, this project's GRPO loop",
        "500 iterations of 32 prompts x 8 answers",
        "beta = 0.04",
        "threshold 0.2",
        "3 of 500 iterations",
        "sequence packing enabled",
    ):
        assert words in training
    for words in (
        "iter_0000500",
        "SGLang 0.5.6 on a CPU",
        "$100,000",
        "leverage 2x",
        "60 hourly samples",
        "latency zero",
    ):
        assert words in evaluation


def test_another_setting_of_the_training_changes_the_slide(tmp_path: Path) -> None:
    run = finished(tmp_path)
    manifest = run.folder / "train/checkpoint.json"
    parameters = read_json(manifest)["parameters"] | {"kl_beta": 0.07, "entropy": 0.0}
    edit_json(manifest, parameters=parameters, spikes=0)
    edit_json(run.folder / "model/parity.json", inputs={"manifest": sha256(manifest)})
    run_program(deck.main, run.deck)
    found = " ".join(texts(Presentation(str(run.folder / "leverage-2/deck.pptx")).slides[1]))
    for words in ("beta = 0.07", "no entropy bonus", "0 of 500 iterations"):
        assert words in found


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_on_a_slide_is_in_its_notes_with_file_and_field(tmp_path: Path, kind: str) -> None:
    _, slides = made(tmp_path, **KINDS[kind])
    for slide in slides.slides:
        note = notes(slide)
        for text in texts(slide):
            if re.search(r"\d", text) and not re.search(r"leverage\)?$", text):  # the footer and a title
                assert re.sub(r"\s+", " ", text) in note
        for line in note.splitlines()[1:]:
            assert re.search(r"\[(.+\.(json|csv).*|fixed wording, no figure in it)\]$", line), line
            if "fixed wording" in line:
                assert not re.search(r"\d", line), line


def test_the_notes_name_fields_that_exist(planted: tuple[Run, Deck]) -> None:
    run, slides = planted
    for slide in slides.slides:
        for file, fields in re.findall(r"([\w/.-]+\.json): ([^;\]]+)", notes(slide)):
            value = read_json(run.folder / file)
            for field in fields.split(", "):
                found = value
                for part in field.replace("*", "trained").split("."):
                    found = next(r for r in found if r["key"] == part) if isinstance(found, list) else found[part]


@pytest.mark.parametrize("kind", KINDS)
def test_no_slide_claims_what_was_not_tested(tmp_path: Path, kind: str) -> None:
    _, slides = made(tmp_path, **KINDS[kind])
    everything = " ".join(text for slide in slides.slides for text in [*texts(slide), notes(slide)])
    assert not FORBIDDEN.search(everything)
    for number in (3, 5):
        assert "differs from chance has not been tested" in " ".join(texts(slides.slides[number]))


@pytest.mark.parametrize(
    ("kind", "words"), [("planted", "PLANTED SIGNAL"), ("null", "NOTHING TO LEARN"), ("long names", "PLANTED SIGNAL")]
)
def test_a_synthetic_market_is_called_that_on_every_slide(tmp_path: Path, kind: str, words: str) -> None:
    _, slides = made(tmp_path, **KINDS[kind])
    assert "The market is synthetic" in " ".join(texts(slides.slides[0]))
    for slide in list(slides.slides)[1:]:
        assert f"SYNTHETIC MARKET, {words}" in texts(slide)


def test_a_real_market_is_nowhere_called_synthetic(tmp_path: Path) -> None:
    _, slides = made(tmp_path, **KINDS["real"])
    assert not any("synthetic" in text.lower() for slide in slides.slides for text in texts(slide))


def test_invalid_answers_stand_beside_the_result(planted: tuple[Run, Deck]) -> None:
    found = texts(planted[1].slides[3])
    assert "3 of 60" in found
    assert any("3 of 60 (2 truncated, 1 unparsable)" in text for text in found)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_stay_on_the_slide_and_do_not_overlap(tmp_path: Path, kind: str) -> None:
    _, slides = made(tmp_path, **KINDS[kind])
    for slide in slides.slides:
        boxes = [(s.name, s.left, s.top, s.left + s.width, s.top + s.height) for s in slide.shapes]
        for number, (name, left, top, right, bottom) in enumerate(boxes):
            assert left >= 0, name
            assert top >= 0, name
            assert right <= slides.slide_width, name
            assert bottom <= slides.slide_height, name
            for other, l2, t2, r2, b2 in boxes[:number]:
                apart = 2000  # EMU, rounding: 0.05 mm
                overlap = min(right, r2) - max(left, l2) > apart and min(bottom, b2) - max(top, t2) > apart
                assert not overlap, (slide.shapes.title.text, name, other)


def test_the_picture_keeps_its_proportions_and_has_a_description(planted: tuple[Run, Deck]) -> None:
    (picture,) = [shape for shape in planted[1].slides[4].shapes if shape.shape_type == 13]
    assert picture.width / picture.height == pytest.approx(1984 / 880, rel=1e-3)
    assert "Equity of all strategies" in picture._element.nvPicPr.cNvPr.get("descr")


def test_the_same_run_gives_the_same_bytes_at_another_time(tmp_path: Path) -> None:
    run = finished(tmp_path)
    file = run.folder / "leverage-2/deck.pptx"
    run_program(deck.main, run.deck)
    first = file.read_bytes()
    time.sleep(2.1)  # a ZIP archive counts time in steps of two seconds
    subprocess.run([sys.executable, deck.__file__, *map(str, run.deck)], check=True)
    assert file.read_bytes() == first
    with zipfile.ZipFile(file) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert not [name for name in archive.namelist() if "thumbnail" in name or "printer" in name]


def test_the_file_names_nobody_who_was_not_asked_for(tmp_path: Path, planted: tuple[Run, Deck]) -> None:
    _, slides = made(tmp_path)
    properties = slides.core_properties
    assert (properties.author, properties.last_modified_by, properties.title) == ("", "", TITLES[0])
    assert planted[1].core_properties.author == "A. Person"


def test_matplotlib_and_pandas_are_not_imported() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import deck; print(*sys.modules)"
    command = [sys.executable, "-c", code, str(Path(deck.__file__).parent)]
    modules = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert "pptx" in modules
    assert not {"matplotlib", "pandas", "scipy", "torch"} & set(modules)


def refused(run: Run, *more: Any) -> str:
    with pytest.raises(InputError) as error:
        run_program(deck.main, run.deck, *more)
    assert not (run.folder / "leverage-2/deck.pptx").exists()
    return str(error.value)


def test_metrics_of_another_leverage_are_refused(tmp_path: Path) -> None:
    assert "was computed with leverage 2.0, but --leverage is 3" in refused(finished(tmp_path), "--leverage", "3")


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("market/summary.json", {"name": "Another"}, "computed from another market file"),
        ("infer/trained/summary.json", {"mean_tokens": 1.0}, "computed from another trained_summary file"),
        ("train/checkpoint.json", {"spikes": 9}, "computed from another manifest file"),
        ("infer/base/summary.json", {"truncated": 9}, "says truncated 9, but"),
        ("leverage-2/metrics.json", {"capital": 5.0}, "was not drawn of"),
    ],
)
def test_files_of_different_runs_are_refused(tmp_path: Path, file: str, change: dict, words: str) -> None:
    run = finished(tmp_path)
    edit_json(run.folder / file, **change)
    assert words in refused(run)


def test_a_manifest_without_a_setting_is_refused_by_name(tmp_path: Path) -> None:
    run = finished(tmp_path)
    manifest = run.folder / "train/checkpoint.json"
    parameters = read_json(manifest)["parameters"]
    del parameters["kl_beta"]
    edit_json(manifest, parameters=parameters)
    edit_json(run.folder / "model/parity.json", inputs={"manifest": sha256(manifest)})
    assert 'train/checkpoint.json: no "parameters.kl_beta"' in refused(run)


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_a_broken_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    run = finished(tmp_path)
    (run.folder / "leverage-2/equity_curve.png").write_bytes(content)
    assert "not a PNG picture" in refused(run)


def test_a_model_that_never_answered_has_its_words(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = run.folder / "infer/trained/decisions.jsonl"
    edit_lines(path, lambda rows: [{**r, "decision": "HOLD", "status": "unparsable"} for r in rows])
    edit_json(run.folder / "infer/trained/summary.json", buy=0, sell=0, truncated=0, unparsable=60)
    run_program(simulate.main, run.simulate, "--max-invalid-share", "1")
    metrics = run.folder / "leverage-2/metrics.json"
    stand_in(metrics)
    run_program(deck.main, run.deck)
    found = " ".join(texts(Presentation(str(metrics.parent / "deck.pptx")).slides[3]))
    assert "Never held a position" in found
    assert "60 of 60" in found


# How much room text takes ---------------------------------------------------------------------------------


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


def rendered(file: Path, folder: Path) -> list[list[tuple[str, float, float, float, float]]]:
    """The words of each page with their boxes in inches (left, top, right, bottom), as LibreOffice sets them."""
    profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
    command = ["soffice", "--headless", profile, "--convert-to", "pdf", "--outdir", str(folder), str(file)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    pdf = folder / f"{file.stem}.pdf"
    page = subprocess.run(["pdftotext", "-bbox", str(pdf), "-"], check=True, capture_output=True, text=True).stdout
    space = "{http://www.w3.org/1999/xhtml}"
    tree = ET.fromstring(page)
    return [
        [
            (word.text or "", *(float(word.get(side)) / 72 for side in ("xMin", "yMin", "xMax", "yMax")))
            for word in sheet.iter(f"{space}word")
        ]
        for sheet in tree.iter(f"{space}page")
    ]


def outside(slide: Slide, words: list[tuple[str, float, float, float, float]]) -> list[str]:
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


@needs_office
@pytest.mark.parametrize("kind", ["planted", "long names"])
def test_rendered_text_stays_inside_its_shape(tmp_path: Path, kind: str) -> None:
    run, slides = made(tmp_path, **KINDS[kind])
    pages = rendered(run.folder / "leverage-2/deck.pptx", tmp_path)
    assert len(pages) == 6
    for slide, words in zip(slides.slides, pages, strict=True):
        assert words
        assert outside(slide, words) == [], slide.shapes.title.text


@needs_office
def test_the_control_finds_text_that_overflows(tmp_path: Path) -> None:
    _, slides = made(tmp_path)
    for shape in slides.slides[3].shapes:
        if shape.has_text_frame and "Read with care" in shape.text_frame.text:
            shape.text_frame.paragraphs[1].runs[0].text *= 3
    file = tmp_path / "overflowing.pptx"
    slides.save(str(file))
    assert outside(slides.slides[3], rendered(file, tmp_path)[3])


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
