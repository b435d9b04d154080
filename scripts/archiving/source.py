"""The sources of a run: the commit they are of, what differs from it, and all of it as a git bundle."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError

# Whatever a user has set: the same sources have to give the same bytes.
PLAIN = ("core.quotePath=false", "log.showSignature=false", "diff.suppressBlankEmpty=false")


@dataclass(frozen=True)
class Source:
    """The state of the sources.

    Attributes
    ----------
    commit
        SHA-1 of the commit.
    date
        When it was made, ISO 8601, UTC; the archive has no other date.
    prefix
        The project's folder inside the repository, empty or ending in a slash.
    changed
        Files that differ from the commit, and new ones that git does not ignore.
    patch
        What turns the commit into them, for ``git apply``; empty if nothing differs.
    """

    commit: str
    date: str
    prefix: str
    changed: list[str]
    patch: bytes

    @property
    def dirty(self) -> bool:
        """Whether the sources are not those of the commit."""
        return bool(self.changed)


def git(folder: Path, *arguments: str, given: bytes | None = None, **variables: str) -> bytes:
    """Output of a git command.

    Raises
    ------
    InputError
        If git is not there, or refuses.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"LC_ALL": "C", "TZ": "UTC", **variables}
    command = ["git", *(part for setting in PLAIN for part in ("-c", setting)), *arguments]
    try:
        done = subprocess.run(command, cwd=folder, input=given, capture_output=True, env=environment, check=False)
    except FileNotFoundError:
        raise InputError("git: not installed. The archive holds the sources as a git bundle: install git.") from None
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise InputError(f"git {arguments[0]}: {words[0]}. The archive holds the sources of a git repository.")
    return done.stdout


def read_source(folder: Path) -> Source:
    """The state of the sources in a folder of a git repository."""
    if git(folder, "rev-parse", "--is-shallow-repository").strip() == b"true":
        raise InputError(f"{folder}: a shallow clone has no whole history to bundle. Run git fetch --unshallow.")
    status = git(folder, "status", "--porcelain", "-z", "--untracked-files=all").decode()
    changed = sorted({line[3:] for line in status.split("\0") if len(line) > 3 and line[2] == " "})
    date = git(folder, "log", "-1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%cd", "HEAD")
    return Source(
        commit=git(folder, "rev-parse", "HEAD").decode().strip(),
        date=date.decode().strip(),
        prefix=git(folder, "rev-parse", "--show-prefix").decode().strip(),
        changed=changed,
        patch=patch(folder) if changed else b"",
    )


def patch(folder: Path) -> bytes:
    """What turns the last commit into the files as they are, new ones included; the repository stays as it is."""
    objects = git(folder, "rev-parse", "--path-format=absolute", "--git-path", "objects").decode().strip()
    with tempfile.TemporaryDirectory() as scratch:
        aside = {
            "GIT_INDEX_FILE": f"{scratch}/index",
            "GIT_OBJECT_DIRECTORY": scratch,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects,
        }
        git(folder, "read-tree", "HEAD", **aside)
        git(folder, "add", "--all", ":/", **aside)
        flags = ["--cached", "--patch", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv"]
        return git(folder, "diff-index", *flags, "--indent-heuristic", "HEAD", **aside)


def bundle(folder: Path, commit: str) -> bytes:
    """A git bundle of a commit and its history. However git has packed the repository, it gives the same bytes."""
    flags = ["--stdout", "--revs", "--threads=1", "--window=10", "--depth=50", "--compression=6"]
    flags += ["--window-memory=0", "--no-reuse-delta", "--no-reuse-object", "--no-use-bitmap-index", "--quiet"]
    pack = git(folder, "-c", "core.bigFileThreshold=512m", "pack-objects", *flags, given=f"{commit}\n".encode())
    return f"# v2 git bundle\n{commit} HEAD\n\n".encode() + pack


def texts(folder: Path, commit: str) -> list[tuple[str, bytes]]:
    """Every text of a commit's history, by a name to find it with: files of any time, and the commits' own words."""
    listed = git(folder, "rev-list", "--objects", "--in-commit-order", commit).decode()
    names = dict(line.partition(" ")[::2] for line in listed.splitlines())
    raw = git(folder, "cat-file", "--batch", given="".join(f"{sha}\n" for sha in names).encode())
    found, at = [], 0
    while at < len(raw):
        end = raw.index(b"\n", at)
        sha, kind, size = raw[at:end].decode().split()
        at = end + 1
        if kind == "commit":
            found.append((f"commit {sha[:12]}", raw[at : at + int(size)]))
        elif kind == "blob":
            found.append((f"{names[sha]} (git {sha[:12]})", raw[at : at + int(size)]))
        at += int(size) + 1
    return found
