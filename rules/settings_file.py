"""A YAML file of settings as a person wrote it: whatever is wrong with it is one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml


class SettingsFileError(Exception):
    """A file that cannot be taken; `problems` has a line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


def read_settings(path: Path) -> dict[Any, Any]:
    """Read a file of settings; an empty one holds none.

    Raises
    ------
    SettingsFileError
        If it is not there, is not YAML, is no mapping, or if a key stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = yaml.safe_load(text)
        problems = [f"{path}: {line}" for line in repeated(text)]
    except OSError as error:
        raise SettingsFileError(f"{path}: {error.strerror}. Check the path and its permissions.") from None
    except UnicodeDecodeError:
        raise SettingsFileError(f"{path}: not UTF-8. Save it as UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise SettingsFileError(f"{path}{line}: not YAML: {error.problem or error.context}. Mend it.") from None
    except (ValueError, RecursionError) as error:  # a date that does not exist, brackets without end
        raise SettingsFileError(
            f"{path}: not YAML: {error}. Mend it; text that looks like a date takes quotes."
        ) from None
    except yaml.YAMLError as error:
        raise SettingsFileError(f"{path}: not YAML: {' '.join(str(error).split())}. Mend it.") from None
    if not isinstance(found, dict | None):
        raise SettingsFileError(f"{path}: no mapping. Write keys at the top level, each followed by a colon.")
    if problems:
        raise SettingsFileError(*problems)
    return found or {}


def shown_files(files: Iterable[Path], more: bool = False) -> str:
    """Files that settings are from, as a person would type them; `more` if some are from ``--config``."""
    here = Path.cwd()
    names = [str(file.relative_to(here) if file.is_relative_to(here) else file) for file in files]
    return " and ".join([", ".join(names), "--config"] if more else [", ".join(names)])


def repeated(text: str) -> list[str]:
    """Keys that stand twice in a section of a YAML text, one line each: only the last one is read.

    >>> repeated("a: {b: 1}\\na: {c: 2}")
    ['a: again in line 2; only the last one counts. Put both into one.']
    """
    found = []
    waiting = [("", yaml.compose(text, Loader=yaml.SafeLoader))]
    while waiting:
        place, node = waiting.pop()
        if isinstance(node, yaml.SequenceNode):
            waiting += [(f"{place}{number}.", value) for number, value in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if key.value in seen:
                    line = key.start_mark.line + 1
                    found.append(
                        f"{place}{key.value}: again in line {line}; only the last one counts. Put both into one."
                    )
                seen.add(key.value)
                waiting.append((f"{place}{key.value}.", value))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="a configuration, or a profile")
    try:
        read_settings(parser.parse_args().file)
    except SettingsFileError as error:
        sys.exit(str(error))
