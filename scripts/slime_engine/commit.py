"""Which slime it is: its image takes slime's main branch of some day, so the version alone does not say."""

from __future__ import annotations

import re
from pathlib import Path

from slime_engine.cluster import package_folder

# Tag v0.2.1, whose arguments, hooks, files and log lines this project relies on.
WRITTEN_AGAINST = "0934a0e25d3d72c5f221de6ba45493e6a3002317"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def slime_commit() -> str | None:
    """Commit of the slime that is installed; None where it is no git checkout, as an image has it."""
    package = package_folder("slime")
    return None if package is None else commit_of(package.parent / ".git")


def commit_of(git: Path) -> str | None:
    """What is checked out, by the files of a repository: the image may lack the program git."""
    try:
        head = (git / "HEAD").read_text().strip()
        if head.startswith("ref: "):
            head = _branch(git, head.removeprefix("ref: "))
    except OSError:
        return None
    return head if _COMMIT.fullmatch(head) else None


def _branch(git: Path, name: str) -> str:
    if (git / name).is_file():
        return (git / name).read_text().strip()
    rows = (line.split() for line in (git / "packed-refs").read_text().splitlines())
    return next((row[0] for row in rows if row[1:] == [name]), "")


def said(commit: str | None) -> list[str]:
    """What to print of a commit, with a warning if it is another than the one that this project was written against."""
    if commit is None:
        return ["slime's commit is not known: its sources are no git checkout"]
    lines = [f"slime's commit is {commit}"]
    if commit != WRITTEN_AGAINST:
        lines.append(
            f"train: warning: slime is at commit {commit}, this project was written against {WRITTEN_AGAINST} "
            "(v0.2.1): arguments, hooks or log lines may differ. Compare them, or take an image of that commit."
        )
    return lines
