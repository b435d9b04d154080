"""archive.py: what it packs, that it repeats, and what it refuses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

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
    recorded_job,
)
from pptx import Presentation
from report_inputs import Run

from archiving.collect import without_paths
from archiving.scan import png_notes
from archiving.source import bundle, read_source
from archiving.verification.program import verify
from common.errors import InputError
from common.files import read_json, sha256, write_json


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a finished run."""
    project = make_project(tmp_path_factory.mktemp("script") / "project")
    make_finished(project)
    return project


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(made, tmp_path / "project")
    return tmp_path / "project"


# --- contents ---


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


def test_images_are_named_and_come_along_if_asked_for(project: Path) -> None:
    with pytest.raises(InputError, match="made without containers"):
        pack(project, "--images")
    image, sha = made_in_containers(project)
    files = read(pack(project))
    assert json.loads(files["data/containers/images.json"]) == {"sha256": {image.name: sha}}
    assert f"data/containers/{image.name}" not in files
    assert "the container images; SHA-256 in `data/containers/images.json`" in files["README.md"].decode()
    packed = pack(project, "--images")
    assert read(packed)[f"data/containers/{image.name}"] == b"an image"
    assert verify(packed)[1] == []
    image.write_bytes(b"built again")
    with pytest.raises(InputError, match=r"simulate-abc\.sif: is another one than the run was made in"):
        pack(project, "--images")
    image.unlink()
    with pytest.raises(InputError, match=r"simulate-abc\.sif: no such file"):
        pack(project, "--images")


def test_a_run_without_containers_names_none_whatever_was_left_of_an_earlier_one(project: Path) -> None:
    """Snakemake records the image that a rule would have used."""
    image, _ = made_in_containers(project)
    for record in (project / ".snakemake/metadata").iterdir():
        named = {"container_img_url": f"containers/{image.name}"}
        record.write_text(json.dumps(json.loads(record.read_text()) | named))
    recorded_job(project, None, "leverage-2/equity.csv", started="2026-01-03T00:00:00Z")
    files = read(pack(project))
    assert "data/containers/images.json" not in files
    found = json.loads(files["data/host/snakemake.json"])
    assert found["images_sha256"] == {}
    assert image.name not in json.dumps(found)
    with pytest.raises(InputError, match="made without containers"):
        pack(project, "--images")


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


def test_it_is_a_bag(project: Path, tmp_path: Path) -> None:
    """By the Library of Congress's own program."""
    bagit = pytest.importorskip("bagit")
    with zipfile.ZipFile(pack(project)) as archive:
        archive.extractall(tmp_path / "bag")
    assert bagit.Bag(str(tmp_path / "bag")).validate()
    (tmp_path / "bag/data/run.json").write_text("{}")
    with pytest.raises(bagit.BagValidationError):
        bagit.Bag(str(tmp_path / "bag")).validate()


def test_the_bundle_gives_the_sources_back(project: Path, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(read(pack(project))["data/source.bundle"])
    subprocess.run(["git", "clone", "--quiet", tmp_path / "b", tmp_path / "clone"], check=True)
    assert (tmp_path / "clone/Snakefile").read_text() == "rule all:\n"


def test_paths_of_this_machine_are_replaced_by_the_archive_s_own(project: Path, tmp_path: Path) -> None:
    outside = tmp_path / "private data" / "btc.csv"
    outside.parent.mkdir()
    outside.write_text("timestamp,close\n")
    market = CONFIGURATION["market"] | {"source": "csv", "csv": {"path": str(outside), "sha256": None}}
    packed = pack(project, configuration=CONFIGURATION | {"market": market})
    files = read(packed)
    assert json.loads(files["data/configuration.json"])["market"]["csv"]["path"] == "sources/btc.csv"
    assert files["data/sources/btc.csv"] == outside.read_bytes()
    assert [name for name, content in files.items() if b"private data" in content] == []


def test_the_hub_s_cache_and_folders_for_containers_are_left_out(project: Path) -> None:
    """The commands of rules name the cache, though the configuration of the run may not."""
    cache = "/home/me/.cache/huggingface/hub"
    for record in (project / ".snakemake/metadata").iterdir():
        command = f"python scripts/fetch_model.py --hub-name=Owner/Model --hub-cache={cache} --output x 2>&1"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"shellcmd": command}))
    section = CONFIGURATION["base_model"] | {"source": "hub", "hub": {"name": "Owner/Model", "cache": cache}}
    files = read(pack(project, configuration=CONFIGURATION | {"base_model": section}))
    settings = json.loads(files["data/configuration.json"])
    assert settings["base_model"]["hub"] == {"name": "Owner/Model", "cache": None}
    assert settings["containers"] == {"folder": None, "scratch": None, "bootstrap": "localimage", "base": None}
    assert "--hub-cache=sources/hub-cache --output" in files["data/run.json"].decode()
    assert [name for name, content in files.items() if b"/home/me" in content] == []


@pytest.mark.parametrize("folder", ["/home/" + "jo", "data/jo.doe"])
def test_of_the_image_that_containers_start_from_its_hash_is_kept(project: Path, tmp_path: Path, folder: str) -> None:
    base = tmp_path / folder.strip("/") / "base.sif" if folder.startswith("data") else Path(folder, "base.sif")
    if folder.startswith("data"):
        base.parent.mkdir(parents=True)
        base.write_bytes(b"a base")
    section = CONFIGURATION["containers"] | {"base": str(base)}
    files = read(pack(project, configuration=CONFIGURATION | {"containers": section}))
    assert json.loads(files["data/configuration.json"])["containers"]["base"] is None
    hashed = {"container_base_sha256": sha256(base)} if base.exists() else {}
    assert json.loads(files["data/run.json"]).items() >= hashed.items()
    assert [name for name, content in files.items() if str(base.parent).encode() in content] == []
    section |= {"bootstrap": "debootstrap", "base": "https://example.org/debian"}  # an address stays
    files = read(pack(project, configuration=CONFIGURATION | {"containers": section}))
    assert json.loads(files["data/configuration.json"])["containers"]["base"] == "https://example.org/debian"


def test_a_path_in_the_middle_of_another_one_is_not_replaced() -> None:
    paths = {"sources/bars.csv": Path("bars.csv"), "sources/hub-cache": Path("/hub")}
    text = b"--hub-cache=/hub '/hub/models' /a/hub /hubs --path=bars.csv market/bars.csv bars.csv.gz"
    assert without_paths(text, paths) == (
        b"--hub-cache=sources/hub-cache 'sources/hub-cache/models' /a/hub /hubs --path=sources/bars.csv "
        b"market/bars.csv bars.csv.gz"
    )


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


def test_an_archive_s_crate_is_valid(made: Path, tmp_path: Path) -> None:
    """By roc-validator, with the terms that the rocrate library brings: nothing is fetched."""
    pytest.importorskip("rocrate_validator")
    packed = pack(made)
    shutil.copy(packed, tmp_path / "good.zip")
    shutil.rmtree(packed.parent)
    assert crate_issues(tmp_path / "good.zip") == []
    folder = tmp_path / "bad"
    with zipfile.ZipFile(tmp_path / "good.zip") as archive:
        archive.extractall(folder)
    metadata = json.loads((folder / "ro-crate-metadata.json").read_text())
    metadata["@graph"] = [row for row in metadata["@graph"] if row["@id"] != f"#run-{NAME}"]
    (folder / "ro-crate-metadata.json").write_text(json.dumps(metadata))
    assert crate_issues(folder)


@pytest.mark.parametrize("stated", [None, "CC-BY-4.0"])
def test_the_market_s_data_have_their_own_licence(made: Path, tmp_path: Path, stated: str | None) -> None:
    pytest.importorskip("rocrate_validator")
    outside = tmp_path / "btc.csv"
    outside.write_text("timestamp,close\n")
    market = CONFIGURATION["market"] | {"source": "csv", "csv": {"path": str(outside), "sha256": None}}
    flags = ["--data-licence", stated] if stated else []
    licences, zenodo = {}, {}
    for name, more, configuration in (
        ("csv", flags, CONFIGURATION | {"market": market}),
        ("without prices", [*flags, "--no-market-data"], CONFIGURATION | {"market": market}),
        ("synthetic", [], CONFIGURATION),
    ):
        packed = pack(made, *more, configuration=configuration)
        files = read(packed)
        shutil.move(packed, tmp_path / f"{name}.zip")
        shutil.rmtree(packed.parent)
        graph = json.loads(files["ro-crate-metadata.json"])["@graph"]
        licences[name] = {row["@id"]: row["license"]["@id"] for row in graph if isinstance(row.get("license"), dict)}
        zenodo[name] = json.loads(files[".zenodo.json"])["license"]
    own, data = "https://spdx.org/licenses/Apache-2.0", "#licence-of-the-data"
    data = f"https://spdx.org/licenses/{stated}" if stated else data
    held = {"market/bars.csv", "samples/test.jsonl", "leverage-2/equity.csv", "leverage-2/equity_curve.svg"}
    assert {licences["csv"][f"data/results/{name}"] for name in held} | {licences["csv"]["data/sources/btc.csv"]} == {
        data
    }
    assert licences["csv"]["data/workflow/Snakefile"] == own
    assert set(licences["without prices"].values()) == {own}
    assert set(licences["synthetic"].values()) == {own}
    assert zenodo == {
        "csv": (stated or "other-closed").lower(),
        "without prices": "apache-2.0",
        "synthetic": "apache-2.0",
    }
    assert crate_issues(tmp_path / "csv.zip") == []


def crate_issues(place: Path) -> list[str]:
    """What the Workflow Run RO-Crate profile requires and is not there."""
    import rocrate
    import rocrate_validator.utils.document_loader as loader
    import rocrate_validator.utils.http as http
    from rocrate_validator import models, services

    context = json.loads((Path(rocrate.__file__).parent / "data/ro-crate.jsonld").read_text())
    for term in ("ComputationalWorkflow", "FormalParameter"):
        context["@context"][term] = f"https://bioschemas.org/{term}"  # as RO-Crate 1.1 has them

    class Answer:
        status_code = 200
        headers: dict[str, str] = {"Content-Type": "application/ld+json"}  # noqa: RUF012

        def json(self) -> Any:
            return context

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "_fetch_json_ld", lambda url: context)
        patch.setattr(http.HttpRequester, "get", lambda self, url, **more: Answer(), raising=False)
        settings = services.ValidationSettings(
            rocrate_uri=str(place),
            profile_identifier="workflow-run-crate-0.5",
            requirement_severity=models.Severity.REQUIRED,
            skip_availability_check=True,
        )
        return [str(issue.message) for issue in services.validate(settings).get_issues()]


# --- sources ---


def test_a_changed_or_new_file_is_refused_and_packed_only_if_allowed(project: Path, tmp_path: Path) -> None:
    (project / "Snakefile").write_text("rule other:\n")
    (project / "new.py").write_text("NEW = 1\n")
    with pytest.raises(InputError, match=r"Snakefile, new\.py\. Commit them, or set archive\.allow_dirty"):
        pack(project)
    packed = pack(project, "--allow-dirty")
    files = read(packed)
    assert json.loads(files["data/run.json"])["source"]["changed"] == ["Snakefile", "new.py"]
    assert "differ from it" in files["README.md"].decode()
    assert verify(packed)[1] == []
    (tmp_path / "b").write_bytes(files["data/source.bundle"])
    (tmp_path / "p").write_bytes(files["data/source.patch"])
    subprocess.run(["git", "clone", "--quiet", tmp_path / "b", tmp_path / "clone"], check=True)
    git(tmp_path / "clone", "apply", str(tmp_path / "p"))
    assert (tmp_path / "clone/new.py").read_text() == "NEW = 1\n"
    assert (tmp_path / "clone/Snakefile").read_text() == "rule other:\n"
    assert git(project, "diff", "--cached", "--name-only") == ""  # the user's own index is as it was


def test_a_clean_state_is_not_dirty_and_its_bundle_repeats(project: Path) -> None:
    source = read_source(project)
    assert not source.dirty
    assert source.patch == b""
    assert bundle(project, source.commit) == bundle(project, source.commit)


def test_without_a_repository_it_says_so(project: Path) -> None:
    shutil.rmtree(project / ".git")
    with pytest.raises(InputError, match="git repository"):
        pack(project)


def test_trials_that_the_evidence_does_not_count_are_refused(project: Path) -> None:
    entry = next((project / "results/ledger").rglob("*.json"))
    entry.with_name("0" * 16 + ".json").write_text(entry.read_text())
    with pytest.raises(InputError, match=r"counts 1 variants on these hours, but .* holds 2 by now"):
        pack(project)
