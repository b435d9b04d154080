"""The container images of an archive: which made the run, and whether they come along."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from archive_inputs import (
    CONFIGURATION,
    made_in_containers,
    pack,
    read,
    recorded_job,
)

from archiving.verification.program import verify
from common.errors import InputError
from common.files import sha256


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
