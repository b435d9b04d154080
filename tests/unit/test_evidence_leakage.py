"""The embargo between the splits, on the files themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.errors import InputError
from common.files import write_jsonl
from trading.bars import Bars, format_times
from trading.evidence.leakage import leakage_record, read_times
from trading.prompts import LOOK_BACK
from trading.samples import make_samples

BARS = [f"hour {number}" for number in range(20)]


def test_free_bars_are_those_that_neither_split_touches() -> None:
    # Training decides up to bar 4, its last result is of bar 5; a test prompt at bar 9 looks back to bar 6.
    found = leakage_record(BARS, {"train": BARS[:5], "validation": [], "test": BARS[9:]}, look_back=3)
    assert (found["statistic"], found["verdict"]) == (0, "passed")
    found = leakage_record(BARS, {"train": BARS[:5], "validation": [], "test": BARS[11:]}, look_back=3)
    assert found["free_bars"] == {"train to test": 2}


def test_splits_that_share_a_bar_are_refused() -> None:
    with pytest.raises(ValueError, match="the test samples look back on 1 bars of the train samples"):
        leakage_record(BARS, {"train": BARS[:5], "test": BARS[8:]}, look_back=3)
    with pytest.raises(ValueError, match="the validation samples look back on 4 bars of the train samples"):
        leakage_record(BARS, {"train": BARS[:5], "validation": BARS[5:6], "test": BARS[15:]}, look_back=3)


def test_a_time_that_no_bar_has_is_refused() -> None:
    with pytest.raises(ValueError, match="the test samples decide at noon"):
        leakage_record(BARS, {"train": BARS[:5], "test": ["noon"]}, look_back=3)


@pytest.mark.parametrize("style", ["compact", "report"])
@pytest.mark.parametrize("validation", [0, 50])
def test_the_samples_that_are_made_pass_with_no_bar_to_spare(style: str, validation: int) -> None:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.005, 600)))
    bars = Bars(np.datetime64("2025-01-01", "s") + np.arange(600) * np.timedelta64(1, "h"), close)
    made, _ = make_samples(bars, style, True, 100, validation)
    splits = {name: [row["metadata"]["timestamp"] for row in rows] for name, rows in made.items()}
    assert leakage_record(format_times(bars.time), splits, LOOK_BACK[style])["statistic"] == 0


def test_times_are_read_from_a_sample_file(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    write_jsonl(path, [{"metadata": {"timestamp": "2025-01-01T00:00:00Z"}}])
    assert read_times(path) == ["2025-01-01T00:00:00Z"]
    path.write_text("")
    assert read_times(path) == []
    write_jsonl(path, [{"prompt": "x"}])
    with pytest.raises(InputError, match=r"no metadata.timestamp. Run samples again."):
        read_times(path)
    with pytest.raises(InputError, match="no such file"):
        read_times(tmp_path / "nothing.jsonl")


@pytest.mark.parametrize("metadata", [None, [], {}, {"timestamp": None}, {"timestamp": []}])
def test_a_sample_without_a_time_is_refused_by_its_line(tmp_path: Path, metadata: object) -> None:
    path = tmp_path / "test.jsonl"
    write_jsonl(path, [{"metadata": {"timestamp": "2025-01-01T00:00:00Z"}}, {"metadata": metadata}])
    with pytest.raises(InputError, match=r"test\.jsonl, line 2: no metadata\.timestamp\. Run samples again\.$"):
        read_times(path)
