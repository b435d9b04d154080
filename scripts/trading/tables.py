"""Tables of a simulation as CSV files: equity.csv and trades.csv, in digits that read back exactly."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from common.files import written_whole
from trading.accounting import Account, Floats
from trading.metrics import Trade

EQUITY_COLUMNS = ("timestamp", "strategy", "price", "position", "equity", "pnl", "cost")
TRADE_COLUMNS = (
    "strategy", "direction", "entry_time", "exit_time", "entry_price", "exit_price", "bars", "pnl", "return",
)  # fmt: skip


@dataclass(frozen=True)
class Curves:
    """equity.csv as arrays.

    Attributes
    ----------
    times
        Close times, shape (bars,), datetime64[s], UTC.
    price
        Closes, shape (bars,).
    books
        Strategy key to its books, each array of shape (bars,), in the order of the file.
    """

    times: NDArray[np.datetime64]
    price: Floats
    books: dict[str, Account]


def write_equity(path: Path, times: list[str], prices: Floats, books: Mapping[str, Account]) -> None:
    """Write one row a bar and strategy, strategy after strategy."""
    with written_whole(path) as partial, open(partial, "w", encoding="utf-8", newline="") as handle:
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(EQUITY_COLUMNS)
        for key, book in books.items():
            columns = (prices, book.position, book.equity, book.pnl, book.cost)
            rows = zip(times, *(column.tolist() for column in columns), strict=True)
            table.writerows((time, key, *numbers) for time, *numbers in rows)


def write_trades(path: Path, times: list[str], prices: Floats, trades: Mapping[str, list[Trade]]) -> None:
    """Write one row a trade, strategy after strategy in time order."""
    with written_whole(path) as partial, open(partial, "w", encoding="utf-8", newline="") as handle:
        table = csv.writer(handle, lineterminator="\n")
        table.writerow(TRADE_COLUMNS)
        for key, rows in trades.items():
            for trade in rows:
                word = "long" if trade.direction > 0 else "short"
                span = (
                    times[trade.entry],
                    times[trade.exit],
                    float(prices[trade.entry]),
                    float(prices[trade.exit]),
                )
                table.writerow((key, word, *span, trade.bars, trade.pnl, trade.total_return))


def read_equity(path: Path) -> Curves:
    """Read equity.csv.

    Raises
    ------
    InputError
        If the file is missing, lacks a column, holds something that is not a finite number, or its
        strategies are not on the same bars; names the line.
    """
    again = "Run simulate again."
    times: dict[str, list[str]] = {}
    numbers: dict[str, list[tuple[float, ...]]] = {}
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            table = csv.reader(handle)
            if tuple(next(table, ())) != EQUITY_COLUMNS:
                raise InputError(f"{path}, line 1: the columns are not {','.join(EQUITY_COLUMNS)}. {again}")
            for line, row in enumerate(table, start=2):
                try:
                    time, key, *cells = row
                    values = tuple(float(cell) for cell in cells)
                    if len(values) != len(EQUITY_COLUMNS) - 2 or not all(math.isfinite(v) for v in values):
                        raise ValueError
                except ValueError:
                    raise InputError(f"{path}, line {line}: not a time, a strategy and five numbers. {again}") from None
                times.setdefault(key, []).append(time)
                numbers.setdefault(key, []).append(values)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Run simulate.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table in UTF-8 ({error}). {again}") from None
    if not numbers:
        raise InputError(f"{path}: no rows. {again}")
    first, *others = times
    for key in others:
        if times[key] != times[first]:
            raise InputError(f"{path}: {key} is not on the same bars as {first}. {again}")
    columns = {key: np.array(rows, dtype=np.float64).T for key, rows in numbers.items()}
    return Curves(
        times=parse_times(path, times[first]),
        price=columns[first][0],
        books={key: Account(*values[1:]) for key, values in columns.items()},
    )


def parse_times(path: Path, times: list[str]) -> NDArray[np.datetime64]:
    """ISO 8601 times in UTC (ending in Z) as datetime64[s]."""
    try:
        return np.array([time.removesuffix("Z") for time in times], dtype="datetime64[s]")
    except ValueError as error:
        raise InputError(f"{path}: {error}. Make the file again.") from None
