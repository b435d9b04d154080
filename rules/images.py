"""Container images: which one a rule uses, and its name, which changes with what the image is made of."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = "containers"
CONSTRAINTS = "envs/constraints.txt"
PACKAGES = f"{FOLDER}/packages.txt"
ROOT = "base-python"  # the one whose own base the configuration chooses

_INTRODUCTION = """\
# What each requirements file installs, with all that its packages need: only these lines of envs/constraints.txt
# count for the name of an image. Made by `.venv/bin/python rules/images.py > containers/packages.txt`.
"""


@dataclass(frozen=True)
class Definition:
    """An Apptainer definition.

    Attributes
    ----------
    name
        File name without ``.def``.
    text
        What counts: the definition without comments, blank lines and help.
    arguments
        Defaults of its build arguments.
    copied
        Project files that it copies into the image, relative to the project.
    base
        Name of the definition it builds on; None where it starts from a published image or from nothing.
    """

    name: str
    text: str
    arguments: Mapping[str, str]
    copied: tuple[str, ...]
    base: str | None


def read_definition(project: Path, name: str) -> Definition:
    """Read ``containers/<name>.def``.

    Raises
    ------
    FileNotFoundError
        If there is no such definition.
    """
    sections = _sections((project / FOLDER / f"{name}.def").read_text(encoding="utf-8"))
    header, arguments = _pairs(sections[""], ":"), _pairs(sections.get("arguments", []), "=")
    copied = tuple(line.split()[0] for line in sections.get("files", []))
    base = arguments["base"] if header["Bootstrap"] == "localimage" else None
    text = "\n".join(
        line for section, lines in sections.items() if section != "help" for line in [f"%{section}", *lines]
    )
    return Definition(name, text, arguments, copied, base)


def image_hash(project: Path, name: str, given: Mapping[str, str] | None = None) -> str:
    """Hash over a definition, the files that it copies, and the hash of its base.

    Of requirements only what is installed counts, so that a new version of a tool changes no image.

    Parameters
    ----------
    project
        The project's folder.
    name
        Name of the definition.
    given
        The configuration's build arguments of the root definition.

    Returns
    -------
    str
        12 hexadecimal digits.
    """
    return _hash(project, name, tuple(sorted((given or {}).items())))


def image_path(project: Path, name: str, given: Mapping[str, str] | None = None) -> str:
    """Path of an image, relative to the project."""
    return f"{FOLDER}/{name}-{image_hash(project, name, given)}.sif"


def image_of(rule: str, device: str, engine: str) -> str:
    """Name of the definition that a rule uses on a device with a training engine."""
    if rule == "train" and engine == "slime":
        return "train-slime"
    return f"{rule}-cuda" if device == "cuda" and rule in ("train", "infer") else rule


def with_bases(project: Path, names: Iterable[str]) -> list[str]:
    """The named definitions and all that they build on, bases first, each once."""
    ordered: list[str] = []
    for name in names:
        base = read_definition(project, name).base
        for one in [*(with_bases(project, [base]) if base else []), name]:
            if one not in ordered:
                ordered.append(one)
    return ordered


def root_arguments(bootstrap: str, base: str | None) -> dict[str, str]:
    """Build arguments of the root from the configuration; what it leaves open stays the definition's default."""
    return {"bootstrap": bootstrap} | ({"base": base} if base is not None else {})


@functools.cache
def _hash(project: Path, name: str, given: tuple[tuple[str, str], ...]) -> str:
    definition = read_definition(project, name)
    parts = [definition.text]
    if name == ROOT:
        chosen = dict(definition.arguments) | dict(given)
        # A Debian mirror is an address; what it holds is the same everywhere. A given image is what it holds.
        meant = {"debootstrap": "debootstrap", "localimage": f"localimage {chosen['digest']}"}
        parts.append(meant.get(chosen["bootstrap"], f"{chosen}"))
    requirements = [file for file in definition.copied if file.startswith("envs/") and file != CONSTRAINTS]
    parts += ["\n".join(_lines(project / file)) for file in requirements]
    if CONSTRAINTS in definition.copied:
        parts += _constraints(project, requirements)
    parts += [
        hashlib.sha256((project / file).read_bytes()).hexdigest()
        for file in definition.copied
        if not file.startswith("envs/")
    ]
    if definition.base:
        parts.append(_hash(project, definition.base, given))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _sections(text: str) -> dict[str, list[str]]:
    """Lines by section, the header under ""; without comments and blank lines."""
    sections: dict[str, list[str]] = {"": []}
    current = sections[""]
    for line in text.splitlines():
        if line.startswith("%"):
            current = sections.setdefault(line[1:].strip(), [])
        elif line.strip() and not line.lstrip().startswith("#"):
            current.append(line.strip())
    return sections


def _pairs(lines: Iterable[str], separator: str) -> dict[str, str]:
    return {key.strip(): value.strip() for key, _, value in (line.partition(separator) for line in lines)}


def _lines(path: Path) -> list[str]:
    """Lines of a requirements file that mean something."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _constraints(project: Path, requirements: Iterable[str]) -> list[str]:
    """The constraints of what some requirements files install."""
    rows = (line.partition(":") for line in _lines(project / PACKAGES))
    installed = {name: packages.split() for name, _, packages in rows}
    packages = {package for file in requirements for package in installed[Path(file).stem]}
    return [line for line in _lines(project / CONSTRAINTS) if canonicalize_name(line.split("==")[0]) in packages]


# --- made once, with everything installed ---


def needed(requirements: Iterable[str], follow: bool) -> set[str]:
    """Packages that requirements install, by what the installed ones say that they need."""
    found: set[str] = set()
    waiting = [(Requirement(line), "") for line in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        found.add(name)
        for wanted in ("", *requirement.extras):
            if follow and (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting += [(Requirement(line), wanted) for line in importlib.metadata.requires(name) or []]
    return found


def packages_file(project: Path) -> str:
    """Text of containers/packages.txt."""
    copied = {file for path in (project / FOLDER).glob("*.def") for file in read_definition(project, path.stem).copied}
    rows = []
    for file in sorted(file for file in copied if file.startswith("envs/") and file != CONSTRAINTS):
        lines = [line for line in _lines(project / file) if not re.match("-[cr]", line)]
        follow = not Path(file).stem.endswith(("-nodeps", "-cuda"))
        rows.append(f"{Path(file).stem}: {' '.join(sorted(needed(lines, follow)))}\n")
    return _INTRODUCTION + "".join(rows)


if __name__ == "__main__":
    sys.stdout.write(packages_file(Path(__file__).parents[1]))
