"""Bars: one row per hour, read with errors that name the line, written whole.

A bar's timestamp is its label in UTC. Exchanges label a bar by its opening time and its close is known when
it ends, one step later; a decision "at bar t" is taken at that moment, with the closes up to and including t.
Nothing here depends on it: what counts is that bars are in order and an hour apart. Other steps are refused: all that
is said of a result is said of hours.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import written_whole

PRICES = ("open", "high", "low", "close")
OPTIONAL = ("open", "high", "low", "volume")
GAPS = ("refuse", "allow")
STEP_S = 3600

_YFINANCE = "The README shows the three lines that make such a file from yfinance."


@dataclass(frozen=True)
class Bars:
    """A market in time order.

    Attributes
    ----------
    time
        Labels of the bars, shape (bars,), datetime64[s], UTC.
    close
        Closing prices, shape (bars,), float64, positive.
    extra
        Those of open, high, low, volume that the source has, each shape (bars,).
    """

    time: np.ndarray
    close: np.ndarray
    extra: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.close)


def read_bars(path: str | Path, gaps: str = "refuse", name: str | None = None) -> Bars:
    """Read and check a bars file.

    Columns `timestamp` and `close` are needed; open, high, low and volume are kept, others ignored. Times are
    ISO 8601 in UTC; a time without an offset is taken as UTC. Blank lines are skipped.

    Parameters
    ----------
    path
        CSV with a header.
    gaps
        `refuse`: every bar must come an hour after the one before. `allow`: most of them, for markets that close.
    name
        What errors call the file, if not by its path.

    Raises
    ------
    InputError
        For a missing file or column, no rows, a time or number that is not one, a price that is not positive,
        times out of order or twice, a gap, bars that are not hourly; names the line.
    """
    return checked_bars(_rows(Path(path), name or str(path)), name or str(path), gaps)


def checked_bars(rows: Iterable[tuple[int, dict[str, str]]], name: str, gaps: str) -> Bars:
    """Bars from rows of text, under the rules of `read_bars`.

    Parameters
    ----------
    rows
        Line number and cells by column: `timestamp`, `close` and perhaps open, high, low, volume.
    name
        What errors call the file.
    gaps
        As in `read_bars`.
    """
    time: list[int] = []
    lines: list[int] = []
    columns: dict[str, list[float]] = {}
    for line, row in rows:
        place = f"{name}, line {line}"
        time.append(parse_time(row.pop("timestamp"), place))
        lines.append(line)
        for column, text in row.items():
            columns.setdefault(column, []).append(_number(text, column, place))
    if not time:
        raise InputError(f"{name}: no bars in it. Give a file with one row per bar.")
    seconds = np.array(time, dtype=np.int64)
    _check_steps(seconds, lines, name, gaps)
    values = {column: np.array(numbers) for column, numbers in columns.items()}
    return Bars(seconds.astype("datetime64[s]"), values.pop("close"), values)


def write_bars(path: str | Path, bars: Bars) -> None:
    """Write a bars file, whole or not at all; numbers with all digits, so that they are read back equal."""
    names = [name for name in OPTIONAL[:3] if name in bars.extra]
    columns = [format_times(bars.time)]
    columns += [[repr(float(value)) for value in bars.extra[name]] for name in names]
    columns.append([repr(float(value)) for value in bars.close])
    if "volume" in bars.extra:
        columns.append([repr(float(value)) for value in bars.extra["volume"]])
    header = ["timestamp", *names, "close", *(["volume"] if "volume" in bars.extra else [])]
    with written_whole(path) as partial, open(partial, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(zip(*columns, strict=True))


def format_times(time: np.ndarray) -> list[str]:
    """``2025-01-01T00:00:00Z`` for each datetime64."""
    return [f"{text}Z" for text in np.datetime_as_string(time.astype("datetime64[s]"))]


def parse_time(text: str, place: str) -> int:
    """Seconds since 1970 of an ISO 8601 time in UTC.

    Parameters
    ----------
    text
        The time; without an offset it is taken as UTC.
    place
        File and line, for the error.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(
            f"{place}: timestamp {text!r} is not a time. Write ISO 8601 in UTC, such as 2025-01-01T00:00:00Z."
        ) from None
    if moment.utcoffset() not in (None, timedelta(0)):
        raise InputError(f"{place}: timestamp {text!r} is not in UTC. Convert the times to UTC. {_YFINANCE}")
    if moment.microsecond:
        raise InputError(f"{place}: timestamp {text!r} has a fraction of a second. Round the times to seconds.")
    return int(moment.replace(tzinfo=UTC).timestamp())


def _rows(path: Path, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and the cells that matter, row by row."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            _check_header(header, name)
            wanted = {i: column for i, column in enumerate(header) if column in ("timestamp", "close", *OPTIONAL)}
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise InputError(
                        f"{name}, line {reader.line_num}: {len(cells)} cells, the header has {len(header)} "
                        "columns. Mend the line or make the file again."
                    )
                yield reader.line_num, {column: cells[i] for i, column in wanted.items()}
    except FileNotFoundError:
        raise InputError(f"{name}: no such file. Check the path.") from None
    except UnicodeDecodeError:
        raise InputError(f"{name}: not a text file in UTF-8. Give a CSV file with a header.") from None
    except csv.Error as error:
        raise InputError(f"{name}: not a CSV file ({error}). Give a CSV file with a header.") from None


def _check_header(header: list[str], file: str) -> None:
    if not header:
        raise InputError(f"{file}: empty. Give a CSV file with the columns timestamp and close.")
    for name in ("timestamp", "close", *OPTIONAL):
        found = header.count(name)
        if found > 1:
            raise InputError(f"{file}, line 1: column {name} stands there {found} times. Leave one.")
        if not found and name not in OPTIONAL:
            raise InputError(
                f"{file}, line 1: column {name} is missing (there are: {', '.join(header)}). Name the "
                f"columns timestamp and close. {_YFINANCE}"
            )


def _number(text: str, name: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{place}: {name} {text!r} is not a number. Mend or remove the row.") from None
    if not math.isfinite(value):
        raise InputError(f"{place}: {name} is {text.strip()}. Mend or remove the row.")
    if name in PRICES and value <= 0:
        raise InputError(f"{place}: {name} is {text.strip()}, a price must be above zero. Mend or remove the row.")
    if value < 0:
        raise InputError(f"{place}: {name} is {text.strip()}, below zero. Mend or remove the row.")
    return value


def _check_steps(seconds: np.ndarray, lines: list[int], path: str, gaps: str) -> None:
    """Refuse times out of order, bars that are not hourly and, unless gaps are allowed, steps other than an hour."""
    if gaps not in GAPS:
        raise ValueError(f"gaps {gaps!r} is neither refuse nor allow")
    steps = np.diff(seconds)
    times = format_times(seconds.astype("datetime64[s]"))
    for i in np.flatnonzero(steps <= 0)[:1]:
        what = "is there twice" if steps[i] == 0 else f"comes after {times[i]}, but is earlier"
        raise InputError(f"{path}, line {lines[i + 1]}: time {times[i + 1]} {what}. Sort the file, one row per bar.")
    if len(steps) == 0:
        return
    lengths, counts = np.unique(steps, return_counts=True)
    usual = STEP_S if counts[lengths == STEP_S].sum() == counts.max() else lengths[np.argmax(counts)]
    if usual != STEP_S:
        i = int(np.argmax(steps == usual))
        how = "Resample them to hours" if usual < STEP_S else "Give hourly ones"
        raise InputError(
            f"{path}, line {lines[i + 1]}: most bars are {_duration(usual)} apart, as {times[i]} and {times[i + 1]}, "
            f"but must be hourly. {how}, each with the last close of its hour."
        )
    if gaps == "allow":
        return
    for i in np.flatnonzero(steps != STEP_S)[:1]:
        what = "a gap" if steps[i] > STEP_S else "a bar too early"
        raise InputError(
            f"{path}, line {lines[i + 1]}: {what}: {_duration(steps[i])} from {times[i]} to {times[i + 1]}, "
            f"where bars are {_duration(STEP_S)} apart. Mend them, or set gaps: allow if the market closes."
        )


def _duration(seconds: int) -> str:
    return str(timedelta(seconds=int(seconds)))
