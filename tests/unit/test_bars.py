"""Bars files: what is read, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import InputError
from trading.bars import Bars, format_times, read_bars, write_bars

GOOD = [
    "timestamp,close",
    "2025-01-01T00:00:00Z,100",
    "2025-01-01T01:00:00Z,101.5",
    "2025-01-01T02:00:00Z,99",
    "2025-01-01T03:00:00Z,98",
]


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def replaced(number: int, line: str | None) -> list[str]:
    """The good file with another line (None: without it); lines count from 1."""
    return GOOD[: number - 1] + ([] if line is None else [line]) + GOOD[number:]


def test_a_good_file_is_read(tmp_path: Path) -> None:
    bars = read_bars(written(tmp_path / "bars.csv", GOOD))
    assert format_times(bars.time) == [line.split(",")[0] for line in GOOD[1:]]
    assert bars.close.tolist() == [100.0, 101.5, 99.0, 98.0]
    assert bars.extra == {}


@pytest.mark.parametrize("time", ["2025-01-01T00:00:00", "2025-01-01 00:00:00+00:00", "2025-01-01", "20250101T00Z"])
def test_other_spellings_of_utc_and_times_without_an_offset_are_utc(tmp_path: Path, time: str) -> None:
    bars = read_bars(written(tmp_path / "bars.csv", replaced(2, f"{time},100")))
    assert format_times(bars.time)[0] == "2025-01-01T00:00:00Z"


def test_other_columns_are_ignored_and_prices_and_volume_kept(tmp_path: Path) -> None:
    lines = ["volume,Adj Close,timestamp,close,open", "7,junk,2025-01-01T00:00:00Z,100,99.5", ""]
    bars = read_bars(written(tmp_path / "bars.csv", lines))
    assert {name: values.tolist() for name, values in bars.extra.items()} == {"volume": [7.0], "open": [99.5]}


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes("\r\n".join(GOOD).encode("utf-8-sig"))
    assert len(read_bars(path)) == 4


BAD = {
    "missing column": (replaced(1, "timestamp,Close"), "line 1: column close is missing"),
    "missing time": (replaced(1, "Datetime,close"), "line 1: column timestamp is missing"),
    "column twice": (
        ["timestamp,close,close", "2025-01-01,1,2"],
        "line 1: column close stands there 2 times",
    ),
    "gap": (replaced(4, None), "line 4: a gap: 2:00:00 from 2025-01-01T01:00:00Z to 2025-01-01T03:00:00Z"),
    "too early": (replaced(5, "2025-01-01T02:30:00Z,98"), "line 5: a bar too early: 0:30:00"),
    "duplicate": (replaced(4, GOOD[2]), "line 4: time 2025-01-01T01:00:00Z is there twice"),
    "backwards": (replaced(4, "2024-12-31T00:00:00Z,9"), "line 4: time 2024-12-31T00:00:00Z comes after"),
    "nan": (replaced(3, "2025-01-01T01:00:00Z,NaN"), "line 3: close is NaN"),
    "nothing": (replaced(3, "2025-01-01T01:00:00Z,"), "line 3: close '' is not a number"),
    "zero": (replaced(3, "2025-01-01T01:00:00Z,0"), "line 3: close is 0, a price must be above zero"),
    "negative": (replaced(3, "2025-01-01T01:00:00Z,-1"), "line 3: close is -1, a price must be above"),
    "infinite": (replaced(3, "2025-01-01T01:00:00Z,inf"), "line 3: close is inf"),
    "comma": (replaced(3, '2025-01-01T01:00:00Z,"101,5"'), "line 3: close '101,5' is not a number"),
    "not UTC": (replaced(3, "2025-01-01T01:00:00-05:00,1"), "line 3: timestamp .* is not in UTC"),
    "no time": (replaced(3, "yesterday,1"), "line 3: timestamp 'yesterday' is not a time"),
    "epoch": (replaced(3, "1735693200,1"), "line 3: timestamp '1735693200' is not a time"),
    "fraction": (replaced(3, "2025-01-01T01:00:00.5Z,1"), "line 3: .* has a fraction of a second"),
    "cells": (replaced(3, "2025-01-01T01:00:00Z"), "line 3: 1 cells, the header has 2 columns"),
    "cut short": ([*GOOD[:4], "2025-01-01T03:00:0"], "line 5: 1 cells"),
    "quote": (replaced(3, '2025-01-01T01:00:00Z,"1'), "not a CSV file"),
    "header only": (GOOD[:1], "no bars in it"),
    "blank": ([""], "empty"),
    "other price": (["timestamp,close,low", "2025-01-01,1,0"], "line 2: low is 0, a price must be above"),
    "volume": (["timestamp,close,volume", "2025-01-01,1,-3"], "line 2: volume is -3, below zero"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_with_its_name_the_line_and_what_to_do(tmp_path: Path, case: str) -> None:
    lines, words = BAD[case]
    path = written(tmp_path / "bars.csv", lines)
    with pytest.raises(InputError, match=words) as caught:
        read_bars(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert str(caught.value).count(". ") >= 1, "says what to do"


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_bars(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="not a text file"):
        read_bars(tmp_path / "binary.csv")


@pytest.mark.parametrize("case", ["gap", "too early"])
def test_gaps_can_be_allowed(tmp_path: Path, case: str) -> None:
    assert len(read_bars(written(tmp_path / "bars.csv", BAD[case][0]), gaps="allow")) >= 3


@pytest.mark.parametrize("case", ["duplicate", "backwards", "nan"])
def test_allowing_gaps_allows_nothing_else(tmp_path: Path, case: str) -> None:
    with pytest.raises(InputError):
        read_bars(written(tmp_path / "bars.csv", BAD[case][0]), gaps="allow")


def spaced(path: Path, *minutes: int) -> Path:
    """A bars file with these minutes between its bars."""
    times = np.datetime64("2025-01-01T00:00:00") + np.cumsum([0, *minutes]) * np.timedelta64(1, "m")
    return written(path, ["timestamp,close", *(f"{time}Z,1" for time in times)])


@pytest.mark.parametrize("gaps", ["refuse", "allow"])
@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        ([240] * 9, "line 3: most bars are 4:00:00 apart, .* must be hourly. Give hourly ones, each with"),
        ([60, 240, 240], "line 4: most bars are 4:00:00 apart, as 2025-01-01T01:00:00Z and 2025-01-01T05:00:00Z"),
        ([1440] * 3, "most bars are 1 day, 0:00:00 apart"),
        ([15] * 9, "most bars are 0:15:00 apart, .* Resample them to hours, each with the last close of its hour"),
    ],
)
def test_bars_that_are_not_hourly_are_refused(tmp_path: Path, minutes: list[int], words: str, gaps: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_bars(spaced(tmp_path / "bars.csv", *minutes), gaps)
    assert "\n" not in str(caught.value)


def test_an_hourly_market_that_closes_is_hourly(tmp_path: Path) -> None:
    path = spaced(tmp_path / "bars.csv", *[60, 60, 60, 1260] * 3)
    assert len(read_bars(path, "allow")) == 13
    with pytest.raises(InputError, match=r"line 6: a gap: 21:00:00 .* where bars are 1:00:00 apart"):
        read_bars(path)
    # Where hours are as common as another step, the file is hourly with gaps, or with bars too early.
    assert len(read_bars(spaced(tmp_path / "bars.csv", 60, 1260), "allow")) == 3
    assert len(read_bars(spaced(tmp_path / "bars.csv", 30, 60), "allow")) == 3


PRICES = st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(PRICES, st.integers(0, 2**32))
def test_what_is_written_is_read_back_equal(tmp_path: Path, close: list[float], start: int) -> None:
    time = (start + 3600 * np.arange(len(close))).astype("datetime64[s]")
    bars = Bars(time, np.array(close), {"open": np.array(close) / 3, "volume": np.arange(len(close)) / 7})
    write_bars(tmp_path / "bars.csv", bars)
    again = read_bars(tmp_path / "bars.csv")
    assert (again.time == bars.time).all()
    assert (again.close == bars.close).all()
    assert set(again.extra) == {"open", "volume"}
    assert all((again.extra[name] == bars.extra[name]).all() for name in again.extra)


def test_the_columns_are_written_in_the_usual_order(tmp_path: Path) -> None:
    one = np.ones(1)
    extra = {"volume": one, "low": one, "open": one, "high": one}
    write_bars(tmp_path / "bars.csv", Bars(np.zeros(1, dtype="datetime64[s]"), one, extra))
    assert (tmp_path / "bars.csv").read_text() == (
        "timestamp,open,high,low,close,volume\n1970-01-01T00:00:00Z,1.0,1.0,1.0,1.0,1.0\n"
    )


def test_an_export_of_yfinance_needs_three_lines_and_is_refused_without_them(tmp_path: Path) -> None:
    # What yfinance.download(..., multi_level_index=False) gives for a stock: New York time, capital names.
    index = pd.date_range("2025-03-03 09:30", periods=7, freq="h", tz="America/New_York", name="Datetime")
    frame = pd.DataFrame({"Close": np.arange(100.0, 107), "Volume": range(7), "Adj Close": 1.0}, index=index)
    frame.to_csv(tmp_path / "raw.csv")
    with pytest.raises(InputError, match="column timestamp is missing"):
        read_bars(tmp_path / "raw.csv")

    frame.index = frame.index.tz_convert("UTC").rename("timestamp")
    frame.rename(columns=str.lower).to_csv(tmp_path / "bars.csv")
    bars = read_bars(tmp_path / "bars.csv")
    assert format_times(bars.time)[0] == "2025-03-03T14:30:00Z"
    assert bars.close[-1] == 106
    assert set(bars.extra) == {"volume"}
