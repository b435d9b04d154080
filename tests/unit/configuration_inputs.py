"""The schema of the configuration, and small configurations to try it with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configuration import read_schema

PROJECT = Path(__file__).parents[2]
SCHEMA = read_schema(PROJECT / "config" / "schema.yaml")


def with_value(path: str, value: Any) -> dict[str, Any]:
    """The smallest configuration that has one key set."""
    settings: dict[str, Any] = {"run": "x"}
    *sections, key = path.split(".")
    place = settings
    for section in sections:
        place = place.setdefault(section, {})
    place[key] = value
    return settings
