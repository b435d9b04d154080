"""Real images, built from the real definitions, and the workflow in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from local_registry import registry
from project_copy import PROJECT, copy_project
from slurm import MINIMAL, Folder, Minimal, project

from containers import ContainerError, provide
from images import image_path, read_definition, root_arguments, with_bases
from isolation import HOME
from sums import SUMS, read_sums

DEFINITIONS = [path.stem for path in sorted((PROJECT / "containers").glob("*.def"))]
CPU = [name for name in DEFINITIONS if with_bases(PROJECT, [name])[0] == "base-python"]
IN_CONTAINERS = ("--software-deployment-method", "apptainer")


def labels(image: Path, apptainer: Mapping[str, str]) -> dict[str, str]:
    command = ["apptainer", "inspect", "--labels", "--json", image]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, env=apptainer).stdout)
    return said["data"]["attributes"]["labels"]


# --- images ---


@pytest.mark.parametrize("name", CPU)
def test_an_image_says_what_it_is_and_what_it_was_built_on(
    images: Path, apptainer: Mapping[str, str], debian: dict[str, str], name: str
) -> None:
    given = root_arguments(**debian)
    image = PROJECT / image_path(PROJECT, name, given)
    said = labels(image, apptainer)
    assert said["org.opencontainers.image.title"] == name
    assert image.name == f"{name}-{said['org.opencontainers.image.version']}.sif"
    base = read_definition(PROJECT, name).base
    digest = f"sha256:{read_sums(images)[Path(image_path(PROJECT, base, given)).name]}" if base else "none"
    assert said["org.opencontainers.image.base.digest"] == digest
    text = subprocess.run(["apptainer", "run-help", image], capture_output=True, text=True, check=True, env=apptainer)
    assert len(text.stdout.split()) > 5


def test_the_list_of_hashes_is_right(images: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "--ignore-missing", SUMS], cwd=images, capture_output=True
    )
    assert done.returncode == 0, done.stdout
    assert {path.name for path in images.glob("*.sif")} <= set(read_sums(images))


def test_the_test_in_an_image_finds_a_package_of_another_version(
    images: Path, apptainer: Mapping[str, str], debian: dict[str, str], tmp_path: Path
) -> None:
    image = PROJECT / image_path(PROJECT, "market", root_arguments(**debian))
    wrong = tmp_path / "data.txt"
    wrong.write_text((PROJECT / "envs" / "data.txt").read_text().replace("numpy==", "numpy==9"))
    command = ["apptainer", "test", "--contain", "--bind", f"{wrong}:/opt/envs/data.txt", image]
    done = subprocess.run(command, capture_output=True, text=True, env=apptainer)
    assert done.returncode != 0
    assert "numpy is 2.4.6, /opt/envs/data.txt asks for 92.4.6." in done.stderr
    assert subprocess.run([*command[:3], image], capture_output=True, env=apptainer).returncode == 0


def test_the_test_in_an_image_finds_a_program_that_breaks(
    images: Path, apptainer: Mapping[str, str], debian: dict[str, str], tmp_path: Path
) -> None:
    folder = project(tmp_path, apptainer).path
    image = PROJECT / image_path(PROJECT, "simulate", root_arguments(**debian))
    command = ["apptainer", "test", "--contain", "--bind", folder, "--pwd", folder, image]
    done = subprocess.run(command, capture_output=True, text=True, env=apptainer)
    assert done.returncode == 0, done.stderr
    program = folder / "scripts" / "trading" / "accounting.py"
    program.write_text(program.read_text().replace("def account(", "def accounts("))
    done = subprocess.run(command, capture_output=True, text=True, env=apptainer)
    assert done.returncode != 0
    assert "cannot import name 'account'" in done.stderr


def test_the_target_finds_all_images_and_needs_no_slurm_job(finished: Minimal) -> None:
    run = finished.folder.run("containers", "--configfile", MINIMAL)
    assert run.jobs == {}
    assert "Containers: all are there." in run.text


def test_a_definition_that_cannot_be_built_is_one_line_and_leaves_no_image(
    images: Path, apptainer: Mapping[str, str], debian: dict[str, str], tmp_path: Path
) -> None:
    folder = project(tmp_path, apptainer).path
    link("base-python", folder, debian)
    definition = folder / "containers" / "deck.def"
    definition.write_text(definition.read_text().replace("%test\n", "%test\n    echo 'nothing is right' >&2; exit 1\n"))
    flags = ["--bootstrap=debootstrap", f"--base={debian['base']}"]
    done = subprocess.run(
        [sys.executable, "rules/containers.py", *flags, "deck"],
        cwd=folder, env=os.environ | dict(apptainer), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("containers: error: containers/deck.def: not built (nothing is right). All that was")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in folder.glob("containers/*deck*.sif")] == []
    assert list(folder.glob("containers/.*partial*")) == []


# --- the workflow ---


def link(name: str, folder: Path, debian: dict[str, str]) -> None:
    """Put one of the checkout's images where a copy of the project looks for it."""
    given = root_arguments(**debian)
    os.link(PROJECT / image_path(PROJECT, name, given), folder / image_path(folder, name, given))


def used(results: Path) -> set[str | None]:
    """Images in which the jobs of a run say that they were."""
    return {json.loads(path.read_text())["image"] for path in (results / "host").glob("*.json")}


def test_the_results_say_which_images_made_them(finished: Minimal, local: Minimal, images: Path) -> None:
    recorded = json.loads((finished.results / "containers.json").read_text())
    assert recorded.items() <= read_sums(images).items()
    assert used(finished.results) == recorded.keys()
    shared = {"variants": "infer", "export_checkpoint": "export_weights"}
    assert {name.rpartition("-")[0] for name in recorded} == {shared.get(rule, rule) for rule in finished.planned}
    assert not (local.results / "containers.json").exists()
    assert used(local.results) == {None}


def test_a_changed_definition_builds_its_image_and_reruns_its_rule_and_what_follows(
    finished: Minimal, debian: dict[str, str], tmp_path: Path
) -> None:
    folder = finished.folder.copied(tmp_path / "project")
    link("base-python", folder.path, debian)
    here = folder.configuration("build", containers={"folder": None})
    equity = folder.path / "results" / "minimal" / "leverage-2" / "equity.csv"
    before = equity.stat().st_mtime_ns
    for name in ("samples", "train", "plot"):  # a comment is no change
        definition = folder.path / "containers" / f"{name}.def"
        definition.write_text(definition.read_text().replace("%post\n", "%post\n    # Why.\n"))
    assert folder.planned("--configfile", here) == {}
    definition.write_text(definition.read_text().replace("%post\n", "%post\n    touch /opt/changed\n"))
    planned = folder.planned("--configfile", here)
    assert planned.keys() == {"plot", "deck", "tearsheet"}
    run = folder.run("--configfile", here)
    assert run.announced == planned
    assert set(run.jobs.values()) == {"group_report_deck_plot_tearsheet"}
    assert [line.partition("-")[0] for line in run.text.splitlines() if line.endswith(".sif")] == ["Building plot"]
    assert equity.stat().st_mtime_ns == before
    recorded = json.loads((equity.parents[1] / "containers.json").read_text())
    assert sum(name.startswith("plot-") for name in recorded) == 2


# --- what a container sees ---

_LOOK = """
import importlib.util, json, os, sys
from pathlib import Path
if "--help" not in sys.argv:
    seen = {name: importlib.util.find_spec(name) is not None for name in ("planted", "in_home")}
    seen |= {"outside": Path(OUTSIDE).exists(), "home": os.environ["HOME"], "python": sys.executable}
    seen |= {"secret": os.environ.get("SECRET"), "here": os.getcwd(), "tmp": sorted(os.listdir("/tmp"))}
    Path("seen.json").write_text(json.dumps(seen))
    (Path.home() / "cache").write_text("of the program")
"""


def look(folder: Folder, outside: Path) -> dict[str, Any]:
    """What a rule's program sees, when packages and files are planted on the machine."""
    home = outside / "home" / ".local" / "lib" / "python3.11" / "site-packages"
    for place, name in ((outside / "packages", "planted"), (home, "in_home")):
        place.mkdir(parents=True)
        (place / f"{name}.py").write_text("")
    (outside / "outside.txt").write_text("a file")
    program = folder.path / "scripts" / "market.py"
    first, second = program.read_text().split("from __future__ import annotations\n", 1)
    planted = _LOOK.replace("OUTSIDE", repr(str(outside / "outside.txt")))
    program.write_text(f"{first}from __future__ import annotations\n{planted}{second}")
    environment = {"PYTHONPATH": str(outside / "packages"), "HOME": str(outside / "home"), "SECRET": "x"}
    spied = Folder(folder.path, dict(folder.environment) | environment)
    spied.here(*IN_CONTAINERS, "--configfile", MINIMAL, "--", "results/minimal/market/bars.csv")
    return json.loads((folder.path / "seen.json").read_text())


@pytest.fixture
def folder(images: Path, apptainer: Mapping[str, str], debian: dict[str, str], tmp_path: Path) -> Folder:
    """A copy of the project that takes the images that are there."""
    return project(tmp_path, apptainer, {"containers": debian | {"folder": str(images)}})


def test_a_container_sees_the_project_and_scratch_and_nothing_else_of_the_machine(
    folder: Folder, tmp_path: Path
) -> None:
    seen = look(folder, tmp_path)
    assert not seen["planted"]
    assert not seen["in_home"]
    assert not seen["outside"]
    assert seen["secret"] is None
    assert seen["python"] == "/opt/venv/bin/python"
    assert seen["here"] == str(folder.path)
    assert seen["home"] == HOME
    (scratch,) = tmp_path.glob("scratch/containers-*")
    assert (scratch / "home" / "cache").read_text() == "of the program"
    assert not (folder.path / "cache").exists()


def test_without_the_isolation_it_would(folder: Folder, tmp_path: Path) -> None:
    rules = folder.path / "rules" / "containers.smk"
    assert "    isolate(workflow.deployment_settings)\n" in rules.read_text()
    rules.write_text(rules.read_text().replace("    isolate(workflow.deployment_settings)\n", "    pass\n"))
    seen = look(folder, tmp_path)
    assert seen["planted"]
    assert seen["outside"]
    assert seen["secret"] == "x"
    assert seen["home"] == str(folder.path)


def test_a_model_folder_that_the_configuration_names_is_seen(local: Minimal, folder: Folder, tmp_path: Path) -> None:
    model = shutil.copytree(local.results / "model" / "base", tmp_path / "models" / "qwen")
    named = folder.configuration("named", base_model={"source": "folder", "folder": str(model)})
    folder.here(*IN_CONTAINERS, "--configfile", named, "--", "results/minimal/model/base")
    made = folder.path / "results" / "minimal" / "model" / "base" / "model.safetensors"
    assert made.read_bytes() == (model / "model.safetensors").read_bytes()


# --- published images, and the definitions of the CUDA rules on what can be had here ---


def test_an_image_from_a_registry_is_built_from_the_digest_that_its_tag_has_now(
    images: Path, apptainer: Mapping[str, str], debian: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPTAINER_NOHTTPS", "true")
    root = tmp_path / "root"
    sif = PROJECT / image_path(PROJECT, "base-python", root_arguments(**debian))
    subprocess.run(["apptainer", "build", "--sandbox", root, sif], check=True, capture_output=True, env=apptainer)
    for part in ("opt", ".singularity.d"):  # what Apptainer and the definition make themselves
        shutil.rmtree(root / part)
    for path in root.iterdir():
        if path.is_symlink() and ".singularity.d" in os.readlink(path):
            path.unlink()
    project = copy_project(tmp_path / "project").folder
    with registry(root, tmp_path, "library/python", "3.11") as (name, digest):
        given = {"bootstrap": "docker", "base": name}
        (image,) = provide(project, ["base-python"], given)
        with pytest.raises(ContainerError, match=r"python:9: the registry answers 404"):
            provide(project, ["base-python"], given | {"base": name.replace(":3.11", ":9")})
    said = labels(image, apptainer)
    assert said["org.opencontainers.image.base.digest"] == digest
    assert said["org.label-schema.usage.singularity.deffile.from"].endswith(f"/library/python@{digest}")
    command = ["apptainer", "exec", "--contain", image, "python", "--version"]
    assert b"Python 3.11" in subprocess.run(command, check=True, capture_output=True, env=apptainer).stdout


@pytest.mark.parametrize("name", ["train-cuda", "infer-cuda", "train-slime"])
def test_the_steps_of_a_cuda_definition_run_on_an_image_that_can_be_had(
    cuda_images: dict[str, Path], apptainer: Mapping[str, str], name: str
) -> None:
    image = cuda_images[name]
    assert labels(image, apptainer)["org.opencontainers.image.title"] == name
    command = ["apptainer", "exec", "--contain", image, "python", "/opt/check.py"]
    assert subprocess.run(command, capture_output=True, env=apptainer).returncode == 0
