"""Where each statement on a slide comes from: files that remember which of their fields were read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import InputError

_REQUIRED = object()


@dataclass(frozen=True)
class Fact:
    """A text on a slide and the fields, "file: field", that it was made of."""

    text: str
    sources: tuple[str, ...]

    def also(self, *sources: str) -> Fact:
        """The same with further sources behind its own."""
        return Fact(self.text, (*self.sources, *sources))


class Record:
    """The run's JSON files. What is read is remembered until ``fact`` puts it beside the text made of it.

    Parameters
    ----------
    files
        Name in the results folder ("train/checkpoint.json") to what it holds.
    """

    def __init__(self, files: Mapping[str, Mapping[str, Any]]) -> None:
        self.files = dict(files)
        self._read: dict[str, None] = {}

    def get(self, file: str, field: str, default: Any = _REQUIRED) -> Any:
        """The value of a field, its path joined by dots; a list of strategies is entered by a strategy's key.

        Raises
        ------
        InputError
            If the file has no such field and no default is given.
        """
        value: Any = self.files[file]
        for part in field.split("."):
            if isinstance(value, list):
                value = next((row for row in value if row.get("key") == part), None)
            else:
                value = value.get(part) if isinstance(value, dict) else None
            if value is None:
                if default is not _REQUIRED:
                    return default
                raise InputError(f'{file}: no "{field}". Run the stage that makes it again.')
        self._read[f"{file}: {field}"] = None
        return value

    def fact(self, text: str, also: Iterable[str] = ()) -> Fact:
        """`text` with everything that was read since the last fact, and `also`, as its sources.

        An archive's ledger of claims holds each number in the text against the sources in their order: they stand in
        the order in which the text shows them, one as often as it is shown. What only decides the words is cited as
        ``words(field)``; see ``archiving.verification.values.terms``.
        """
        sources = (*self._read, *also)
        self._read.clear()
        return Fact(text, sources)
