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
from project_copy import MINIMAL, PROJECT, Workflow, copy_project

from containers import SUMS, ContainerError, pip_settings, provide, read_sums
from images import image_path, read_definition, root_arguments, with_bases
from isolation import HOME

DEFINITIONS = [path.stem for path in sorted((PROJECT / "containers").glob("*.def"))]
CPU = [name for name in DEFINITIONS if with_bases(PROJECT, [name])[0] == "base-python"]
IN_CONTAINERS = ("--software-deployment-method", "apptainer")
# Of what the workflow makes, what has to be equal to the last bit, in containers and without.
EQUAL = (
    *("market/bars.csv", "samples/train.jsonl", "samples/test.jsonl", "model/base/model.safetensors"),
    *("model/trained/model.safetensors", "infer/trained/decisions.jsonl", "infer/base/decisions.jsonl"),
    *("leverage-2/equity.csv", "leverage-2/trades.csv"),
)


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


def test_a_definition_that_cannot_be_built_is_one_line_and_leaves_no_image(
    images: Path, apptainer: Mapping[str, str], debian: dict[str, str], tmp_path: Path
) -> None:
    workflow = ready(tmp_path, images, apptainer, debian, link=("base-python",))
    definition = workflow.folder / "containers" / "deck.def"
    definition.write_text(definition.read_text().replace("%test\n", "%test\n    echo 'nothing is right' >&2; exit 1\n"))
    flags = ["--bootstrap=debootstrap", f"--base={debian['base']}"]
    done = subprocess.run(
        [sys.executable, "rules/containers.py", *flags, "deck"],
        cwd=workflow.folder, env=os.environ | dict(apptainer), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("containers: error: containers/deck.def: not built (nothing is right). All that was")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in workflow.folder.glob("containers/*deck*.sif")] == []
    assert list(workflow.folder.glob("containers/.*partial*")) == []


# --- the workflow ---


def ready(
    folder: Path, images: Path, apptainer: Mapping[str, str], debian: dict[str, str], link: tuple[str, ...] = ()
) -> Workflow:
    """A copy of the project that takes images from a folder, or builds on some that it has."""
    workflow = Workflow(copy_project(folder / "project").folder, apptainer)
    settings: dict[str, Any] = MINIMAL | {"containers": debian | ({} if link else {"folder": str(images)})}
    workflow.configuration("minimal", settings)
    for name in link:
        os.link(PROJECT / image_path(PROJECT, name, root_arguments(**debian)),
                workflow.folder / image_path(workflow.folder, name, root_arguments(**debian)))  # fmt: skip
    return workflow


def run(workflow: Workflow, *options: str, target: str = "all") -> str:
    done = workflow.snakemake(*options, "--configfile", "config/minimal.yaml", "--", target, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


def jobs(said: str) -> dict[str, int]:
    """Jobs by rule, from Snakemake's table."""
    rows = said.split("Job stats:\n")[1].split("\n\n")[0].splitlines()[2:]
    return {row.split()[0]: int(row.split()[1]) for row in rows if not row.startswith(("total", "all"))}


@pytest.fixture(scope="session")
def finished(
    images: Path, apptainer: Mapping[str, str], debian: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workflow, dict[str, int], dict[str, int]]:
    """A minimal run in containers; what its dry run announced, and what it did."""
    workflow = ready(tmp_path_factory.mktemp("containers"), images, apptainer, debian)
    announced = jobs(run(workflow, *IN_CONTAINERS, "--dry-run"))
    return workflow, announced, jobs(run(workflow, *IN_CONTAINERS))


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workflow, dict[str, int], dict[str, int]]:
    """The same without containers."""
    workflow = copy_project(tmp_path_factory.mktemp("local") / "project")
    announced = jobs(run(workflow, "--dry-run"))
    return workflow, announced, jobs(run(workflow))


Finished = tuple[Workflow, dict[str, int], dict[str, int]]


def test_a_dry_run_announces_what_then_happens_in_containers_and_without(finished: Finished, local: Finished) -> None:
    assert finished[1] == finished[2] == local[1] == local[2]
    assert finished[1]["train"] == 1
    for workflow, options in ((finished[0], IN_CONTAINERS), (local[0], ())):
        assert "Nothing to be done" in run(workflow, *options, "--dry-run")
        assert "Nothing to be done" in run(workflow, *options)


def test_the_numbers_are_those_of_a_run_without_containers(finished: Finished, local: Finished) -> None:
    one, two = (workflow.results("minimal") for workflow in (finished[0], local[0]))
    assert [name for name in EQUAL if (one / name).read_bytes() != (two / name).read_bytes()] == []
    metrics = [json.loads((folder / "leverage-2" / "metrics.json").read_text()) for folder in (one, two)]
    assert metrics[0]["strategies"] == metrics[1]["strategies"]
    assert (one / "leverage-2" / "deck.pptx").stat().st_size > 10_000


def test_the_results_say_which_images_made_them(finished: Finished, local: Finished, images: Path) -> None:
    results = finished[0].results("minimal")
    recorded = json.loads((results / "containers.json").read_text())
    assert recorded.items() <= read_sums(images).items()
    container = json.loads((results / "leverage-2" / "metrics.json").read_text())["container"]
    assert container.startswith("simulate-")
    assert container in recorded
    assert {name.rpartition("-")[0] for name in recorded} == set(finished[2])
    assert not (local[0].results("minimal") / "containers.json").exists()


def test_a_changed_definition_builds_its_image_and_reruns_its_rule_and_what_follows(
    finished: Finished, apptainer: Mapping[str, str], debian: dict[str, str], images: Path, tmp_path: Path
) -> None:
    workflow = ready(tmp_path, images, apptainer, debian, link=("base-python", *sorted(finished[2])))
    for part in ("results", ".snakemake"):
        shutil.copytree(finished[0].folder / part, workflow.folder / part)
    before = (workflow.results("minimal") / "leverage-2" / "equity.csv").stat().st_mtime_ns
    for name in ("samples", "train", "plot"):  # a comment is no change
        definition = workflow.folder / "containers" / f"{name}.def"
        definition.write_text(definition.read_text().replace("%post\n", "%post\n    # Why.\n"))
    assert "Nothing to be done" in run(workflow, *IN_CONTAINERS, "--dry-run")
    definition.write_text(definition.read_text().replace("%post\n", "%post\n    touch /opt/changed\n"))
    announced = jobs(run(workflow, *IN_CONTAINERS, "--dry-run"))
    assert announced.keys() == {"plot", "deck", "tearsheet"} & finished[2].keys()
    said = run(workflow, *IN_CONTAINERS)
    assert jobs(said) == announced
    assert said.count("Building ") == 2  # the other is "Building DAG of jobs"
    assert "Building plot-" in said
    assert (workflow.results("minimal") / "leverage-2" / "equity.csv").stat().st_mtime_ns == before
    recorded = json.loads((workflow.results("minimal") / "containers.json").read_text())
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


def look(workflow: Workflow, folder: Path) -> dict[str, Any]:
    """What a rule's program sees, when packages and files are planted on the machine."""
    home = folder / "home" / ".local" / "lib" / "python3.11" / "site-packages"
    for place, name in ((folder / "packages", "planted"), (home, "in_home")):
        place.mkdir(parents=True)
        (place / f"{name}.py").write_text("")
    (folder / "outside.txt").write_text("a file")
    program = workflow.folder / "scripts" / "market.py"
    first, second = program.read_text().split("from __future__ import annotations\n", 1)
    planted = _LOOK.replace("OUTSIDE", repr(str(folder / "outside.txt")))
    program.write_text(f"{first}from __future__ import annotations\n{planted}{second}")
    environment = {"PYTHONPATH": str(folder / "packages"), "HOME": str(folder / "home"), "SECRET": "x"}
    environment |= {"TMPDIR": str(folder)}
    spied = Workflow(workflow.folder, dict(workflow.environment) | environment)
    run(spied, *IN_CONTAINERS, target="results/minimal/market/bars.csv")
    return json.loads((workflow.folder / "seen.json").read_text())


def test_a_container_sees_the_project_and_scratch_and_nothing_else_of_the_machine(
    images: Path, apptainer: Mapping[str, str], debian: dict[str, str], tmp_path: Path
) -> None:
    workflow = ready(tmp_path, images, apptainer, debian)
    seen = look(workflow, tmp_path)
    assert not seen["planted"]
    assert not seen["in_home"]
    assert not seen["outside"]
    assert seen["secret"] is None
    assert seen["python"] == "/opt/venv/bin/python"
    assert seen["here"] == str(workflow.folder)
    assert seen["home"] == HOME
    (scratch,) = tmp_path.glob("containers-*")
    assert (scratch / "home" / "cache").read_text() == "of the program"
    assert not (workflow.folder / "cache").exists()


def test_without_the_isolation_it_would(
    images: Path, apptainer: Mapping[str, str], debian: dict[str, str], tmp_path: Path
) -> None:
    workflow = ready(tmp_path, images, apptainer, debian)
    rules = workflow.folder / "rules" / "containers.smk"
    assert "    isolate(workflow.deployment_settings)\n" in rules.read_text()
    rules.write_text(rules.read_text().replace("    isolate(workflow.deployment_settings)\n", "    pass\n"))
    seen = look(workflow, tmp_path)
    assert seen["planted"]
    assert seen["outside"]
    assert seen["secret"] == "x"
    assert seen["home"] == str(workflow.folder)


def test_a_model_folder_that_the_configuration_names_is_seen(
    finished: Finished, images: Path, apptainer: Mapping[str, str], debian: dict[str, str], tmp_path: Path
) -> None:
    model = shutil.copytree(finished[0].results("minimal") / "model" / "base", tmp_path / "models" / "qwen")
    workflow = ready(tmp_path, images, apptainer, debian)
    settings = MINIMAL | {"base_model": {"source": "folder", "folder": str(model)}}
    workflow.configuration("minimal", settings | {"containers": debian | {"folder": str(images)}})
    run(workflow, *IN_CONTAINERS, target="results/minimal/model/base")
    made = workflow.results("minimal") / "model" / "base" / "model.safetensors"
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


@pytest.mark.parametrize(
    ("name", "base"), [("train-cuda", "base-model"), ("infer-cuda", "base-python"), ("train-slime", "base-python")]
)
def test_the_steps_of_a_cuda_definition_run_on_an_image_that_can_be_had(
    images: Path, apptainer: Mapping[str, str], debian: dict[str, str], tmp_path: Path, name: str, base: str
) -> None:
    mounts, environment = pip_settings(PROJECT, tmp_path)
    stand_in = PROJECT / image_path(PROJECT, base, root_arguments(**debian))
    build = ["apptainer", "build", "--force", *(["--notest"] if base == "base-python" else []), *mounts]
    build += ["--build-arg", "bootstrap=localimage"]
    image = tmp_path / "image.sif"
    subprocess.run(
        [*build, "--build-arg", f"base={stand_in}", image, f"containers/{name}.def"],
        cwd=PROJECT, env=os.environ | apptainer | environment, check=True,
    )  # fmt: skip
    assert labels(image, apptainer)["org.opencontainers.image.title"] == name
    command = ["apptainer", "exec", "--contain", image, "python", "/opt/check.py"]
    assert subprocess.run(command, capture_output=True, env=apptainer).returncode == 0
