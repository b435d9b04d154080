"""archive.py: what it packs, that it repeats, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from archive_inputs import (
    CONFIGURATION,
    NAME,
    finish,
    git,
    made_in_containers,
    make_finished,
    make_project,
    pack,
    read,
)
from pptx import Presentation
from report_inputs import Run

import archive
from archiving.reading import png_notes
from archiving.verification.program import verify
from common.errors import InputError
from common.files import read_json, sha256, write_json


def test_the_same_run_gives_the_same_bytes(project: Path, tmp_path: Path) -> None:
    first = pack(project).read_bytes()
    (project / f"results/{NAME}/archive").rename(tmp_path / "kept")
    git(project, "repack", "-a", "-d", "-f", "--quiet")  # the repository packs itself another way
    for path in (project / "results").rglob("*"):
        path.touch()  # another time
    other = project.with_name("another place")
    project.rename(other)
    assert pack(other).read_bytes() == first


def test_the_checksum_beside_it_is_the_file_s(project: Path) -> None:
    packed = pack(project)
    assert packed.with_suffix(".zip.sha256").read_text() == f"{sha256(packed)}  {packed.name}\n"


def test_it_holds_what_a_reviewer_asks_for(project: Path) -> None:
    files = read(pack(project))
    results = {name.removeprefix("data/results/") for name in files if name.startswith("data/results/")}
    made = {f"leverage-2/{n}" for n in ("equity.csv", "trades.csv", "metrics.json", "evidence.json", "deck.pptx")}
    asked = {"samples/test.jsonl", "infer/trained/decisions.jsonl", "train/metrics.jsonl", "market/bars.csv"}
    assert made | asked <= results
    assert {"verify.py", "replay.py", "retrain.py", "README.md", "CITATION.cff", "codemeta.json"} <= set(files)
    assert {"data/source.bundle", "data/claims.json", "data/model-card.md", "data/data-card.md"} <= set(files)
    assert json.loads(files[".zenodo.json"])["creators"] == [{"name": "Doe, Jo", "orcid": "0000-0002-1825-0097"}]
    assert json.loads(files["codemeta.json"])["author"][0]["familyName"] == "Doe"
    assert not any(name.endswith(".safetensors") for name in files)
    listed = json.loads(files["data/models.json"])["trained"]["files"]["model.safetensors"]
    assert listed["sha256"] == sha256(project / f"results/{NAME}/model/trained/model.safetensors")


@pytest.mark.parametrize("hits", [0.1, 0.55, 0.9])
def test_every_number_of_a_deck_has_a_source(tmp_path: Path, hits: float) -> None:
    """Of runs that lost, that earned too little for a claim, and that earned without a doubt."""
    project = make_project(tmp_path / "project")
    make_finished(project, hits=hits, hours=120)
    claims = json.loads(read(pack(project))["data/claims.json"])["decks"][0]["claims"]
    assert [(claim["slide"], claim["number"], claim["text"]) for claim in claims if claim["how"] == "unexplained"] == []
    assert sum("file" in claim for claim in claims) > 100


def test_a_configuration_that_the_run_was_not_made_with_is_refused(project: Path) -> None:
    with pytest.raises(InputError, match=r"train: iterations is 7, data/results/train/checkpoint\.json was made with"):
        pack(project, configuration=CONFIGURATION | {"train": {"iterations": 7}})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{}", "no key run. "),
        ("3", "no key run. "),
        (json.dumps(CONFIGURATION | {"market": None}), "no key market.name. "),
        (json.dumps(CONFIGURATION | {"evaluate": {}}), "no key evaluate.variants. "),
        ("{run: made}", "not JSON: Expecting property name enclosed in double quotes"),
    ],
)
def test_a_configuration_that_is_none_is_one_line(text: str, line: str) -> None:
    program = Path(archive.__file__)
    options = ["--results=r", "--leverages=2", "--ledger=l", "--snakemake=s", "--output=o.zip"]
    options += [f"--{name}" for name in ("market-data", "unmasked-answers", "weights", "images", "allow-dirty")]
    command = [sys.executable, program, f"--configuration={text}", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"archive: error: --configuration: {line}")
    assert done.stderr.count("\n") == 1


def test_a_number_that_no_field_gives_is_refused(project: Path) -> None:
    deck = project / f"results/{NAME}/leverage-2/deck.pptx"
    slides = Presentation(str(deck))
    slides.slides[3].shapes.title.text_frame.text = "Results of 77 runs"
    slides.save(str(deck))
    with pytest.raises(InputError, match="slide 4: no field that its notes cite gives 77 in 'Results of 77 runs'"):
        pack(project)


def test_weights_come_along_if_asked_for(project: Path) -> None:
    files = read(pack(project, "--weights"))
    assert files["data/results/model/trained/model.safetensors"] == b"trained" * 9


def test_whatever_else_was_asked_comes_along(project: Path) -> None:
    """Variants of a run: other folders below infer/, and other models."""
    results = project / f"results/{NAME}"
    shutil.copytree(results / "infer/base", results / "infer/seed-2")
    shutil.copytree(results / "model/trained", results / "model/seed-2")
    packed = pack(project)
    files = read(packed)
    assert {"data/results/infer/seed-2/decisions.jsonl", "data/results/model/seed-2/config.json"} <= set(files)
    assert "seed-2" in json.loads(files["data/models.json"])
    assert verify(packed)[1] == []


def test_several_leverages_are_one_archive(project: Path) -> None:
    finish(Run(project / f"results/{NAME}"), "3")
    both = CONFIGURATION | {"simulate": {"leverage": [2, 3]}}
    packed = pack(project, "--leverages", "2", "3", configuration=both)
    files = read(packed)
    assert [deck["deck"] for deck in json.loads(files["data/claims.json"])["decks"]] == [
        "leverage-2/deck.pptx",
        "leverage-3/deck.pptx",
    ]
    readme = files["README.md"].decode()
    assert "| 2x | " in readme
    assert "| 3x | " in readme
    fine, found = verify(packed)
    assert found == []
    assert any("488 closes" in line for line in fine)
    assert not any("leverage-3" in name for name in read(pack(project)))  # only what the configuration lists


def test_what_a_run_took_is_in_it(project: Path) -> None:
    before = read(pack(project))
    assert "recorded no machines" in before["README.md"].decode()
    job = {
        "program": "train",
        "makes": None,
        "ended": "ok",
        "seconds": 7200.0,
        "node": {"processor": "Kind A"},
        "slurm": None,
        "cuda": "12.4",
    }
    job |= {"gpus": [{"name": "NVIDIA H100", "memory_mb": 1, "driver": "550.1"}], "gpu_joules": 3.6e6}
    host = project / f"results/{NAME}/host"
    host.mkdir()
    (host / "train-1.json").write_text(json.dumps(job))
    files = read(pack(project))
    assert "2.00 GPU hours on NVIDIA H100" in files["README.md"].decode()
    assert json.loads(files["data/host/machine.json"]) == {"processor": "Kind A"}
    compared = {name for name in files if name.startswith("data/results/")}
    assert {name: files[name] for name in compared} == {name: before[name] for name in compared}


def test_snakemake_s_records_have_the_hashes_that_it_leaves_out(project: Path) -> None:
    image, sha = made_in_containers(project)
    name = f"results/{NAME}/market/bars.csv"
    for record in (project / ".snakemake/metadata").iterdir():
        record.write_text(json.dumps(json.loads(record.read_text()) | {"input": [name, "results/gone.csv"]}))
    found = json.loads(read(pack(project))["data/host/snakemake.json"])
    assert found["inputs_sha256"] == {name: sha256(project / name)}
    assert found["images_sha256"] == {image.name: sha}


def test_figures_and_slides_carry_no_clock_and_no_user(made: Path) -> None:
    folder = made / f"results/{NAME}/leverage-2"
    pictures = sorted(folder.glob("*.png"))
    assert len(pictures) == 8
    for picture in pictures:
        blob = picture.read_bytes()
        assert b"tIME" not in blob
        assert {note.partition(b"\0")[0] for note in png_notes(blob)} <= {
            b"Title",
            b"Metrics-SHA256",
            b"Evidence-SHA256",
        }
        assert b"<dc:date>" not in picture.with_suffix(".svg").read_bytes()
    with zipfile.ZipFile(folder / "deck.pptx") as deck:
        assert {entry.date_time for entry in deck.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        core = deck.read("docProps/core.xml").decode()
        texts = "".join(deck.read(name).decode() for name in deck.namelist() if name.startswith("docProps/"))
    assert "<dc:creator></dc:creator>" in core
    assert "<cp:lastModifiedBy></cp:lastModifiedBy>" in core
    assert set(re.findall(r"\d{4}-\d\d-\d\dT[\d:]+Z", texts)) == {"1980-01-01T00:00:00Z"}


def test_what_the_hub_gave_and_how_earlier_checkpoints_were_converted_is_in_it(project: Path) -> None:
    model = project / f"results/{NAME}/model"
    write_json(model / "hub.json", {"files": {"config.json": "0" * 64}})
    parity = read_json(model / "parity.json")
    earlier = parity | {"logits": parity["logits"] | {"relative_difference": 1.25e-05}}
    write_json(model / "parity-iteration-5.json", earlier)
    packed = pack(project)
    assert verify(packed)[1] == []
    files = read(packed)
    names = {"hub.json", "parity.json", "parity-iteration-5.json"}
    assert {f"data/results/model/{name}" for name in names} <= set(files)
    assert "`results/model/parity-iteration-5.json`: by 1.25e-05 at most." in files["data/model-card.md"].decode()


def test_trials_that_the_evidence_does_not_count_are_refused(project: Path) -> None:
    entry = next((project / "results/ledger").rglob("*.json"))
    entry.with_name("0" * 16 + ".json").write_text(entry.read_text())
    with pytest.raises(InputError, match=r"counts 1 variants on these hours, but .* holds 2 by now"):
        pack(project)
