"""A folder in which an archive's workflow runs again: its sources, its environment, its data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archiving.verification.checksums import check_checksums, digest
from archiving.verification.container import ArchiveError, Folder, Packed, content, opened

NOT_NEEDED = ("constraints.txt", "test.txt", "archive.txt")
FOR_REPLAY = ("workflow.txt", "evaluate.txt", "report.txt")


@dataclass(frozen=True)
class Workplace:
    """Where the workflow runs again.

    Attributes
    ----------
    files
        The archive.
    run
        Its run.json.
    project
        The sources, checked out.
    python
        Of the pinned environment.
    """

    files: Folder | Packed
    run: dict[str, Any]
    project: Path
    python: Path

    @property
    def results(self) -> Path:
        return self.project / "results" / self.run["run"]

    def put(self, name: str, place: Path) -> None:
        """Copy a file out of the archive."""
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "wb") as handle:
            for chunk in self.files.chunks(name):
                handle.write(chunk)

    def put_below(self, prefix: str, folder: Path) -> None:
        """Copy all files whose names begin so."""
        for name in self.files.names():
            if name.startswith(prefix):
                self.put(name, folder / name.removeprefix(prefix))

    def lay(self) -> None:
        """Copy the configuration, what it names, and the ledger of trials."""
        self.put("data/configuration.json", self.project / "configuration.json")
        self.put_below("data/sources/", self.project / "sources")
        self.put_below("data/trials/", self.project / "results/ledger")

    def snakemake(self, targets: list[str], rules: list[str]) -> None:
        """Run the workflow until the targets are there; with `rules`, as if there were no others."""
        command = [str(self.python), "-m", "snakemake", *targets, "--cores", "all", "--nolock", "--quiet", "rules"]
        command += ["--configfile", "configuration.json"]
        if rules:
            command += ["--allowed-rules", *rules]
        called(command, self.project)


def called(command: list[str], folder: Path) -> None:
    """Run a command, with all it says in log.txt beside the sources; ArchiveError with the end of it if it fails."""
    path = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", os.defpath)])
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "PYTHON"))}
    with open(folder.parent / "log.txt", "ab") as log:
        done = subprocess.run(command, cwd=folder, stdout=log, stderr=log, env=kept | {"PATH": path}, check=False)
    if done.returncode:
        said = (folder.parent / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ArchiveError(
            f"{' '.join(command[:4])} ... failed. The end of {folder.parent / 'log.txt'}:\n" + "\n".join(said[-15:])
        )


def prepared(archive: Path, into: Path, python: Path | None, whole: bool) -> Workplace:
    """Check the archive, check its sources out, and make the environment.

    Parameters
    ----------
    into
        A folder that is not there yet, or is empty.
    python
        Of an environment that has the pinned packages; without one it is made.
    whole
        Whether all packages are needed, or only those of simulation, tests and slides.
    """
    files = opened(archive)
    problems = files.problems() or check_checksums(files)[0]
    if problems:
        raise ArchiveError("\n".join(["the archive is not the one that was made:", *problems]))
    if into.exists() and any(into.iterdir()):
        raise ArchiveError(f"{into}: is not empty. Name another folder with --into.")
    for program in ("git",):
        if shutil.which(program) is None:
            raise ArchiveError(f"{program}: not installed")
    into.mkdir(parents=True, exist_ok=True)
    run = json.loads(content(files, "data/run.json"))
    clone, source = into.resolve() / "sources", run["source"]
    bundle = into.resolve() / "source.bundle"
    place = Workplace(files, run, clone / source["prefix"], python or into.resolve() / "environment/bin/python")
    place.put("data/source.bundle", bundle)
    clone.mkdir()
    called(["git", "init", "--quiet"], clone)
    called(["git", "fetch", "--quiet", str(bundle), "HEAD"], clone)
    called(["git", "checkout", "--quiet", source["commit"]], clone)
    if source["dirty"]:
        place.put("data/source.patch", into.resolve() / "source.patch")
        called(["git", "apply", "--whitespace=nowarn", str(into.resolve() / "source.patch")], clone)
    if python is None:
        made_environment(place.python, place.project / "envs", whole)
    place.lay()
    return place


def made_environment(python: Path, envs: Path, whole: bool) -> None:
    """A virtual environment with the pinned packages, as the project's Makefile makes it."""
    if sys.version_info[:2] != (3, 11):
        raise ArchiveError(f"Python 3.11 is needed to make the pinned environment, this is {sys.version.split()[0]}")
    print("Making the pinned environment", flush=True)
    called([sys.executable, "-m", "venv", str(python.parents[1])], envs)
    names = sorted(path.name for path in envs.glob("*.txt")) if whole else list(FOR_REPLAY)
    names = [name for name in names if name not in NOT_NEEDED and not name.endswith("-cuda.txt")]
    pip = [str(python), "-m", "pip", "install", "--no-input", "--quiet", "--disable-pip-version-check"]
    called([*pip, *(f"-r{name}" for name in names if not name.endswith("-nodeps.txt"))], envs)
    for name in names:
        if name.endswith("-nodeps.txt"):
            called([*pip, "--no-deps", f"-r{name}"], envs)


def put_samples(place: Workplace, given: Mapping[str, Path]) -> None:
    """Lay samples that the archive may not hold beside the decisions of the variants that answer them, by its name."""
    for settings in json.loads(content(place.files, "data/configuration.json"))["evaluate"]["variants"]:
        variant, _, decisions = settings.partition("=")
        name = f"{decisions.rpartition('/')[0]}/samples.jsonl"
        blob = withheld_file(place, f"data/{name}", given.get(variant), f"--variant-samples {variant}")
        if blob is not None:
            (place.project / name).write_bytes(blob)


def withheld_file(place: Workplace, name: str, given: Path | None, flag: str) -> bytes | None:
    """A result that the archive may not hold, from whom has it; None if the archive holds it or nobody does."""
    if "data/withheld.json" not in place.files.names():
        return None
    listed = {row["file"]: row for row in json.loads(content(place.files, "data/withheld.json"))["files"]}
    if name not in listed:
        return None
    if given is None:
        raise ArchiveError(f"{name}: is not in the archive; {listed[name]['how_to_get']} Then add {flag} FILE.")
    if digest(Folder(given.parent), given.name) != listed[name]["sha256"]:
        raise ArchiveError(f"{given}: is not the file that the run used, its SHA-256 is another one")
    return given.read_bytes()
