"""verify.py: an untouched archive passes, and each way to tamper with one is found and named."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archive_inputs import hashed, in_deck, in_json, make_finished, make_project, pack, read, tampered

from archiving.pack import manifest, write_zip
from archiving.verification.ledger import LEDGER, deck_entry
from archiving.verification.program import verify

METRICS = "data/results/leverage-2/metrics.json"
EQUITY = "data/results/leverage-2/equity.csv"
DECISIONS = "data/results/infer/trained/decisions.jsonl"
DECK = "data/results/leverage-2/deck.pptx"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive as archive.py makes it."""
    project = make_project(tmp_path_factory.mktemp("archive") / "project")
    make_finished(project)
    return pack(project)


@pytest.fixture
def unpacked(packed: Path, tmp_path: Path) -> Path:
    """The same in a folder."""
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path / "unpacked")
    return tmp_path / "unpacked"


def problems(place: Path) -> list[str]:
    return verify(place)[1]


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old, new, 1)


# --- untouched ---


def test_an_untouched_archive_passes_as_a_zip_file_and_as_a_folder(packed: Path, unpacked: Path) -> None:
    for place in (packed, unpacked):
        fine, found = verify(place)
        assert found == []
        assert len(fine) == 6


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


# --- the outer form ---


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_zip_file_is_found(packed: Path, tmp_path: Path, share: float) -> None:
    cut = tmp_path / "cut.zip"
    content = packed.read_bytes()
    cut.write_bytes(content[: int(share * len(content))])
    assert problems(cut)


def test_a_zip_file_that_lacks_its_last_byte_or_has_one_more_is_found(packed: Path, tmp_path: Path) -> None:
    content = packed.read_bytes()
    for other in (content[:-1], content + b"\n", b"\n" + content):
        (tmp_path / "other.zip").write_bytes(other)
        assert problems(tmp_path / "other.zip")


def test_a_flipped_bit_is_found_wherever_it_is(packed: Path, tmp_path: Path) -> None:
    """In contents, in all bytes of one entry's heads and in the end: no byte of the file is free."""
    content = packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        second, start = archive.infolist()[1], archive.start_dir
    head = range(second.header_offset, second.header_offset + 30 + len(second.filename))
    entry = range(start, start + 46 + len(archive.infolist()[0].filename))
    end = range(len(content) - 22, len(content))
    inside = range(100, len(content), len(content) // 6)
    file = tmp_path / "flipped.zip"
    shutil.copy(packed, file)
    with open(file, "r+b", buffering=0) as handle:
        for place in (*head, *entry, *end, *inside):
            bit = 1 << (place % 8)
            handle.seek(place)
            handle.write(bytes([content[place] ^ bit]))
            assert problems(file), f"byte {place}"
            handle.seek(place)
            handle.write(content[place : place + 1])
    assert problems(file) == []


def test_a_flipped_byte_in_a_file_is_named(unpacked: Path) -> None:
    for name in (DECISIONS, "README.md", "data/source.bundle", "ro-crate-metadata.json"):
        before = (unpacked / name).read_bytes()
        changed = bytearray(before)
        changed[len(changed) // 2] ^= 1
        (unpacked / name).write_bytes(changed)
        assert f"{name}: was changed, its SHA-256 is another one" in problems(unpacked)
        (unpacked / name).write_bytes(before)
    assert problems(unpacked) == []


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/evil", "data/../../evil", "..\\evil", "C:\\evil", "data/results/\u202eevil", "a//b"]
)
def test_a_path_that_climbs_out_or_that_nobody_writes_is_named_and_nothing_is_read(
    packed: Path, tmp_path: Path, name: str
) -> None:
    evil = tmp_path / "evil.zip"
    shutil.copy(packed, evil)
    with zipfile.ZipFile(evil, "a") as archive:
        archive.writestr(name, "evil")
    fine, found = verify(evil)
    assert fine == []
    assert any(repr(name) in line for line in found)


def test_a_link_is_named(unpacked: Path) -> None:
    (unpacked / EQUITY).unlink()
    (unpacked / EQUITY).symlink_to("/etc/hostname")
    assert problems(unpacked) == [f"{EQUITY}: is a link, no file of its own"]


def test_a_manifest_that_names_a_path_outside_is_refused(unpacked: Path) -> None:
    with open(unpacked / "manifest-sha256.txt", "a") as handle:
        handle.write(f"{'0' * 64}  ../secret\n")
    assert any("climbs out" in line for line in problems(unpacked))


def test_missing_and_additional_files_are_named(packed: Path, tmp_path: Path) -> None:
    files = read(packed)
    del files["data/results/leverage-2/drawdown.svg"]
    files["data/results/leverage-2/better.svg"] = b"<svg/>"
    write_zip(tmp_path / "other.zip", files)
    found = problems(tmp_path / "other.zip")
    assert "data/results/leverage-2/drawdown.svg: missing" in found
    assert "data/results/leverage-2/better.svg: is not part of the archive" in found


def test_a_file_that_is_there_twice_is_named(packed: Path, tmp_path: Path) -> None:
    double = tmp_path / "double.zip"
    shutil.copy(packed, double)
    with zipfile.ZipFile(double, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("README.md", "another")
    assert any("README.md: there twice" in line for line in problems(double))


# --- the contents, with checksums made anew ---


def test_a_copy_with_new_checksums_and_no_change_passes(packed: Path, tmp_path: Path) -> None:
    assert problems(tampered(packed, tmp_path / "same.zip")) == []


def shown_return(packed: Path) -> str:
    """The trained model's return as slide 4 shows it."""
    ledger = json.loads(read(packed)[LEDGER])
    return next(
        claim["number"]
        for claim in ledger["decks"][0]["claims"]
        if claim.get("field") == "strategies.trained.total_return"
    )


def test_a_changed_number_on_a_slide_is_named(packed: Path, tmp_path: Path) -> None:
    number = shown_return(packed)
    other = re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), number)
    change = in_deck("ppt/slides/slide4.xml", replaced(number.encode(), other.encode()))
    found = problems(tampered(packed, tmp_path / "other.zip", change))
    assert any(f"{DECK}, slide 4" in line and other in line and number in line for line in found)


def test_a_number_changed_on_the_slide_and_in_the_ledger_is_named(packed: Path, tmp_path: Path) -> None:
    number = shown_return(packed)
    other = re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), number)

    def everywhere(files: dict[str, bytes]) -> None:
        files[LEDGER] = files[LEDGER].replace(number.encode(), other.encode())

    changes = [
        in_deck(f"ppt/{part}/{kind}{page}.xml", lambda content: content.replace(number.encode(), other.encode()) + b" ")
        for page in range(1, 10)
        for part, kind in (("slides", "slide"), ("notesSlides", "notesSlide"))
    ]
    found = problems(tampered(packed, tmp_path / "other.zip", everywhere, *changes))
    assert any(other in line and "no longer gives it" in line for line in found)


def test_a_number_changed_in_the_results_is_named(packed: Path, tmp_path: Path) -> None:
    def better(metrics: Any) -> None:
        row = next(row for row in metrics["strategies"] if row["key"] == "trained")
        row["total_return"] += 0.5

    found = problems(tampered(packed, tmp_path / "other.zip", in_json(METRICS, better)))
    text = "\n".join(found)
    assert f"{METRICS}: strategies.trained.total_return is" in text  # the accounting
    assert "was computed from another metrics" in text  # the records
    assert "was not drawn of" in text  # the figures
    assert f"{DECK}, slide" in text  # the ledger


def test_a_changed_p_value_is_named(packed: Path, tmp_path: Path) -> None:
    """Alone, and with a ledger that was made again to go with it."""

    def better(evidence: Any) -> None:
        evidence["tests"]["bootstrap"]["differences"]["always_buy"]["p_value_corrected"] = 0.003

    def ledger(files: dict[str, bytes]) -> None:
        (deck,) = json.loads(files[LEDGER])["decks"]
        sources = {
            name.removeprefix("data/results/"): json.loads(c) for name, c in files.items() if name[-5:] == ".json"
        }
        pictures = {hashed(c): name.removeprefix("data/results/") for name, c in files.items() if name[-4:] == ".png"}
        files[LEDGER] = json.dumps({"decks": [deck_entry(deck["deck"], files[DECK], sources, pictures)]}).encode()

    evidence = "data/results/leverage-2/evidence.json"
    found = problems(tampered(packed, tmp_path / "other.zip", in_json(evidence, better)))
    assert any("p_value_corrected" in line and "no longer gives it" in line for line in found)
    found = problems(tampered(packed, tmp_path / "other.zip", in_json(evidence, better), ledger))
    assert any(line.startswith(f"{DECK}, slide 7: ") and line.endswith("no file gives it") for line in found)
    assert problems(tampered(packed, tmp_path / "same.zip", ledger)) == []  # a control


def test_a_changed_number_in_notes_and_of_a_picture_s_description_is_named(packed: Path, tmp_path: Path) -> None:
    number = shown_return(packed)
    for part, what in (("notesSlides/notesSlide4.xml", "in its notes "), ("slides/slide5.xml", "of a picture ")):
        change = in_deck(f"ppt/{part}", replaced(number.encode(), b"+999%"))
        found = problems(tampered(packed, tmp_path / "other.zip", change))
        assert any(f"says {what}" in line and "+999%" in line for line in found), found


def in_text(name: str, old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    """A change of a text."""

    def done(files: dict[str, bytes]) -> None:
        before = files[name]
        files[name] = before.replace(old.encode(), new.encode(), 1)
        assert files[name] != before

    return done


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


@pytest.mark.parametrize(
    "name", ["sharpe", "cagr", "alpha", "drawdown_hours", "profit_factor", "turnover", "volatility"]
)
def test_an_annual_figure_changed_in_the_results_is_named(packed: Path, tmp_path: Path, name: str) -> None:
    def better(metrics: Any) -> None:
        row = next(row for row in metrics["strategies"] if row["key"] == "trained")
        row[name] *= 1.0001

    found = problems(tampered(packed, tmp_path / "other.zip", in_json(METRICS, better)))
    assert any(line.startswith(f"{METRICS}: strategies.trained.{name} is ") for line in found)


def test_a_figure_that_is_missing_in_the_results_is_named(packed: Path, tmp_path: Path) -> None:
    change = in_json(METRICS, lambda metrics: metrics["strategies"][0].pop("sortino"))
    found = problems(tampered(packed, tmp_path / "other.zip", change))
    assert any("sortino is missing, the decisions and prices give" in line for line in found)


def test_a_changed_trade_and_a_missing_one_are_named(packed: Path, tmp_path: Path) -> None:
    name = "data/results/leverage-2/trades.csv"

    def dearer(files: dict[str, bytes]) -> None:
        rows = files[name].decode().splitlines()
        fields = rows[2].split(",")
        rows[2] = ",".join([*fields[:-2], str(float(fields[-2]) + 1), fields[-1]])
        files[name] = ("\n".join(rows) + "\n").encode()

    def fewer(files: dict[str, bytes]) -> None:
        files[name] = files[name].rstrip().rpartition(b"\n")[0] + b"\n"

    found = problems(tampered(packed, tmp_path / "other.zip", dearer))
    assert any(line.startswith(f"{name}: trade ") and " has pnl " in line for line in found)
    found = problems(tampered(packed, tmp_path / "other.zip", fewer))
    assert any(re.search(rf"{name}: \d+ trades of \w+, the decisions give \d+", line) for line in found)


def test_an_answer_of_a_variant_that_does_not_trade_is_read_too(packed: Path, tmp_path: Path) -> None:
    variant = "data/results/infer/seed-2/decisions.jsonl"

    def forged(files: dict[str, bytes]) -> None:
        files[variant] = files[DECISIONS].replace(b'"decision": "BUY"', b'"decision": "SELL"', 1)

    found = problems(tampered(packed, tmp_path / "other.zip", forged))
    assert any(line.startswith(f"{variant}, line ") and "its raw answer BUY (ok)" in line for line in found)


def test_a_changed_answer_and_a_changed_decision_are_named(packed: Path, tmp_path: Path) -> None:
    def other_word(files: dict[str, bytes]) -> None:
        files[DECISIONS] = files[DECISIONS].replace(b'"decision": "BUY"', b'"decision": "SELL"', 1)

    def other_answer(files: dict[str, bytes]) -> None:
        files[DECISIONS] = re.sub(rb'"BUY"(.*?)<answer>Buy', rb'"SELL"\1<answer>Sell', files[DECISIONS], count=1)

    found = "\n".join(problems(tampered(packed, tmp_path / "other.zip", other_word)))
    assert "its raw answer BUY (ok)" in found
    found = "\n".join(problems(tampered(packed, tmp_path / "other.zip", other_answer)))
    assert "raw answer" not in found
    assert f"{EQUITY}: trained at" in found


def test_a_changed_price_is_named(packed: Path, tmp_path: Path) -> None:
    def dearer(files: dict[str, bytes]) -> None:
        name = "data/results/market/bars.csv"
        lines = files[name].decode().splitlines()
        fields = lines[-5].split(",")
        lines[-5] = ",".join([*fields[:-1], str(float(fields[-1]) + 1)])
        files[name] = ("\n".join(lines) + "\n").encode()

    text = "\n".join(problems(tampered(packed, tmp_path / "other.zip", dearer)))
    assert "was computed from another bars" in text
    assert f"{EQUITY}: always_buy at" in text


def test_a_swapped_figure_is_named(packed: Path, tmp_path: Path) -> None:
    figures = "data/results/leverage-2"

    def swapped(files: dict[str, bytes]) -> None:
        one, two = f"{figures}/equity_curve.png", f"{figures}/bootstrap_fan.png"
        files[one], files[two] = files[two], files[one]

    found = "\n".join(problems(tampered(packed, tmp_path / "other.zip", swapped)))
    assert "shows leverage-2/bootstrap_fan.png, the ledger has leverage-2/equity_curve.png" in found


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_two_swapped_figures_that_no_slide_shows_are_named(packed: Path, tmp_path: Path, kind: str) -> None:
    one, two = (f"data/results/leverage-2/{name}.{kind}" for name in ("drawdown", "decisions"))

    def swapped(files: dict[str, bytes]) -> None:
        files[one], files[two] = files[two], files[one]

    found = problems(tampered(packed, tmp_path / "other.zip", swapped))
    assert f"{one}: is another figure, or none: its title is not drawdown" in found
    assert f"{two}: is another figure, or none: its title is not decisions" in found


def test_a_checksum_of_the_crate_that_differs_is_named(packed: Path, tmp_path: Path) -> None:
    def other(crate: Any) -> None:
        next(row for row in crate["@graph"] if row["@id"] == EQUITY)["sha256"] = "0" * 64

    files = read(packed)
    in_json("ro-crate-metadata.json", other)(files)
    tags = {n: c for n, c in files.items() if not n.startswith("data/") and n != "tagmanifest-sha256.txt"}
    write_zip(tmp_path / "other.zip", files | {"tagmanifest-sha256.txt": manifest(tags)})
    assert problems(tmp_path / "other.zip") == [f"{EQUITY}: ro-crate-metadata.json has another SHA-256"]


def test_a_folder_that_is_no_archive_is_said_to_be_none(tmp_path: Path) -> None:
    assert problems(tmp_path) == [f"{tmp_path}: no archive: manifest-sha256.txt is not in it"]


def test_a_figure_swapped_inside_the_deck_is_named(packed: Path, tmp_path: Path) -> None:
    foreign = read(packed)["data/results/leverage-2/drawdown.png"]
    change = in_deck("ppt/media/image1.png", lambda content: foreign)
    found = "\n".join(problems(tampered(packed, tmp_path / "other.zip", change)))
    assert "shows leverage-2/drawdown.png, the ledger has" in found


def test_a_figure_of_another_run_is_named(packed: Path, tmp_path: Path) -> None:
    name = "data/results/leverage-2/drawdown.png"

    def foreign(files: dict[str, bytes]) -> None:
        files[name] = files[name].replace(hashed(files[METRICS]).encode(), b"0" * 64)

    found = problems(tampered(packed, tmp_path / "other.zip", foreign))
    assert f"{name}: was not drawn of {METRICS}" in found


def test_an_added_file_with_checksums_is_missed_in_the_crate(packed: Path, tmp_path: Path) -> None:
    def add(files: dict[str, bytes]) -> None:
        files["data/results/extra.txt"] = b"extra"

    found = problems(tampered(packed, tmp_path / "other.zip", add))
    assert found == ["data/results/extra.txt: is not in ro-crate-metadata.json"]


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
