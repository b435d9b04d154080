"""Which samples a training's validations were made on: its key says nothing of them, and its journal outlives them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from common.files import read_json, write_json
from common.journal import Journal

BOOK = "validated.json"
Row = dict[str, Any]


def begin(folder: Path, samples: str) -> None:
    """Note in the training's folder, whose lease is held, that what its journal gets from now on is of these samples.

    Parameters
    ----------
    samples
        SHA-256 of the validation samples.
    """
    journal = Journal(folder / "metrics.jsonl")
    journal.close()
    starts = _starts(folder)
    if not starts or starts[-1]["samples"] != samples:
        write_json(folder / BOOK, {"starts": [*starts, {"rows": len(journal.rows), "samples": samples}]})


def of_samples(rows: Sequence[Row], folder: Path, samples: str, every: int) -> list[Row]:
    """The journal's rows, without validations on other samples and such as `every` does not ask for.

    Parameters
    ----------
    samples
        SHA-256 of the validation samples.
    every
        Distance of validations; 0 for none.
    """
    starts = _starts(folder)
    result = []
    for number, row in enumerate(rows):
        last = [start["samples"] for start in starts if start["rows"] <= number][-1:]
        wanted = every > 0 and row["iteration"] % every == 0
        result.append(row if wanted and last == [samples] else without(row))
    return result


def without(row: Row) -> Row:
    """The row without its validation."""
    return {name: value for name, value in row.items() if name != "validation"}


def iterations(rows: Iterable[Row]) -> list[int]:
    """Iterations with a validation."""
    return [row["iteration"] for row in rows if "validation" in row]


def gap(validated: Sequence[int], last: int, every: int) -> str | None:
    """A line on validations that were asked for and not made; None if there are none."""
    missing = sorted(set(range(every, last + 1, every)) - set(validated)) if every else []
    if not missing:
        return None
    return (
        f"{len(missing)} validations are missing, the first after iteration {missing[0]}: when those iterations were "
        "trained, train.validate_every or the validation samples were others, or a kill came between."
    )


def _starts(folder: Path) -> list[dict[str, Any]]:
    book = folder / BOOK
    return read_json(book)["starts"] if book.exists() else []
