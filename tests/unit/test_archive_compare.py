"""compare.py: two runs side by side."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from archive_inputs import NAME, make_finished, make_project, pack
from report_inputs import edit_json, run_program

import compare
from common.errors import InputError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run's results and its archive."""
    project = make_project(tmp_path_factory.mktemp("compare") / "project")
    run = make_finished(project)
    return run.folder, pack(project)


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    run_program(compare.main, list(arguments))
    return capsys.readouterr().out


def test_a_run_and_its_archive_differ_in_nothing_but_the_recorded_commit(
    made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, *made)
    assert "settings: all" in text
    assert "results: all" in text
    assert "decisions: all" in text
    assert "code: 1 of" in text


def test_what_changed_is_shown_in_the_terminal_and_on_the_page(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(made[0], other)
    edit_json(other / "train/checkpoint.json", name="iter_<b>", weights_sha256="d" * 64)
    decisions = other / "infer/trained/decisions.jsonl"
    decisions.write_text(decisions.read_text().replace('"BUY"', '"SELL"', 1))
    page = tmp_path / "page.html"
    text = said(capsys, made[0], other, "--page", page)
    assert "weights: 2 of 3 differ" in text
    assert "trained: alike in common hours  60 common  59 alike" in text
    html = page.read_text()
    assert "iter_&lt;b&gt;" in html
    assert "<b>" not in html
    assert html.count("class=other") == text.count("\n  ")
    assert "market: synthetic_momentum" in said(capsys, made[0], other, "--all")


def test_something_else_is_refused_in_one_line(made: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "cut.zip").write_bytes(made[1].read_bytes()[:1000])
    for place, words in (
        (tmp_path / "none", "no such file or folder"),
        (tmp_path, "neither an archive nor the results"),
        (tmp_path / "cut.zip", "not a whole ZIP file"),
    ):
        with pytest.raises(InputError, match=words):
            run_program(compare.main, [made[0], place])
    assert NAME in str(made[0])
