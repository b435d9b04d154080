"""Archives of real runs, as somebody has them who has nothing else of the project."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from project_copy import PROJECT


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=Jo Doe", "-c", "user.email=jo@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def commit_sources(folder: Path) -> None:
    """Make a copy of the project a repository of its own."""
    for name in ("CITATION.cff", "LICENSE", ".gitignore"):
        shutil.copy2(PROJECT / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "The sources")


def unpacked(packed: Path, folder: Path) -> Path:
    """A ZIP file unpacked in a folder that has nothing else."""
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    return folder


def program(
    folder: Path, name: str, *arguments: str | Path, timeout: float = 280, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a program of the archive as somebody who has Python and nothing of this project."""
    command = [sys.executable, "-I", folder / name, *arguments]
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder.parent)} | variables
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=timeout
    )


def made_again(folder: Path) -> str:
    """What replay.py says where nothing from the decisions to the slides is another."""
    made = sum(path.is_file() for path in (folder / "data/results/leverage-2").iterdir())
    return f"{made} of {made} files are the same, byte for byte"
