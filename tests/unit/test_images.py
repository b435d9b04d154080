from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from images import (
    CONSTRAINTS,
    PACKAGES,
    image_hash,
    image_of,
    image_path,
    packages_file,
    read_definition,
    root_arguments,
    with_bases,
)

PROJECT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (PROJECT / "containers").glob("*.def"))
RULES = sorted(set(re.findall(r'image\("(\w+)"\)', "".join(p.read_text() for p in PROJECT.glob("rules/*.smk")))))
PUBLISHED = {"train-cuda", "train-slime", "infer-cuda"}
MODEL = {"base-model", "base_model", "import_weights", "export_weights", "train", "infer"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what images are made of; its own place, because hashes are remembered."""
    for part in ("containers", "envs"):
        shutil.copytree(PROJECT / part, tmp_path / part, ignore=shutil.ignore_patterns("*.sif", ".pip", "*.log"))
    return tmp_path


def changed(project: Path, file: str, old: str, new: str) -> set[str]:
    """Names of the images whose paths change with an edit of a file."""
    before = {name: image_hash(PROJECT, name) for name in NAMES}
    path = project / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return {name for name in NAMES if image_hash(project, name) != before[name]}


# --- definitions ---


def test_every_rule_has_a_definition_on_a_cpu_and_on_cuda() -> None:
    assert "train" in RULES
    assert "infer" in RULES
    used = {
        image_of(rule, device, engine)
        for rule in RULES
        for device in ("cpu", "cuda")
        for engine in ("megatron", "slime")
    }
    assert used <= set(NAMES)


@pytest.mark.parametrize(
    ("rule", "device", "engine", "expected"),
    [
        ("train", "cpu", "megatron", "train"),
        ("train", "cuda", "megatron", "train-cuda"),
        ("train", "cuda", "slime", "train-slime"),
        ("infer", "cpu", "megatron", "infer"),
        ("infer", "cuda", "slime", "infer-cuda"),
        ("export_weights", "cuda", "megatron", "export_weights"),
        ("plot", "cuda", "slime", "plot"),
    ],
)
def test_the_image_follows_device_and_engine(rule: str, device: str, engine: str, expected: str) -> None:
    assert image_of(rule, device, engine) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_definition_has_labels_a_test_and_help(name: str) -> None:
    text = (PROJECT / "containers" / f"{name}.def").read_text()
    labels = text.partition("%labels\n")[2].partition("\n\n")[0]
    assert f"org.opencontainers.image.title {name}\n" in labels
    assert "org.opencontainers.image.version {{ version }}" in labels
    assert "org.opencontainers.image.base.digest {{ digest }}" in labels
    # Without `set -e` only the last line's failure would count.
    assert text.partition("%test\n")[2].startswith("    set -e\n    python /opt/check.py")
    assert len(text.partition("%help\n")[2].split()) > 5
    if not name.startswith("base-"):  # those have no rule
        assert f"\n    test ! -f containers/tiny.sh || sh containers/tiny.sh {name}\n\n%labels" in text
        tiny = (PROJECT / "containers" / "tiny.sh").read_text()
        own = re.search(rf"^{name.replace('-', '_')}\(\) {{(.*?)}}$", tiny, re.MULTILINE | re.DOTALL)
        assert own, "containers/tiny.sh has no call of it"
        rule, _, device = name.partition("-")
        assert re.search(rf"\b{'refused' if device else 'program'} {rule} ", own[1])


@pytest.mark.parametrize("name", NAMES)
def test_what_a_definition_copies_is_there_and_what_it_installs_is_pinned(name: str) -> None:
    definition = read_definition(PROJECT, name)
    constraints = (PROJECT / CONSTRAINTS).read_text().lower().splitlines()
    for file in definition.copied:
        assert (PROJECT / file).is_file()
        for line in (PROJECT / file).read_text().splitlines() if file.startswith("envs/") else []:
            assert not line or line[0] in "#-" or "==" in line, line
            if line and line[0] not in "#-" and file != CONSTRAINTS:
                assert line.lower() in constraints, f"{file} and {CONSTRAINTS} differ"
    for command in re.findall("pip install (.*)", definition.text):
        assert re.search(r"-r /opt/envs/([\w-]+)\.txt$", command)


def test_the_cpu_rules_share_two_bases_and_the_cuda_rules_start_from_published_images_with_a_tag() -> None:
    for name in NAMES:
        definition = read_definition(PROJECT, name)
        if name in PUBLISHED | {"base-python"}:
            assert definition.base is None
            assert re.fullmatch(r"[\w/-]+:[\w.-]*\d[\w.-]*", definition.arguments["base"])
        else:
            assert definition.base == ("base-model" if name in MODEL - {"base-model"} else "base-python")


def test_bases_come_first_and_once() -> None:
    order = with_bases(PROJECT, ["train", "plot", "import_weights"])
    assert order == ["base-python", "base-model", "train", "plot", "import_weights"]


def test_the_list_of_what_requirements_install_is_up_to_date() -> None:
    assert (PROJECT / PACKAGES).read_text() == packages_file(PROJECT), (
        "Run .venv/bin/python rules/images.py > containers/packages.txt"
    )


# --- names ---


def test_the_name_is_the_definitions_with_twelve_hexadecimal_digits() -> None:
    assert re.fullmatch(r"containers/plot-[0-9a-f]{12}\.sif", image_path(PROJECT, "plot"))
    assert len({image_path(PROJECT, name) for name in NAMES}) == len(NAMES)


def test_the_place_of_the_project_does_not_count(project: Path) -> None:
    assert [image_hash(project, name) for name in NAMES] == [image_hash(PROJECT, name) for name in NAMES]


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        # A definition, a copied file, a requirement, a constraint of a package that comes along.
        ("containers/plot.def", "%post\n", "%post\n    true\n", {"plot"}),
        ("containers/base-model.def", "%post\n", "%post\n    true\n", MODEL),
        ("envs/data.txt", "pandas==3.1.1", "pandas==3.1.0", {"market", "samples", "simulate", "base_model"}),
        ("envs/constraints.txt", "contourpy==1.3.3", "contourpy==1.3.2", {"plot", "deck", "tearsheet"}),
        ("envs/constraints.txt", "huggingface_hub==0.36.2", "huggingface_hub==0.36.1", MODEL),
        ("envs/train-cuda.txt", "tqdm==4.70.1", "tqdm==4.70.0", {"train-cuda"}),
        ("containers/train-cuda.def", ":2.9.1-", ":2.9.0-", {"train-cuda"}),
        ("containers/base-python.def", "venv /opt/venv", "venv --clear /opt/venv", set(NAMES) - PUBLISHED),
        ("containers/check.py", "import sys", "import os, sys", set(NAMES)),
        # What changes nothing: comments, help, tools that no image holds.
        ("containers/plot.def", "%post\n", "# Comment\n%post\n    # comment\n\n", set()),
        ("containers/plot.def", "%help\n", "%help\n    More.\n", set()),
        ("envs/data.txt", "# market", "# Comment: market", set()),
        ("envs/constraints.txt", "ruff==", "ruff==9", set()),
        ("envs/constraints.txt", "snakemake==", "snakemake==9", set()),
        ("envs/constraints.txt", "# Every version", "# All versions", set()),
    ],
)
def test_a_change_changes_the_names_of_what_it_goes_into_and_no_others(
    project: Path, file: str, old: str, new: str, expected: set[str]
) -> None:
    assert changed(project, file, old, new) == expected


def test_another_base_is_another_image_and_another_mirror_of_debian_is_not() -> None:
    def name(bootstrap: str, base: str | None) -> str:
        return image_hash(PROJECT, "deck", root_arguments(bootstrap, base))

    assert name("docker", None) == name("docker", "python:3.11.14-slim-bookworm") == image_hash(PROJECT, "deck")
    assert len({name("docker", None), name("docker", "python:3.11.13-slim"), name("debootstrap", None)}) == 3
    assert name("debootstrap", "http://one.example") == name("debootstrap", "http://two.example")
    published = [
        image_hash(PROJECT, "infer-cuda", root_arguments(*given)) for given in [("docker", None), ("debootstrap", "x")]
    ]
    assert published[0] == published[1]


def test_a_given_image_counts_by_its_content_and_not_by_its_place() -> None:
    def names(base: str, content: str) -> tuple[str, str, str]:
        given = {"bootstrap": "localimage", "base": base, "digest": f"sha256:{content}"}
        root, rule, cuda = (image_hash(PROJECT, name, given) for name in ("base-python", "deck", "infer-cuda"))
        return root, rule, cuda

    assert names("/one/base.sif", "1") == names("/two/base.sif", "1")
    one, other = names("/one/base.sif", "1"), names("/one/base.sif", "2")
    assert [same == changed for same, changed in zip(one, other, strict=True)] == [False, False, True]
