"""The configuration: read against config/schema.yaml, defaults filled in, turned into command-line flags."""

from __future__ import annotations

import argparse
import copy
import difflib
import json
import math
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import jsonschema
import yaml

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from common.options import allowed
from common.output import reader_may_leave
from contradictions import contradictions, problem, shown

Schema = Mapping[str, Any]
Settings = dict[str, Any]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class ConfigurationError(ValueError):
    """A configuration that cannot be used.

    Attributes
    ----------
    problems
        One line each: the key, what was given, what is allowed.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read_schema(path: Path) -> Schema:
    """The schema; it holds defaults and meanings too."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def resolve(given: Mapping[str, Any], schema: Schema) -> Settings:
    """The complete configuration: what was given, and defaults for the rest.

    Equal values come out equal: 2 and 2.0 as 2, 1e-3 (which YAML reads as text) and 0.001 as 0.001. So
    writing a value in another way reruns nothing.

    Raises
    ------
    ConfigurationError
        If a key is unknown, a value has the wrong type or is out of range, or two settings contradict
        each other.
    """
    settings = _filled(_plain(given), schema)
    errors = jsonschema.Draft202012Validator(schema).iter_errors(settings)
    problems = [line for error in errors for line in _problems(error)]
    problems = problems or contradictions(settings)
    if problems:
        raise ConfigurationError(sorted(set(problems)))
    return settings


def missing_files(settings: Settings) -> list[str]:
    """Problems with the files that the configuration names, one line each."""
    market, model = settings["market"], settings["base_model"]
    problems = []
    if market["source"] == "csv" and not Path(market["csv"]["path"]).is_file():
        what = "the path of an existing CSV file with the columns timestamp (UTC) and close, which you bring"
        problems.append(problem("market.csv.path", market["csv"]["path"], what))
    if model["source"] == "folder" and not Path(model["folder"]).is_dir():
        problems.append(problem("base_model.folder", model["folder"], "the path of an existing Hugging Face folder"))
    for variant in settings["evaluate"]["variants"]:
        if not Path(variant.partition("=")[2]).is_file():
            problems.append(problem("evaluate.variants", variant, "NAME=FILE of an existing decisions.jsonl"))
    return problems


def chosen(section: Mapping[str, Any], alternatives: tuple[str, ...]) -> Settings:
    """A section without the subsections of the sources that it does not use."""
    return {key: value for key, value in section.items() if key not in alternatives or key == section["source"]}


def flags(section: Mapping[str, Any]) -> str:
    """A section as command-line flags, quoted for the shell.

    Nested keys are joined by dashes; null gives no flag, true ``--key``, false ``--no-key``.

    >>> flags({"seed": 1, "reward": {"invalid": -0.5}, "mask": False, "folder": None})
    '--seed=1 --reward-invalid=-0.5 --no-mask'
    """
    return " ".join(_flag(path, value) for path, value in _leaves(section) if value is not None)


def text(value: float | str) -> str:
    """A value as paths and flags show it; 2 and 2.0 are both "2"."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _flag(path: list[str], value: Any) -> str:
    name = "-".join(path).replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    # With "=" a value that begins with a dash, -1e-05 too, is not taken for a flag.
    return f"--{name}={shlex.quote(text(value))}"


def _leaves(section: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[list[str], Any]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield [*path, key], value


def _plain(value: Any) -> Any:
    """Values as JSON has them; whole numbers as int, YAML's dates as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity; as text it is refused where a number is wanted
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _filled(given: Any, schema: Schema) -> Any:
    """`given` with the defaults of `schema`, in the schema's order; an empty section counts as none."""
    if schema.get("type") == "array" and isinstance(given, list):
        return [_filled(item, schema["items"]) for item in given]
    if isinstance(given, str):
        return _meant(given, schema)
    if schema.get("type") != "object":
        return given
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        return given
    filled = {}
    for key, sub in schema["properties"].items():
        if key in given or sub.get("type") == "object":
            filled[key] = _filled(given.get(key), sub)
        elif "default" in sub:
            filled[key] = _plain(copy.deepcopy(sub["default"]))
    return filled | {key: value for key, value in given.items() if key not in filled}


def _meant(given: str, schema: Schema) -> Any:
    """The value that a text stands for where no text is wanted.

    Snakemake hands on all values below a section that ``--config`` sets as text, and YAML 1.1 takes 1e-3 for
    text, because it has no point.
    """
    kinds = schema.get("type", "number")
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    if "null" in kinds and given == "null":
        return None
    if "boolean" in kinds and given in ("true", "false"):
        return given == "true"
    if kinds & {"integer", "number"} and _NUMBER.fullmatch(given):
        return int(given) if given.lstrip("+-").isdigit() else _plain(float(given))
    return given


def _problems(error: jsonschema.ValidationError) -> list[str]:
    """What one error of the validator means for the user."""
    path = [str(part) for part in error.absolute_path]
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        return [_unknown(path, key, error.instance[key], known) for key in error.instance if key not in known]
    if error.validator == "required":
        sub = error.schema["properties"]
        missing = [key for key in error.validator_value if key not in error.instance]
        return [f"{'.'.join([*path, key])}: missing; allowed: {allowed(sub[key])}." for key in missing]
    return [problem(".".join(path) or "configuration", error.instance, allowed(error.schema))]


def _unknown(path: list[str], key: str, value: Any, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else "config/README.md lists the keys."
    return f"{'.'.join([*path, key])}: unknown key, given {shown(value)}. {hint}"


def document(schema: Schema) -> str:
    """config/README.md: every key in a table."""
    rows = [
        f"| `{'.'.join(path)}` | {allowed(sub)} | {_default(sub)} | {sub['description']} |"
        for path, sub in _keys(schema)
    ]
    return "\n".join(
        [*_INTRODUCTION, "", "| key | allowed | default | meaning |", "| --- | --- | --- | --- |", *rows, ""]
    )


def _default(schema: Schema) -> str:
    return f"`{shown(_plain(schema['default']))}`" if "default" in schema else "none"


def _keys(schema: Schema, path: tuple[str, ...] = ()) -> Iterator[tuple[list[str], Schema]]:
    for key, sub in schema["properties"].items():
        if sub.get("type") == "object":
            yield from _keys(sub, (*path, key))
            continue
        yield [*path, key], sub
        if "properties" in sub.get("items", {}):
            yield from _keys(sub["items"], (*path, f"{key}[]"))


_INTRODUCTION = """\
# Configuration

`snakemake` reads `config/config.yaml`, the demo. `snakemake --configfile FILE` reads that file and nothing
else; what a file leaves out takes the default below. An unknown key or a value out of range stops the run
at once.

| file | what it runs |
| --- | --- |
| config.yaml | the demo: a market with a planted signal |
| null.yaml | the same on a market with nothing to learn |
| minimal.yaml | every stage in about a minute, for tests |
| qwen3-4b.yaml | the published study, on 8 GPUs; needs its market's bars |

Sections have the names of the rules. A change reruns the rules that read it and what follows them,
nothing else.
This page is made from schema.yaml: `.venv/bin/python rules/configuration.py > config/README.md`. Programs take the
same settings as options, from a copy: `.venv/bin/python rules/configuration.py --json > scripts/common/settings.json`.
""".splitlines()


def copied(schema: Schema) -> str:
    """scripts/common/settings.json: the schema for programs, which have no package that reads YAML."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print config/README.md, made from config/schema.yaml.")
    parser.add_argument("--json", action="store_true", help="print scripts/common/settings.json instead")
    made = copied if parser.parse_args().json else document
    with reader_may_leave():
        sys.stdout.write(made(read_schema(Path(__file__).parents[1] / "config" / "schema.yaml")))
