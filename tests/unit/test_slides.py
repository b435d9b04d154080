"""The deck: order, tables, notes, wording, determinism, and what it refuses."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from pptx.presentation import Presentation as Deck
from report_inputs import Run, edit_json, run_program
from report_runs import KINDS, Shelf, change_results, finished, made, notes, presented, stand_in, texts

import deck
from archiving.verification.values import CITATION, field
from common.errors import InputError
from common.files import read_json, sha256

TITLES = [
    "Tiny-Qwen3 Trading Evaluation",
    "Methodology (Training)",
    "Methodology (Evaluation)",
    "Results (2x leverage)",
    "Visual verification",
    "Conclusion",
    "Results with intervals",
    "Evidence",
    "Sensitivity",
]


@pytest.fixture(scope="module")
def decks(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("decks"))


@pytest.fixture(scope="module")
def planted(decks: Shelf) -> tuple[Run, Deck]:
    return decks["planted"]


def test_the_published_slides_stand_in_their_order_and_the_evidence_after_them(planted: tuple[Run, Deck]) -> None:
    assert [slide.shapes.title.text for slide in planted[1].slides] == TITLES
    assert planted[1].slide_width / planted[1].slide_height == pytest.approx(16 / 9, abs=1e-3)


def test_the_title_slide_names_subtitle_market_and_author(planted: tuple[Run, Deck]) -> None:
    found = texts(planted[1].slides[0])
    assert "Model Validation & Performance Report" in found
    assert "A. Person" in found
    assert any("60 hours, 2025-01-03 to 2025-01-06" in text for text in found)


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
        "threshold 0.2 of the last accepted loss, which counts as 0.5 at least",
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
        "idealised execution: no costs, no latency",
    ):
        assert words in evaluation


def test_another_setting_of_the_training_changes_the_slide(tmp_path: Path) -> None:
    run = finished(tmp_path)
    manifest = run.folder / "train/checkpoint.json"
    parameters = read_json(manifest)["parameters"] | {"kl_beta": 0.07, "entropy": 0.0, "spike_floor": 0.3}
    edit_json(manifest, parameters=parameters, spikes=0)
    edit_json(run.folder / "model/parity.json", inputs={"manifest": sha256(manifest)})
    found = " ".join(texts(presented(run).slides[1]))
    for words in ("beta = 0.07", "no entropy bonus", "0 of 500 iterations", "counts as 0.3 at least"):
        assert words in found


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_on_a_slide_is_in_its_notes_with_file_and_field(decks: Shelf, kind: str) -> None:
    _, slides = decks[kind]
    for slide in slides.slides:
        note = notes(slide)
        for text in texts(slide):
            if re.search(r"\d", text):
                assert re.sub(r"\s+", " ", text) in note
        for line in note.splitlines()[1:]:
            assert re.search(r"\[(.+\.(json|csv).*|fixed wording, no figure in it)\]$", line), line
            if "fixed wording" in line and "Total return above 0" not in line:
                assert not re.search(r"\d", line), line


@pytest.mark.parametrize("kind", ["planted", "strong", "costly", "constant"])
def test_the_notes_name_fields_that_exist(decks: Shelf, kind: str) -> None:
    run, slides = decks[kind]
    for slide in slides.slides:
        for file, fields in re.findall(r"([\w/.-]+\.json): ([^;\]]+)", notes(slide)):
            value = read_json(run.folder / file)
            cited = CITATION.fullmatch(fields)
            for name in (cited[2] if cited else fields).split(" + "):
                field(value, name)  # a KeyError if there is none


@pytest.mark.parametrize(
    ("kind", "words"), [("planted", "PLANTED SIGNAL"), ("chance", "NOTHING TO LEARN"), ("long names", "PLANTED SIGNAL")]
)
def test_a_synthetic_market_is_called_that_on_every_slide(decks: Shelf, kind: str, words: str) -> None:
    _, slides = decks[kind]
    assert "The market is synthetic" in " ".join(texts(slides.slides[0]))
    for slide in list(slides.slides)[1:]:
        assert f"SYNTHETIC MARKET, {words}" in texts(slide)


def test_a_real_market_is_nowhere_called_synthetic(decks: Shelf) -> None:
    _, slides = decks["real"]
    assert not any("synthetic" in text.lower() for slide in slides.slides for text in texts(slide))


def test_invalid_answers_stand_beside_the_result(planted: tuple[Run, Deck]) -> None:
    found = texts(planted[1].slides[3])
    assert "3 of 60" in found
    assert any("3 of 60 (2 truncated, 1 unparsable)" in text for text in found)


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


def refused(run: Run, *more: object) -> str:
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
        ("leverage-2/metrics.json", {"capital": 5.0}, "computed from another metrics file"),
        ("leverage-2/evidence.json", {"seed": 5}, "was not drawn of"),
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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"iteration": "500"}, 'str, not int, under "iteration"'),
        ({"parameters": {"spike_action": {}}}, 'dict, not str, under "parameters.spike_action"'),
    ],
)
def test_a_manifest_with_something_else_in_a_field_is_refused(tmp_path: Path, change: dict, words: str) -> None:
    run = finished(tmp_path)
    manifest = run.folder / "train/checkpoint.json"
    edit_json(manifest, **change)
    edit_json(run.folder / "model/parity.json", inputs={"manifest": sha256(manifest)})
    assert f"{manifest}: {words}. Run train again." in refused(run)


def test_a_parity_without_its_numbers_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path)
    parity = run.folder / "model/parity.json"
    edit_json(parity, logits={"relative_difference": "small", "tokens": 1})
    assert f'{parity}: str, not int or float, under "logits.relative_difference".' in refused(run)


@pytest.mark.parametrize("content", [b"", b"not a picture"])
@pytest.mark.parametrize("name", ["equity_curve", "leverage"])
def test_a_broken_picture_is_refused(tmp_path: Path, content: bytes, name: str) -> None:
    run = finished(tmp_path)
    (run.folder / f"leverage-2/{name}.png").write_bytes(content)
    assert "not a PNG picture" in refused(run)


def test_a_picture_of_another_simulation_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path / "one")
    other = finished(tmp_path / "other", seed=2)
    for name in ("equity_curve", "null_distribution"):
        path = run.folder / f"leverage-2/{name}.png"
        path.write_bytes((other.folder / f"leverage-2/{name}.png").read_bytes())
        assert f"{name}.png: was not drawn of" in refused(run)
        stand_in(run)


def test_a_model_that_never_answered_has_its_words(decks: Shelf) -> None:
    found = " ".join(texts(decks["no position"][1].slides[3]))
    assert "Never held a position" in found
    assert "60 of 60" in found


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("leverage-2/metrics.json", 'no "leverage". Run simulate again.'),
        ("leverage-2/evidence.json", 'no "leverage". Run evaluate again.'),
        ("market/summary.json", 'no "name". Run market again.'),
        ("infer/base/summary.json", "says variant None"),
    ],
)
def test_a_file_without_its_fields_is_refused_by_name(tmp_path: Path, file: str, words: str) -> None:
    run = finished(tmp_path)
    (run.folder / file).write_text("{}\n")
    message = refused(run)
    assert words in message
    assert str(run.folder / file) in message


def test_a_number_that_is_a_text_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path)
    path = run.folder / "leverage-2/metrics.json"
    rows = read_json(path)["strategies"]
    rows[0]["total_return"] = "much"
    change_results(run, {"strategies": rows})
    assert 'str, not int or float, under "strategies[0].total_return"' in refused(run)


def test_an_engine_that_is_not_known_stands_as_the_manifest_names_it(tmp_path: Path) -> None:
    run = finished(tmp_path)
    manifest = run.folder / "train/checkpoint.json"
    edit_json(manifest, engine="other", versions={"other": "1.2"})
    edit_json(run.folder / "model/parity.json", inputs={"manifest": sha256(manifest)})
    slides = presented(run).slides
    assert "other 1.2; trained on CPU" in texts(slides[1])
    assert "other 1.2" in texts(slides[5])


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"judged": 500}, "3 of 500 iterations spiked; straggler detection (slowest rank over the median above 1.5)"),
        ({}, "3 of 500 iterations spiked; straggler"),
        (
            {"engine": "slime", "judged": 498},
            "3 of 500 iterations spiked (of 498 the loss is known); "
            "straggler detection (an iteration's time over the median above 1.5)",
        ),
    ],
    ids=str,
)
def test_what_is_said_of_spikes_and_stragglers_is_what_the_engine_could_see(
    tmp_path: Path, manifest: dict, words: str
) -> None:
    run = finished(tmp_path)
    path = run.folder / "train/checkpoint.json"
    edit_json(path, **manifest)
    edit_json(run.folder / "model/parity.json", inputs={"manifest": sha256(path)})
    slides = presented(run).slides
    assert words in " ".join(texts(slides[1]))
    assert ("checkpoint.json: judged" in notes(slides[1])) is ("known" in words)
