"""An archive is a bag and a Workflow Run RO-Crate, with the licences that hold."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from archive_inputs import (
    CONFIGURATION,
    NAME,
    pack,
    read,
)


def test_it_is_a_bag(project: Path, tmp_path: Path) -> None:
    """By the Library of Congress's own program."""
    bagit = pytest.importorskip("bagit")
    with zipfile.ZipFile(pack(project)) as archive:
        archive.extractall(tmp_path / "bag")
    assert bagit.Bag(str(tmp_path / "bag")).validate()
    (tmp_path / "bag/data/run.json").write_text("{}")
    with pytest.raises(bagit.BagValidationError):
        bagit.Bag(str(tmp_path / "bag")).validate()


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
