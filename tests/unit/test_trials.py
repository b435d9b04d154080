"""The ledger of trials: what counts as the same hours, the same market, the same variant; and who learns of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from trading.evidence.trials import (
    Window,
    entries,
    of_other_runs,
    record_variants,
    variant_digest,
    window_of,
)
from trials import trials_elsewhere

START = 1_735_689_600  # 2025-01-01T00:00:00Z


def market(bars: int, seed: int = 1) -> tuple[list[int], np.ndarray]:
    """Hourly closes around 27,000."""
    moves = np.random.default_rng(seed).normal(0, 0.005, bars)
    return [START + 3600 * bar for bar in range(bars)], 27_000 * np.exp(np.cumsum(moves))


SECONDS, CLOSES = market(1000)


def hours(first: int, last: int, closes: np.ndarray = CLOSES) -> Window:
    return window_of(SECONDS[first : last + 1], closes[first : last + 1])


def test_different_decisions_on_the_same_hours_count_once_and_for_ever(tmp_path: Path) -> None:
    here = hours(0, 2)
    one, two = np.array([1.0, -1.0]), np.array([1.0, 1.0])
    assert len(record_variants(tmp_path, here, "demo", [("trained", one)])) == 1
    assert len(record_variants(tmp_path, here, "demo", [("trained", one), ("again", one)])) == 1
    assert len(record_variants(tmp_path, here, "demo", [("seed 2", two)])) == 2
    assert len(record_variants(tmp_path, here, "demo", [])) == 2
    assert variant_digest(one) == variant_digest(one.astype(int)) != variant_digest(two)


@given(first=st.integers(0, 900), length=st.integers(1, 99), shift=st.integers(-99, 99))
def test_windows_overlap_where_they_share_an_hour(first: int, length: int, shift: int) -> None:
    other = min(max(first + shift, 0), 900)
    one, two = hours(first, first + length), hours(other, other + length)
    assert one.overlap(two) == two.overlap(one) == (abs(other - first) < length)


def test_a_window_moved_by_an_hour_goes_on_counting(tmp_path: Path) -> None:
    decisions = np.sign(np.random.default_rng(0).normal(size=300))
    record_variants(tmp_path, hours(400, 700), "demo", [("trained", decisions)])
    assert len(record_variants(tmp_path, hours(401, 701), "demo", [("trained", decisions[::-1])])) == 2
    # The control: hours that no earlier window has are a count of their own.
    assert len(entries(tmp_path, hours(701, 999))) == 0
    assert len(entries(tmp_path, hours(100, 400))) == 0
    assert len(entries(tmp_path, hours(100, 401))) == 1


@pytest.mark.parametrize(
    "written",
    [
        lambda closes: closes.round(2),
        lambda closes: closes.round(0),
        lambda closes: closes * 100,
        lambda closes: closes / 27_000,
        lambda closes: closes.astype(np.float32).astype(np.float64),
    ],
)
def test_prices_written_in_another_way_are_the_same_market(tmp_path: Path, written) -> None:
    decisions = np.ones(300)
    record_variants(tmp_path, hours(400, 700), "demo", [("trained", decisions)])
    again = hours(400, 700, written(CLOSES))
    assert len(record_variants(tmp_path, again, "copy", [("trained", decisions)])) == 1
    assert len(record_variants(tmp_path, again, "copy", [("other", -decisions)])) == 2


def test_another_market_on_the_same_hours_is_a_count_of_its_own(tmp_path: Path) -> None:
    record_variants(tmp_path, hours(400, 700), "demo", [("trained", np.ones(300))])
    assert entries(tmp_path, hours(400, 700, market(1000, seed=2)[1])) == []
    # The same shocks with a drift of 0.05% an hour more are another market, too.
    assert entries(tmp_path, hours(400, 700, CLOSES * np.exp(0.0005 * np.arange(1000)))) == []
    assert len(entries(tmp_path, hours(400, 700))) == 1


def test_hours_without_a_bar_are_no_common_hours() -> None:
    gap = [number for number in range(40) if not 10 <= number < 20]
    closed = window_of([SECONDS[n] for n in gap], CLOSES[gap].tolist())
    # The move over the gap belongs to its first hour; the nine after it have none.
    assert closed.digits.count(".") == 10
    assert closed.overlap(hours(0, 39))
    assert not closed.overlap(hours(11, 19))


def test_only_what_others_tried_is_news(tmp_path: Path) -> None:
    here = hours(0, 30)
    record_variants(tmp_path, here, "demo", [("trained", np.ones(30)), ("seed 1", -np.ones(30))])
    assert of_other_runs(tmp_path, here, "demo") == 0
    record_variants(tmp_path, hours(20, 50), "other", [("trained", np.zeros(30))])
    assert of_other_runs(tmp_path, here, "demo") == 1
    assert of_other_runs(tmp_path, here, "other") == 2


def test_a_broken_ledger_is_one_line(tmp_path: Path) -> None:
    here = hours(0, 30)
    record_variants(tmp_path, here, "demo", [])
    (file,) = tmp_path.glob("*/hours.json")
    file.write_text('{"first": "x"}')
    with pytest.raises(InputError, match="does not say which hours"):
        entries(tmp_path, here)


def test_the_workflow_asks_for_the_hours_of_the_run(tmp_path: Path) -> None:
    """As rule evaluate does: 0 before there are samples, then what other runs have on these hours."""
    results, ledger = tmp_path / "demo", tmp_path / "ledger"
    assert trials_elsewhere(results, ledger) == 0
    times = [f"{np.datetime64(second, 's')}Z" for second in SECONDS]
    (results / "samples").mkdir(parents=True)
    rows = [{"metadata": {"timestamp": time}} for time in times[700:999]]
    (results / "samples/test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert trials_elsewhere(results, ledger) == 0
    (results / "market").mkdir()
    with open(results / "market/bars.csv", "w", newline="") as handle:
        csv.writer(handle).writerows([("timestamp", "close"), *zip(times, CLOSES.tolist(), strict=True)])
    record_variants(ledger, hours(700, 999), "demo", [("trained", np.ones(299))])
    assert trials_elsewhere(results, ledger) == 0
    record_variants(ledger, hours(600, 701), "other", [("trained", np.ones(101))])
    assert trials_elsewhere(results, ledger) == 1
    record_variants(ledger, hours(600, 700), "other", [("trained", -np.ones(100))])
    assert trials_elsewhere(results, ledger) == 1
