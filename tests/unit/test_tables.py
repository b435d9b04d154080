"""equity.csv and trades.csv: read back exactly, and refused with the line when broken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from trading.accounting import Terms, account
from trading.metrics import trades
from trading.tables import read_equity, write_equity, write_trades

TIMES = ["2025-01-01T00:00:00Z", "2025-01-01T01:00:00Z", "2025-01-01T02:00:00Z"]
PRICES = np.array([100.0, 110.0, 99.0])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    books = {"up": account(PRICES, [1, 1], Terms(2, 1e5 / 3)), "mixed": account(PRICES, [1, -1], Terms(2))}
    write_equity(tmp_path / "equity.csv", TIMES, PRICES, books)
    write_trades(tmp_path / "trades.csv", TIMES, PRICES, {key: trades(book) for key, book in books.items()})
    return tmp_path / "equity.csv"


def test_the_books_read_back_to_the_last_digit(file: Path) -> None:
    curves = read_equity(file)
    expected = account(PRICES, [1, 1], Terms(2, 1e5 / 3))
    for name in ("position", "equity", "pnl", "cost"):
        np.testing.assert_array_equal(getattr(curves.books["up"], name), getattr(expected, name))
    np.testing.assert_array_equal(curves.price, PRICES)
    assert list(curves.books) == ["up", "mixed"]
    assert str(curves.times[1]) == "2025-01-01T01:00:00"


def test_the_files_are_what_the_design_says(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert lines[0] == "timestamp,strategy,price,position,equity,pnl,cost"
    assert lines[4] == "2025-01-01T00:00:00Z,mixed,100.0,2.0,100000.0,0.0,0.0"
    table = (file.parent / "trades.csv").read_text().splitlines()
    assert table[0] == "strategy,direction,entry_time,exit_time,entry_price,exit_price,bars,pnl,return"
    assert [line.split(",")[:2] for line in table[1:]] == [["up", "long"], ["mixed", "long"], ["mixed", "short"]]
    assert table[2].startswith("mixed,long,2025-01-01T00:00:00Z,2025-01-01T01:00:00Z,100.0,110.0,1,")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("strategy,price", "strategy,close", "line 1: the columns are not"),
        ("100.0,2.0", "nan,2.0", "line 2: not a time, a strategy and five numbers"),
        ("100.0,2.0", "100.0,2.0,7", "line 2: not a time, a strategy and five numbers"),
        ("2025-01-01T01:00:00Z,mixed", "2025-01-01T05:00:00Z,mixed", "mixed is not on the same bars as up"),
        ("2025-01-01T00:00:00Z", "noon", "noon"),
        ("2025-01-01T01:00:00Z", '"' + "9" * 200_000, "not a table in UTF-8 .field larger than field limit"),
    ],
)
def test_a_broken_table_is_refused(file: Path, old: str, new: str, words: str) -> None:
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(InputError, match=words):
        read_equity(file)


def test_a_missing_or_empty_table_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_equity(tmp_path / "none.csv")
    file.write_text(file.read_text().splitlines()[0] + "\n")
    with pytest.raises(InputError, match="no rows"):
        read_equity(file)
