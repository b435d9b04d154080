"""Command-line options that are settings of the configuration, from settings.json, which is config/schema.yaml in JSON.

So an option's values, unit, default and meaning are those of the configuration, also where a program is called by
hand; and programs need no package to read them. A copy, made by `.venv/bin/python rules/configuration.py --json`.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError

Schema = Mapping[str, Any]
COPY = Path(__file__).with_name("settings.json")

_KINDS = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
_METAVARS = {"string": "TEXT", "integer": "N", "number": "X"}


def setting(path: str) -> Schema:
    """What the schema says of a setting or a section, such as ``train.reward.scale``; ``[]`` for a list's entries.

    >>> setting("evaluate.fast")["unit"], setting("simulate.leverage[]")["maximum"]
    ('bars', 100)
    """
    found = _settings()
    for part in path.split("."):
        found = found["properties"][part.removesuffix("[]")]
        found = found["items"] if part.endswith("[]") else found
    return found


def add_settings(
    parser: argparse.ArgumentParser,
    section: str,
    leave_out: Collection[str] = (),
    paths: Collection[str] = (),
    prefix: str = "",
) -> None:
    """Add an option for each setting of a section, those of subsections in groups.

    Nested keys are joined by dashes, as the workflow gives them: ``train.reward.scale`` is ``--reward-scale``.

    Parameters
    ----------
    leave_out
        Names of options, or of subsections, that the program takes in another way or not at all.
    paths
        Names of options whose values are paths: the program gets ``pathlib.Path``.
    prefix
        Of the options' names.
    """
    described = setting(section)
    group = parser.add_argument_group(prefix.strip("-"), described["description"]) if prefix else parser
    for key, schema in described["properties"].items():
        name = f"{prefix}{key}".replace("_", "-")
        if name in leave_out:
            continue
        if schema.get("type") == "object":
            add_settings(parser, f"{section}.{key}", leave_out, paths, f"{name}-")
        else:
            add_setting(group, f"--{name}", f"{section}.{key}", path=name in paths)


def add_setting(
    parser: argparse._ActionsContainer,
    flag: str,
    where: str,
    required: bool = False,
    path: bool = False,
    meaning: str | None = None,
) -> None:
    """Add an option for one setting.

    Parameters
    ----------
    where
        As `setting` takes it.
    required
        Whether it has to be given, whatever its default.
    path
        Whether its value is a path: the program gets ``pathlib.Path``.
    meaning
        Help instead of the setting's description.
    """
    schema = setting(where)
    default = None if required else schema.get("default")
    if isinstance(default, int) and _types(schema) == ["number"]:
        default = float(default)
    words = _help(meaning or schema["description"], schema, required)
    if _types(schema) == ["boolean"]:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default, required=required, help=words)
        return

    def read(text: str) -> Any:
        value = checked(flag, schema, text)
        return Path(value) if path else value

    metavar = f"{{{','.join(schema['enum'])}}}" if "enum" in schema else _METAVARS[_types(schema)[0]]
    parser.add_argument(flag, type=read, default=default, required=required, metavar=metavar, help=words)


def checked(flag: str, schema: Schema, text: str) -> Any:
    """The value of an option.

    Raises
    ------
    InputError
        If the configuration would refuse it.
    """
    value = _value(text, schema)
    if value is None or not fits(value, schema):
        raise InputError(f"{flag}: given {text!r}; allowed: {_allowed(schema)}.")
    return value


def fits(value: float | str, schema: Schema) -> bool:
    """Whether a setting may have a value: the keywords of JSON Schema that config/schema.yaml uses for values.

    >>> fits(0.5, {"type": "number", "exclusiveMaximum": 0.5}), fits(4, {"type": "integer", "multipleOf": 2})
    (False, True)
    """
    if "anyOf" in schema:
        return any(fits(value, one) for one in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    if isinstance(value, str):
        long = len(value) >= schema.get("minLength", 0)
        return "string" in _types(schema) and long and re.search(schema.get("pattern", ""), value) is not None
    kinds = {"integer", "number"} if isinstance(value, int) else {"number"}
    return (
        not kinds.isdisjoint(_types(schema))
        and math.isfinite(value)
        and schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf)
        and ("multipleOf" not in schema or value % schema["multipleOf"] == 0)
    )


def allowed(schema: Schema) -> str:
    """What a key may be, in words."""
    if "allowed" in schema:
        words = schema["allowed"]
    elif "enum" in schema:
        *most, last = schema["enum"]
        words = f"{', '.join(most)} or {last}" if most else str(last)
    elif schema.get("type") == "object":
        words = f"a section with the keys {', '.join(schema['properties']) or 'none'}"
    else:
        words = _KINDS[schema["type"]] + _range(schema)
    return f"{words} ({schema['unit']})" if "unit" in schema else words


def _allowed(schema: Schema) -> str:
    """`allowed` without null, for which an option is left out, and without YAML's quotes."""
    return re.sub(r", or null[^(]*| in quotes", " ", allowed(schema)).strip()


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    least = f"{low} or more" if low is not None else f"above {above}" if above is not None else ""
    most = f"up to {high}" if high is not None else f"below {below}" if below is not None else ""
    bounds = " and ".join(bound for bound in (least, most) if bound)
    return f", {bounds}" if bounds else ""


@functools.cache
def _settings() -> Schema:
    return json.loads(COPY.read_text(encoding="utf-8"))


def _types(schema: Schema) -> list[str]:
    """What a value may be, null apart."""
    kinds = schema.get("type", [one["type"] for one in schema.get("anyOf", ())])
    return [kind for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind != "null"]


def _value(text: str, schema: Schema) -> Any:
    """A number where one is wanted, whole or not; None for a text that is none."""
    readers: dict[str, Callable[[str], Any]] = {"integer": int, "number": float}
    for kind in _types(schema):
        if kind not in readers:
            return text
        try:
            return readers[kind](text)
        except ValueError:
            continue
    return text if "enum" in schema else None


def _help(meaning: str, schema: Schema, required: bool) -> str:
    """Meaning, range with unit, default."""
    known = "enum" in schema or _types(schema) == ["boolean"]  # from the way that the option itself is shown
    words = "" if known else f" {_allowed(schema)[0].upper()}{_allowed(schema)[1:]}."
    default = schema.get("default")
    if not (required or default is None):
        words += f" Default: {({True: 'yes', False: 'no'}[default]) if isinstance(default, bool) else default}."
    return f"{meaning}{words}".strip().replace("%", "%%")
