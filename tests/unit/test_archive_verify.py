"""verify.py: an untouched archive passes; what describes it must be true, with new checksums too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from archive_inputs import (
    DECISIONS,
    DECK,
    EQUITY,
    METRICS,
    in_json,
    in_text,
    problems,
    read,
    shown_return,
    tampered,
)

from archiving.pack import manifest, write_zip
from archiving.verification.ledger import LEDGER
from archiving.verification.program import verify


def test_an_untouched_archive_passes_as_a_zip_file_and_as_a_folder(packed: Path, unpacked: Path) -> None:
    for place in (packed, unpacked):
        fine, found = verify(place)
        assert found == []
        assert len(fine) == 7


def test_the_program_in_the_archive_needs_nothing_but_python(unpacked: Path, packed: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments in ([], [packed]):
        command = [sys.executable, "-I", "-S", unpacked / "verify.py", *arguments]
        done = subprocess.run(command, cwd=empty, capture_output=True, text=True, env={}, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("The archive is whole.\n")
        assert "240 closes" not in done.stdout  # four strategies, 61 closes
        assert "244 closes" in done.stdout
    assert list(unpacked.rglob("__pycache__")) == []


def test_what_it_finds_goes_to_the_error_stream_one_line_each_with_exit_code_1(unpacked: Path) -> None:
    (unpacked / "more.txt").write_text("more")
    (unpacked / METRICS).unlink()
    command = [sys.executable, "-I", "-S", unpacked / "verify.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "FAILED: more.txt: is not part of the archive\n" in done.stderr
    assert f"FAILED: {METRICS}: missing\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert "is whole" not in done.stdout


def test_a_copy_with_new_checksums_and_no_change_passes(packed: Path, tmp_path: Path) -> None:
    assert problems(tampered(packed, tmp_path / "same.zip")) == []


def test_a_folder_that_is_no_archive_is_said_to_be_none(tmp_path: Path) -> None:
    assert problems(tmp_path) == [f"{tmp_path}: no archive: manifest-sha256.txt is not in it"]


def test_an_added_file_with_checksums_is_missed_in_the_crate(packed: Path, tmp_path: Path) -> None:
    def add(files: dict[str, bytes]) -> None:
        files["data/results/extra.txt"] = b"extra"

    found = problems(tampered(packed, tmp_path / "other.zip", add))
    assert found == ["data/results/extra.txt: is not in ro-crate-metadata.json"]


def test_a_checksum_of_the_crate_that_differs_is_named(packed: Path, tmp_path: Path) -> None:
    def other(crate: Any) -> None:
        next(row for row in crate["@graph"] if row["@id"] == EQUITY)["sha256"] = "0" * 64

    files = read(packed)
    in_json("ro-crate-metadata.json", other)(files)
    tags = {n: c for n, c in files.items() if not n.startswith("data/") and n != "tagmanifest-sha256.txt"}
    write_zip(tmp_path / "other.zip", files | {"tagmanifest-sha256.txt": manifest(tags)})
    assert problems(tmp_path / "other.zip") == [f"{EQUITY}: ro-crate-metadata.json has another SHA-256"]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("README.md", " | $100,000 | ", None),
        ("README.md", "60 hours", "6,000 hours"),
        ("README.md", "The sources are those of commit `", "The sources are those of commit `0"),
        ("data/model-card.md", "500 iterations", "7 iterations"),
        ("data/data-card.md", "131 hourly bars", "9,131 hourly bars"),
    ],
)
def test_a_number_changed_in_a_text_for_people_is_named(
    packed: Path, tmp_path: Path, name: str, old: str, new: str | None
) -> None:
    if new is None:  # a cell of the table
        old = shown_return(packed).replace("\N{MINUS SIGN}", "-")
        new = "+999.00%"
    found = problems(tampered(packed, tmp_path / "other.zip", in_text(name, old, new)))
    assert any(line.startswith(f"{name}: says ") and new in line for line in found), found


def test_a_setting_that_the_results_were_not_made_with_is_named(packed: Path, tmp_path: Path) -> None:
    change = in_json("data/configuration.json", lambda settings: settings["train"].update(iterations=7))
    found = problems(tampered(packed, tmp_path / "other.zip", change))
    made = "data/results/train/checkpoint.json was made with 500"
    assert found == [f"data/configuration.json: train: iterations is 7, {made}"]


def test_another_commit_than_the_bundle_s_is_named(packed: Path, tmp_path: Path) -> None:
    change = in_json("data/run.json", lambda run: run["source"].update(commit="0" * 40))
    found = problems(tampered(packed, tmp_path / "other.zip", change))
    assert any(line.endswith("data/source.bundle holds another one") for line in found)


def test_broken_contents_are_said_without_a_traceback(packed: Path, tmp_path: Path) -> None:
    for name, content in (
        (METRICS, b"[]"),
        (METRICS, b"{"),
        (LEDGER, b"{}"),
        (EQUITY, b"\xff"),
        (DECISIONS, b'{"id": 1}\n'),
        (DECK, b"no deck"),
        ("ro-crate-metadata.json", b"{}"),
        ("data/results/market/bars.csv", b"timestamp,close\n"),
    ):

        def broken(files: dict[str, bytes], name: str = name, content: bytes = content) -> None:
            files[name] = content

        assert problems(tampered(packed, tmp_path / "other.zip", broken)), name
