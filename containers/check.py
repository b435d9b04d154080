"""In an image: the pinned packages are there in their versions, and the named modules can be imported."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys
from pathlib import Path


def pins(path: Path) -> dict[str, str]:
    """Package to version of the lines ``package==version`` of a requirements file."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def main(arguments: list[str]) -> None:
    """Arguments that end in .txt are requirements files, the others modules to import."""
    for argument in arguments:
        if argument.endswith(".txt"):
            for package, wanted in pins(Path(argument)).items():
                found = importlib.metadata.version(package)
                # A build of its own name is the same version: 2.13.0+cpu.
                if found.partition("+")[0] != wanted:
                    sys.exit(f"{package} is {found}, {argument} asks for {wanted}.")
                print(f"{package} {found}")
        else:
            importlib.import_module(argument)
    print(f"Python {platform.python_version()}")


if __name__ == "__main__":
    main(sys.argv[1:])
