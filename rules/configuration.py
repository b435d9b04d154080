"""The configuration: read against config/schema.yaml, defaults filled in, turned into command-line flags."""

from __future__ import annotations

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
from slime_engine.layout import Layout

Schema = Mapping[str, Any]
Settings = dict[str, Any]

# As many hours the tests of evaluate need (trading.evidence.case.LEAST_BARS).
LEAST_TEST = 30
# Names below infer/ that are no variants'.
_TAKEN = ("trained", "base", "journal", "probe-journal", "variants-journal", "probe.json")
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
    problems = problems or _contradictions(settings)
    if problems:
        raise ConfigurationError(sorted(set(problems)))
    return settings


def missing_files(settings: Settings) -> list[str]:
    """Problems with the files that the configuration names, one line each."""
    market, model = settings["market"], settings["base_model"]
    problems = []
    if market["source"] == "csv" and not Path(market["csv"]["path"]).is_file():
        what = "the path of an existing CSV file with the columns timestamp (UTC) and close, which you bring"
        problems.append(_problem("market.csv.path", market["csv"]["path"], what))
    if model["source"] == "folder" and not Path(model["folder"]).is_dir():
        problems.append(_problem("base_model.folder", model["folder"], "the path of an existing Hugging Face folder"))
    for variant in settings["evaluate"]["variants"]:
        if not Path(variant.partition("=")[2]).is_file():
            problems.append(_problem("evaluate.variants", variant, "NAME=FILE of an existing decisions.jsonl"))
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
    return [_problem(".".join(path) or "configuration", error.instance, allowed(error.schema))]


def _unknown(path: list[str], key: str, value: Any, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else "config/README.md lists the keys."
    return f"{'.'.join([*path, key])}: unknown key, given {_shown(value)}. {hint}"


def _problem(key: str, value: Any, what: str) -> str:
    return f"{key}: given {_shown(value)}; allowed: {what}."


def _shown(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _list(names: list[str]) -> str:
    return ", ".join(names) if names else "none"


def _contradictions(settings: Settings) -> list[str]:
    """Settings that are fine alone but not together."""
    market, model, train = settings["market"], settings["base_model"], settings["train"]
    needed = {
        "csv": ["market.csv.path"],
        "download": ["market.download.url", "market.download.sha256"],
        "folder": ["base_model.folder"],
        "hub": ["base_model.hub.name", "base_model.hub.commit"],
    }
    problems = []
    for section, source in (("market", market["source"]), ("base_model", model["source"])):
        for key in needed.get(source, []):
            value = settings
            for part in key.split("."):
                value = value[part]
            if value is None:
                problems.append(f"{key}: given null; needed, because {section}.source is {source}.")
    tiny = model["tiny"]
    if model["source"] == "tiny" and tiny["heads"] % tiny["query_groups"]:
        problems.append(
            _problem("base_model.tiny.query_groups", tiny["query_groups"], f"a divisor of heads ({tiny['heads']})")
        )
    if 0 < train["decay_iterations"] <= train["warm_up_iterations"]:
        least = f"0, or more than warm_up_iterations ({train['warm_up_iterations']})"
        problems.append(_problem("train.decay_iterations", train["decay_iterations"], least))
    parts = train["updates_per_iteration"] * train["data"] * (2 if train["balance_directions"] else 1)
    if train["prompts_per_iteration"] % parts:
        multiple = f"a multiple of {parts} (updates_per_iteration x data, x 2 with balance_directions)"
        problems.append(_problem("train.prompts_per_iteration", train["prompts_per_iteration"], multiple))
    if train["engine"] == "slime":
        problems += _slime_contradictions(settings)
    tensor = train["tensor"]
    for name in ("heads", "query_groups", "ffn"):
        if model["source"] == "tiny" and tiny[name] % tensor:
            problems.append(_problem("train.tensor", tensor, f"a divisor of base_model.tiny.{name} ({tiny[name]})"))
    tensor = settings["infer"]["tensor"]
    for name in ("heads", "ffn"):
        if model["source"] == "tiny" and tiny[name] % tensor:
            problems.append(_problem("infer.tensor", tensor, f"a divisor of base_model.tiny.{name} ({tiny[name]})"))
    hours, test = market["synthetic"]["calibrate"]["hours"], settings["samples"]["test"]
    if market["source"] == "synthetic" and hours and isinstance(test, int) and hours != test:
        same = f"0 (no calibration), or as many as samples.test ({test})"
        problems.append(_problem("market.synthetic.calibrate.hours", hours, same))
    if isinstance(test, int) and test < LEAST_TEST:
        problems.append(_problem("samples.test", test, f"{LEAST_TEST} or more: fewer hours test nothing"))
    evaluate = settings["evaluate"]
    if evaluate["fast"] >= evaluate["slow"]:
        problems.append(_problem("evaluate.fast", evaluate["fast"], f"less than slow ({evaluate['slow']})"))
    return problems + _variant_contradictions(settings)


def _variant_contradictions(settings: Settings) -> list[str]:
    """Variants that are none, or that share a name."""
    train, trained = settings["train"], settings["infer"]["trained"]
    names = [variant.partition("=")[0] for variant in settings["evaluate"]["variants"]]
    names += [variant["name"] for variant in settings["variants"]]
    problems = []
    for name in sorted({name for name in names if names.count(name) > 1 or name in _TAKEN}):
        own = any(variant["name"] == name for variant in settings["variants"])
        place = "variants" if own else "evaluate.variants"
        problems.append(_problem(place, name, f"each variant a name of its own, not {_list(list(_TAKEN))}"))
    saved = sorted({*range(train["save_every"], train["iterations"], train["save_every"]), train["iterations"]})
    kept = saved[-train["keep"] : -1]
    for number, variant in enumerate(settings["variants"]):
        place, temperature = f"variants.{number}", variant["temperature"]
        if all(value is None for key, value in variant.items() if key != "name"):
            problems.append(_problem(place, variant["name"], "a variant that differs in something"))
        if variant["seed"] is not None and not (trained["temperature"] if temperature is None else temperature):
            problems.append(_problem(f"{place}.seed", variant["seed"], "a seed with a temperature above 0 only"))
        if variant["iteration"] is not None and variant["iteration"] not in kept:
            which = f"{_list([str(one) for one in kept])}; train.keep and save_every leave no other beside the last"
            problems.append(_problem(f"{place}.iteration", variant["iteration"], which))
    return problems


def _slime_contradictions(settings: Settings) -> list[str]:
    """What the engine slime cannot do; train.py, which says more, refuses it too."""
    train = settings["train"]
    slime, iterations, save_every = train["slime"], train["iterations"], train["save_every"]
    problems = []
    if settings["device"] != "cuda":
        problems.append(_problem("device", settings["device"], "cuda, because train.engine is slime"))
    if train["spike_action"] == "skip":
        problems.append(_problem("train.spike_action", "skip", "log or stop, because train.engine is slime"))
    for key, only in (("precision", "bf16"), ("optimizer", "distributed")):
        if train[key] != only:
            problems.append(_problem(f"train.{key}", train[key], f"{only}, because train.engine is slime"))
    if iterations < 2 or (iterations > save_every and iterations % save_every):
        wanted = f"at least 2, and up to save_every ({save_every}) or a multiple of it, because train.engine is slime"
        problems.append(_problem("train.iterations", iterations, wanted))
    if save_every < 2:
        problems.append(_problem("train.save_every", save_every, "at least 2, because train.engine is slime"))
    layout = Layout(slime["nodes"], train["tensor"], slime["pipeline"], slime["context"], train["data"])
    return problems + [_problem(*problem) for problem in layout.problems(slime["engine_gpus"])]


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
    return f"`{_shown(_plain(schema['default']))}`" if "default" in schema else "none"


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
    made = copied if "--json" in sys.argv[1:] else document
    with reader_may_leave():
        sys.stdout.write(made(read_schema(Path(__file__).parents[1] / "config" / "schema.yaml")))
