"""Samples: what is in them, how they are split, and that the splits share no bar."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.errors import InputError
from common.files import write_jsonl
from trading.bars import Bars, format_times, read_bars
from trading.prompts import LOOK_BACK, STYLES, build_prompts
from trading.samples import HORIZON, SPLITS, make_samples, split_in_time, summary

BTC = Path(__file__).parents[2].parent / "shared" / "data" / "btc_usd_1h.csv"


def market(bars: int, seed: int = 0) -> Bars:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.005, bars)))
    return Bars(np.datetime64("2025-01-01", "s") + np.arange(bars) * np.timedelta64(1, "h"), close)


@pytest.mark.parametrize("style", STYLES)
def test_a_sample_holds_the_prompt_and_both_closes_of_its_bar(style: str) -> None:
    bars = market(500)
    samples, split = make_samples(bars, style, True, 30, 20)
    prompts, times = build_prompts(bars, style), format_times(bars.time)
    for name in SPLITS:
        assert len(samples[name]) == len(split.ranges[name])
        for number, (i, sample) in enumerate(zip(split.ranges[name], samples[name], strict=True)):
            t = LOOK_BACK[style] + i
            assert sample == {
                "prompt": [{"role": "user", "content": prompts[i]}],
                "label": "",
                "metadata": {
                    "id": f"{name}-{number:06d}",
                    "timestamp": times[t],
                    "current_price": bars.close[t],
                    "next_price": bars.close[t + 1],
                    "split": name,
                },
            }
    assert samples["test"][-1]["metadata"]["next_price"] == bars.close[-1]


@given(st.integers(1, 900), st.integers(0, 120), st.integers(1, 300), st.integers(0, 300))
def test_no_bar_belongs_to_two_splits_and_the_embargo_is_no_longer_than_that_needs(
    bars: int, look_back: int, test: int, validation: int
) -> None:
    try:
        split = split_in_time(bars, look_back, test, validation)
    except InputError:
        needed = test + validation + (look_back + HORIZON) * (2 if validation else 1) + 1
        assert bars - look_back - HORIZON < needed
        return
    used = [split.ranges[name] for name in SPLITS if split.ranges[name]]
    assert [len(split.ranges[name]) for name in ("validation", "test")] == [validation, test]
    assert used[0].start == 0
    assert used[-1].stop == bars - look_back - HORIZON
    for earlier, later in itertools.pairwise(used):
        last_result = earlier[-1] + look_back + HORIZON
        first_seen = later[0]
        assert first_seen == last_result + 1


@given(st.integers(300, 5000), st.floats(0.01, 0.5), st.floats(0, 0.3))
def test_a_share_counts_all_samples(bars: int, test: float, validation: float) -> None:
    samples = bars - 20 - HORIZON
    counts = round(test * samples), round(validation * samples)
    assume(counts[0] >= 1 and sum(counts) + 43 <= samples)
    by_share, by_count = split_in_time(bars, 20, test, validation), split_in_time(bars, 20, *counts)
    assert by_share == by_count


def test_the_demo_keeps_5581_of_8500_bars_for_training() -> None:
    split = split_in_time(8500, LOOK_BACK["compact"], 1706, 850)
    assert {name: len(indices) for name, indices in split.ranges.items()} == {
        **{"train": 5581, "validation": 850, "test": 1706}
    }
    # The test samples' results are exactly the last 1706 returns, which are those that are calibrated.
    assert LOOK_BACK["compact"] + split.ranges["test"].start == 8500 - 1 - 1706


def test_too_few_bars_says_how_many_are_missing() -> None:
    with pytest.raises(InputError, match=r"200 bars make 79 samples .* Give at least 273 more bars"):
        split_in_time(200, 120, 100, 9)
    assert len(split_in_time(200 + 273, 120, 100, 9).ranges["train"]) == 1


def test_a_test_share_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"samples.test: 0.001 of 79 samples is none"):
        split_in_time(200, 120, 0.001, 0)


def test_the_summary_names_counts_periods_and_the_embargo() -> None:
    samples, split = make_samples(market(400), "compact", True, 50, 0)
    assert summary(samples, split) == (
        "samples: train 108 (2025-01-06T00:00:00Z to 2025-01-10T11:00:00Z), validation 0, "
        "test 50 (2025-01-15T13:00:00Z to 2025-01-17T14:00:00Z); embargo 121 bars between two splits"
    )


def test_pandas_through_which_slime_reads_leaves_the_metadata_alone(tmp_path: Path) -> None:
    samples, _ = make_samples(market(400), "report", True, 50, 0)
    write_jsonl(tmp_path / "test.jsonl", samples["test"])
    # As slime v0.2.1 reads it: only the label is kept a string.
    frame = pd.read_json(tmp_path / "test.jsonl", lines=True, dtype={"label": str})
    assert frame["metadata"].tolist() == [sample["metadata"] for sample in samples["test"]]
    assert frame["prompt"].tolist() == [sample["prompt"] for sample in samples["test"]]
    assert set(frame["label"]) == {""}
    # The control: the same values at the top level do not survive.
    (tmp_path / "flat.jsonl").write_text(json.dumps({"id": "00012", "created_at": "2025-01-01T00:00:00Z"}) + "\n")
    flat = pd.read_json(tmp_path / "flat.jsonl", lines=True, dtype={"label": str})
    assert flat["id"][0] == 12
    assert not isinstance(flat["created_at"][0], str)


@pytest.mark.skipif(not BTC.is_file(), reason=f"the real BTC closes are not at {BTC}")
@pytest.mark.parametrize("style", STYLES)
def test_the_real_btc_closes_make_samples_by_share(style: str) -> None:
    bars = read_bars(BTC)
    samples, split = make_samples(bars, style, True, 0.2, 0.1)
    total = len(bars) - LOOK_BACK[style] - HORIZON
    assert len(samples["test"]) == round(0.2 * total)
    assert len(samples["train"]) == total - round(0.2 * total) - round(0.1 * total) - 2 * split.embargo
    assert len(samples["train"]) > 850
    assert all("nan" not in sample["prompt"][0]["content"] for rows in samples.values() for sample in rows)
