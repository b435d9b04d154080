"""Find what Snakemake would ignore in a profile without a word, and GPUs asked for twice: `make check-profile`."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from common.output import reader_may_leave
from settings_file import SettingsFileError, read_settings

# What Snakemake itself knows; executors know more, and rules may have resources of their own.
RESOURCES = frozenset({"mem", "mem_mb", "mem_mib", "disk", "disk_mb", "disk_mib", "runtime", "tmpdir"})
# Python for a profile's templates, not an option.
NO_OPTION = frozenset({"__use_yte__", "__definitions__", "__variables__"})
MAPPINGS = frozenset(
    {"set-threads", "resources", "set-scatter", "batch", "set-resource-scopes", "default-resources", "config"}
    | {"groups", "group-components", "consider-ancient", "set-resources"}
)

SECTIONS = (  # read here
    *("set-resources", "default-resources", "resources", "set-resource-scopes"),
    *("set-threads", "groups", "group-components"),
)

_RULE = re.compile(r"^\s*(?:(?:rule|checkpoint)|use rule \w+ as)\s+(\w+)\s*(?::|with\b)", re.MULTILINE)
_BLOCK = re.compile(r"^(?P<indent>[ \t]+)resources:(?P<body>.*(?:\n(?:(?P=indent)[ \t]+.*|[ \t]*))*)", re.MULTILINE)
_NAME = re.compile(r"\b([A-Za-z_]\w*)\s*=(?!=)")
_ASKED = re.compile(r"""resources(?:\.get\(\s*["'](\w+)["']|\.(?!get\b|keys\b|items\b|values\b)(\w+))""")


@dataclass(frozen=True)
class Known:
    """What names mean something: options of Snakemake, rules, resources; and which rules ask for `gpu` themselves."""

    options: Collection[str]
    rules: Collection[str]
    resources: Collection[str]
    gpu_rules: Collection[str]


def problems(profile: Mapping[str, Any], known: Known) -> list[str]:
    """What in a profile has no effect or asks for GPUs twice, one line each; empty if all is in order.

    Parameters
    ----------
    profile
        The profile as YAML has it.
    known
        What may stand in it.
    """
    found = []
    for key, value in ((str(key), value) for key, value in profile.items()):
        if key in NO_OPTION:
            continue
        if key in SECTIONS and not isinstance(value, Mapping | list | str | None):
            found.append(f"{key}: given {value!r}; write a section.")
        if key.replace("_", "-") not in known.options:
            found.append(_line(key, "no option of Snakemake or of its plugins", key, known.options))
        elif isinstance(value, Mapping) and key not in MAPPINGS:
            found.append(f"{key}: a section is ignored here; write a value or a list.")
    for rule, settings in _pairs(profile, "set-resources"):
        found += _rule(f"set-resources.{rule}", rule, known)
        if not isinstance(settings, Mapping):
            found.append(f"set-resources.{rule}: no section; write the resources below the rule.")
            continue
        found += [
            line for name in map(str, settings) for line in _resource(f"set-resources.{rule}.{name}", name, known)
        ]
    for section in ("default-resources", "resources", "set-resource-scopes"):
        for name, _ in _pairs(profile, section):
            found += _resource(f"{section}.{name}", name, known)
    for section in ("set-threads", "groups"):
        for rule, _ in _pairs(profile, section):
            found += _rule(f"{section}.{rule}", rule, known)
    groups = set()
    for rule, group in _pairs(profile, "groups"):
        if isinstance(group, str | int):
            groups.add(str(group))
        else:
            found.append(f"groups.{rule}: given {group!r}; write the name of one group.")
    for group, _ in _pairs(profile, "group-components"):
        if group not in groups:
            found.append(_line(f"group-components.{group}", "no group of this profile", group, groups))
    return found + _twice(profile, known)


def rules_of(text: str) -> set[str]:
    """Names of the rules in a Snakefile."""
    return set(_RULE.findall(text))


def resources_of(text: str) -> set[str]:
    """Names of the resources that the rules of a Snakefile set.

    >>> sorted(resources_of("rule a:\\n    resources:\\n        gpu=1,\\n        mem_mb=2,\\n    shell: 'x=1'\\n"))
    ['gpu', 'mem_mb']
    """
    return {name for block in _BLOCK.finditer(text) for name in _NAME.findall(_code(block["body"]))}


def rules_with(text: str, resource: str) -> set[str]:
    """Names of the rules in a Snakefile that set a resource.

    >>> rules_with("rule a:\\n    resources:\\n        gpu=1\\nrule b:\\n    shell: ''\\n", "gpu")
    {'a'}
    """
    # What stands before the first rule, then name and body in turn.
    _, *parts = _RULE.split(text)
    return {name for name, body in zip(parts[::2], parts[1::2], strict=True) if resource in resources_of(body)}


def asked_of(source: str) -> set[str]:
    """Names of the resources that an executor's source asks a job for."""
    return {first or second for first, second in _ASKED.findall(source)}


def known_here(project: Path) -> Known:
    """What the installed Snakemake, its Slurm plugin and this project know."""
    from snakemake.cli import get_argument_parser

    parser = get_argument_parser()
    options = {
        name.lstrip("-") for action in parser._actions for name in action.option_strings if name.startswith("--")
    }
    texts = [(project / "Snakefile").read_text(encoding="utf-8")]
    texts += [path.read_text(encoding="utf-8") for path in sorted((project / "rules").glob("*.smk"))]
    resources = set(RESOURCES).union(*map(resources_of, texts))
    for plugin in ("snakemake_executor_plugin_slurm", "snakemake_executor_plugin_slurm_jobstep"):
        for file in _sources(plugin):
            resources |= asked_of(file.read_text(encoding="utf-8"))
    gpu_rules = set().union(*(rules_with(text, "gpu") for text in texts))
    return Known(options, set().union(*map(rules_of, texts)), resources, gpu_rules)


def _sources(package: str) -> list[Path]:
    found = importlib.util.find_spec(package)
    return sorted(Path(found.origin).parent.glob("*.py")) if found and found.origin else []


def _code(text: str) -> str:
    """Without comments, text and what stands in brackets: `key=` there names no resource."""
    text = re.sub(r"#.*|\"[^\"\n]*\"|'[^'\n]*'", "", text)
    while text != (text := re.sub(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}", "", text)):
        pass
    return re.sub(r"\blambda\b[^:]*:", "", text)


def _pairs(profile: Mapping[str, Any], section: str) -> Iterator[tuple[str, Any]]:
    """Keys and values of a section, which may be a mapping or a list of key=value."""
    value = profile.get(section) or {}
    if not isinstance(value, Mapping | list | str):
        return
    if isinstance(value, Mapping):
        yield from ((str(key), item) for key, item in value.items())
        return
    for entry in [value] if isinstance(value, str) else value:
        key, _, item = str(entry).partition("=")
        if section == "set-resources":
            rule, _, name = key.partition(":")
            yield rule, {name: item}
        else:
            yield key, item


def _twice(profile: Mapping[str, Any], known: Known) -> list[str]:
    """Rules whose jobs would be given `--gres` and `--gpus`, both with GPUs."""
    default = dict(_pairs(profile, "default-resources"))
    own: dict[str, dict[str, Any]] = {}
    for rule, settings in _pairs(profile, "set-resources"):
        own.setdefault(rule, {}).update(settings if isinstance(settings, Mapping) else {})
    found = []
    for rule in sorted(known.rules):
        asked = {"gpu": 0} | default | ({"gpu": 1} if rule in known.gpu_rules else {}) | own.get(rule, {})
        if "gpu" in str(asked.get("gres")) and str(asked["gpu"]) not in ("0", "None"):
            found.append(f"set-resources.{rule}: gres and gpu, and a job would ask for both. Beside gres write gpu: 0.")
    return found


def _rule(place: str, rule: str, known: Known) -> list[str]:
    return [] if rule in known.rules else [_line(place, "no rule of this workflow", rule, known.rules)]


def _resource(place: str, name: str, known: Known) -> list[str]:
    what = "no resource that Slurm, Snakemake or a rule knows"
    return [] if name in known.resources else [_line(place, what, name, known.resources)]


def _line(place: str, what: str, name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, sorted(names), n=1)
    return f"{place}: {what}.{f' Did you mean {near[0]}?' if near else ''}"


def main() -> None:
    """Command line: exit code 1 if anything is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    default, what = Path("slurm/config.yaml"), "a profile, file or folder (default: %(default)s)"
    parser.add_argument("profile", type=Path, nargs="?", default=default, help=what)
    path = parser.parse_args().profile
    path = path / "config.yaml" if path.is_dir() else path
    try:
        profile = read_settings(path)
    except SettingsFileError as error:
        sys.exit(str(error))
    known = known_here(Path(__file__).parents[1])
    if found := problems(profile, known):
        sys.exit("\n".join(f"{path}: {line}" for line in found))
    print(f"{path}: no option, rule or resource is unknown, no GPU is asked for twice. Other values are not checked.")


if __name__ == "__main__":
    with reader_may_leave():
        main()
