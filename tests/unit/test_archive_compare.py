"""compare.py: two runs side by side."""

from __future__ import annotations

import copy
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from archive_inputs import CONFIGURATION, NAME, commit, make_finished, make_project, pack, recorded_job, tampered
from report_inputs import edit_json, run_program

import compare
from archiving.comparison import rows, side
from archiving.side_by_side import cut
from common.errors import InputError


@dataclass(frozen=True)
class Made:
    """A project, its run's results and its archive."""

    project: Path
    folder: Path
    archive: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    project = make_project(tmp_path_factory.mktemp("compare") / "project")
    folder = make_finished(project).folder
    recorded_job(project, None, "leverage-2/equity.csv")
    return Made(project, folder, pack(project))


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    run_program(compare.main, list(arguments))
    return capsys.readouterr().out


def other(project: Path, to: Path) -> Path:
    """A copy of a project, to change and pack again."""
    return shutil.copytree(project, to / "project", ignore=shutil.ignore_patterns("archive"))


def differing(one: Path, two: Path) -> dict[str, tuple[str, str]]:
    """What differs, with both values."""
    return {f"{row.section}: {row.what}": (row.one, row.two) for row in rows(side(one), side(two)) if row.same is False}


def edit_images(project: Path, **sums: str) -> None:
    """Have a run's results made in images, as its jobs and containers.json record it."""
    known = {f"{name.replace('_', '-')}.sif": sha for name, sha in sums.items()}
    (project / f"results/{NAME}/containers.json").write_text(json.dumps(known))
    for earlier in (project / f"results/{NAME}/host").glob("job-*.json"):
        earlier.unlink()
    for image, makes in zip(known, ("leverage-2/equity.csv", "market/bars.csv"), strict=True):
        recorded_job(project, image, makes)


def test_equal_archives_differ_in_nothing(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = pack(other(made.project, tmp_path))
    assert differing(made.archive, again) == {}
    text = said(capsys, made.archive, again)
    assert "configuration: all" in text
    assert "code: all" in text
    # The made-up training names no base weights.
    assert [line.strip() for line in text.splitlines() if line.startswith("  ")] == [
        "SHA-256 of the base model's weights  not recorded  not recorded"
    ]


def test_each_key_of_the_configuration_is_compared(made: Made, tmp_path: Path) -> None:
    project = other(made.project, tmp_path)
    configuration = copy.deepcopy(CONFIGURATION)
    configuration["samples"]["prompt"] = "table"
    configuration["market"]["author"] = None
    configuration["market"]["csv"] |= {"sha256": 0.1}
    base = pack(project, configuration=copy.deepcopy(configuration)).rename(tmp_path / "base.zip")
    assert differing(made.archive, base) == {
        "configuration: samples.prompt": ("report", "table"),
        "configuration: market.author": ("-", "null"),
        "configuration: market.csv.sha256": ("null", "0.1"),
    }
    configuration["market"]["csv"] |= {"sha256": 0.1000000001}  # the same to six digits
    assert differing(base, pack(project, configuration=configuration)) == {
        "configuration: market.csv.sha256": ("0.1", "0.1000000001")
    }


def test_other_changes_on_the_same_commit_are_other_code(made: Made, tmp_path: Path) -> None:
    project = other(made.project, tmp_path)
    (project / "Snakefile").write_text("rule all:  # one\n")
    one = pack(project, "--allow-dirty").rename(tmp_path / "one.zip")
    assert differing(made.archive, one).keys() == {
        "code: uncommitted changes",
        "code: SHA-256 of uncommitted changes",
    }
    (project / "Snakefile").write_text("rule all:  # two\n")
    assert differing(one, pack(project, "--allow-dirty")).keys() == {"code: SHA-256 of uncommitted changes"}


def test_images_are_compared_by_their_content(made: Made, tmp_path: Path) -> None:
    project = other(made.project, tmp_path)
    edit_images(project, simulate_abc="1" * 64, market_abc="2" * 64)
    one = pack(project).rename(tmp_path / "one.zip")
    assert differing(made.archive, one) == {
        "code: image simulate": ("-", "1" * 16),
        "code: image market": ("-", "2" * 16),
    }
    edit_images(project, simulate_abd="3" * 64, market_abc="2" * 64)
    expected = {"code: image simulate": ("1" * 16, "3" * 16)}
    assert differing(one, pack(project)) == expected
    folder = other(made.project, tmp_path / "folder")
    edit_images(folder, simulate_abc="1" * 64, market_abc="2" * 64)
    assert differing(folder / "results" / NAME, project / "results" / NAME) == expected
    # A folder knows as well as its archive which images made its results.
    assert differing(folder / "results" / NAME, one) == {}
    assert differing(folder / "results" / NAME, project / f"results/{NAME}/archive/{NAME}.zip") == expected
    assert differing(made.folder, one) == {
        "code: image simulate": ("-", "1" * 16),
        "code: image market": ("-", "2" * 16),
    }


def test_images_of_a_run_whose_jobs_recorded_nothing_are_unknown(made: Made, tmp_path: Path) -> None:
    project = other(made.project, tmp_path)
    shutil.rmtree(project / f"results/{NAME}/host")
    for place in (project / "results" / NAME, pack(project)):
        (found,) = [row for row in rows(side(place), side(made.archive)) if row.what == "container images"]
        assert (found.one, found.same) == ("not recorded", None)


def test_pinned_packages_are_compared_one_by_one(made: Made, tmp_path: Path) -> None:
    project = other(made.project, tmp_path)
    (project / "envs/constraints.txt").write_text("# All of it.\nNumPy==2.4.6\nsnakemake==9.27.1  # as said\n")
    commit(project)
    one = pack(project).rename(tmp_path / "one.zip")
    changed = differing(made.archive, one)
    assert changed.pop("code: commit")
    assert changed == {
        "code: numpy": ("-", "2.4.6 in constraints"),
        "code: snakemake": ("9.27.1 in workflow", "9.27.1 in constraints, workflow"),
    }
    (project / "envs/constraints.txt").write_text("# Nothing else.\nnumpy==2.4.7\nsnakemake==9.27.0\n--no-index\n")
    commit(project)
    changed = differing(one, pack(project))
    assert changed.pop("code: commit")
    assert changed == {
        "code: numpy": ("2.4.6 in constraints", "2.4.7 in constraints"),
        "code: snakemake": ("9.27.1 in constraints, workflow", "9.27.0 in constraints; 9.27.1 in workflow"),
        "code: --no-index": ("-", "in constraints"),
    }


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("market/summary.json", "market"),
        ("train/checkpoint.json", "train"),
        ("infer/base/summary.json", "infer base"),
        ("leverage-2/metrics.json", "simulate 2x"),
        ("leverage-2/evidence.json", "evaluate 2x"),
    ],
)
def test_versions_and_settings_of_each_stage_are_compared(made: Made, tmp_path: Path, file: str, stage: str) -> None:
    one, two = (shutil.copytree(made.folder, tmp_path / name) for name in "ab")
    edit_json(one / file, versions={"numpy": "2.4.6"}, parameters={"seed": 1})
    edit_json(two / file, versions={"numpy": "2.4.7"}, parameters={"seed": 1.5})
    assert differing(one, two) == {
        f"versions: {stage}: numpy": ("2.4.6", "2.4.7"),
        f"settings: {stage}: seed": ("1", "1.5"),
    }


def test_a_commit_that_was_not_found_is_not_called_the_same(made: Made, tmp_path: Path) -> None:
    places = [shutil.copytree(made.folder, tmp_path / name) for name in "ab"]
    for place in places:
        edit_json(place / "train/checkpoint.json", versions={"slime": "0.2.1", "slime_commit": None})
    found = {row.what: row for row in rows(*map(side, places))}
    assert found["train: slime"].same is True
    assert (found["train: slime_commit"].one, found["train: slime_commit"].same) == ("not recorded", None)


def test_what_a_folder_of_results_does_not_record_is_not_called_the_same(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(capsys, made.folder, made.folder)
    assert "configuration: not recorded\n" in text
    assert "code: all 1 are the same, 2 not recorded\n" in text  # made without images
    assert "versions: all" in text
    for what in ("resolved configuration", "commit", "pinned packages"):
        assert re.search(rf"\n  {what} +not recorded +not recorded\n", text)


def test_a_run_and_its_archive_differ_in_nothing_that_both_record(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = made.folder / "infer/variants-journal/answers.jsonl"  # no model of that name was asked
    journal.parent.mkdir()
    journal.write_text("{}\n")
    assert side(made.folder).asked() == side(made.archive).asked() == ["trained", "base"]
    assert differing(made.folder, made.archive) == {}
    text = said(capsys, made.folder, made.archive)
    assert "settings: all" in text
    assert "results: all" in text
    assert "decisions: all" in text
    assert re.search(r"\n  resolved configuration +not recorded +\d+ recorded\n", text)
    assert "code: all 1 are the same, 2 not recorded\n" in text
    assert "versions: all" in text


def test_of_long_texts_the_difference_is_shown() -> None:
    assert cut("a" * 40 + "1", "a" * 40 + "2") == ("…aaaaaaaa1", "…aaaaaaaa2")
    assert cut("a" * 40, "a" * 41) == ("…aaaaaaaa", "…aaaaaaaaa")
    assert cut("2" + "a" * 40, "1") == ("2" + "a" * 30 + "…", "1")
    assert cut("one\n", "one") == ('"one\\n"', '"one"')


def test_what_changed_is_shown_in_the_terminal_and_on_the_page(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(made.folder, tmp_path / "other")
    edit_json(other / "train/checkpoint.json", name="iter_<b>", weights_sha256="d" * 64)
    decisions = other / "infer/trained/decisions.jsonl"
    decisions.write_text(decisions.read_text().replace('"BUY"', '"SELL"', 1))
    page = tmp_path / "page.html"
    text = said(capsys, made.folder, other, "--page", page)
    assert "weights: 2 of 2 differ, 1 not recorded" in text
    assert "trained: alike in common hours  60 common  59 alike" in text
    html = page.read_text()
    assert "iter_&lt;b&gt;" in html
    assert "<b>" not in html
    assert html.count("class=other") + html.count("class=unknown") == text.count("\n  ")
    assert "market: synthetic_momentum" in said(capsys, made.folder, other, "--all")


def test_something_else_is_refused_in_one_line(made: Made, tmp_path: Path) -> None:
    (tmp_path / "cut.zip").write_bytes(made.archive.read_bytes()[:1000])
    for place, words in (
        (tmp_path / "none", "no such file or folder"),
        (tmp_path, "neither an archive nor the results"),
        (tmp_path / "cut.zip", "not a whole ZIP file"),
    ):
        with pytest.raises(InputError, match=words):
            run_program(compare.main, [made.folder, place])
    broken = tampered(
        made.archive, tmp_path / "broken.zip", lambda files: files.update({"data/configuration.json": b"[]"})
    )
    with pytest.raises(InputError, match=r"a result cannot be read .*Run verify\.py on it"):
        run_program(compare.main, [made.archive, broken])
