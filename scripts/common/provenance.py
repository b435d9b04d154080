"""Every result carries what it was made from: parameters, SHA-256 of the inputs, versions."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import sha256

# Where a file lies, how many threads read it and who hears about it do not change a result.
NOT_PARAMETERS = frozenset({"threads", "journal", "checkpoints"})


def parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """The values a program was called with, without paths: they would name the machine."""
    return {
        name: value
        for name, value in sorted(vars(arguments).items())
        if name not in NOT_PARAMETERS and not isinstance(value, Path) and value is not None
    }


def record(
    arguments: argparse.Namespace, inputs: Mapping[str, str | Path], packages: Iterable[str] = ()
) -> dict[str, Any]:
    """What goes into each result beside its numbers.

    Parameters
    ----------
    arguments
        The program's own arguments; paths (``pathlib.Path`` values) are left out.
    inputs
        Role ("bars", "decisions") to file or folder; recorded as SHA-256.
    packages
        Names of the distributions that computed the result.

    Returns
    -------
    dict
        ``{"parameters": ..., "inputs": {role: sha256}, "versions": {package: version}}``. Results of another machine
        have to be the same bytes: Python's patch version and the container image are host facts (`common.host`).
    """
    return {
        "parameters": parameters(arguments),
        "inputs": {role: sha256(path) for role, path in inputs.items()},
        "versions": {"python": python_version(), **{name: version(name) for name in packages}},
    }


def python_version() -> str:
    """Version of Python without the patch, such as 3.11."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def version(package: str) -> str:
    """Installed version of a distribution."""
    return importlib.metadata.version(package)


def check_input(
    result: Mapping[str, Any], path: str | Path, role: str, file: str | Path, found: str | None = None
) -> None:
    """Refuse `file` if the result at `path` was computed from another one.

    Parameters
    ----------
    found
        SHA-256 of `file`, where it is known already.

    Raises
    ------
    InputError
        If the SHA-256 recorded under `role` is not that of `file`.
    """
    inputs = result.get("inputs")
    if not isinstance(inputs, dict) or inputs.get(role) != (found or sha256(file)):
        raise InputError(
            f"{path}: was computed from another {role} file than {file}. Run the stage that makes {path} again."
        )
