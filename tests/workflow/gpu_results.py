"""Where the numbers of the tests on a GPU go: a file each beside the project's other results, and a line at the end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from project_copy import PROJECT

from common.files import write_json

LINES: list[str] = []  # of this session; conftest.py prints them last


def folder() -> Path:
    """benchmarks/results of the checkout, or the folder that GPU_RESULTS names."""
    return Path(os.environ.get("GPU_RESULTS") or PROJECT / "benchmarks" / "results")


def keep(name: str, result: Mapping[str, Any], summary: str) -> None:
    """Write a result; say in a line what it shows."""
    path = folder() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, dict(result))
    shown = path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path
    LINES.append(f"{shown}: {summary}")


def throughput_summary(result: Mapping[str, Any], own: str, other: str) -> str:
    """A result of the benchmarks of throughput in a line."""
    speeds = ", ".join(f"{name} {result[name]['tokens_per_second']:,.0f} tokens/s" for name in (own, other))
    return f"{result['machine']}: {speeds} ({result['times_as_fast']:g} times as fast)"


def size_summary(result: Mapping[str, Any]) -> str:
    """A result of a training of a large model in a line: measured, and planned."""
    words = []
    for name, unit in (("gigabytes", "GB"), ("seconds", "s an iteration"), ("tokens_per_second", "tokens/s")):
        planned = result["planned"][name]
        of = "no plan for this GPU" if planned is None else f"planned {planned:,.1f}"
        words.append(f"{result['measured'][name]:,.1f} {unit} ({of})")
    return f"{result['machine']}: {', '.join(words)}"
