"""The leakage probe: what a change changes, how it is counted, and which files are refused."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import probe
from common.errors import InputError
from common.files import sha256, write_json
from inference.changes import CHANGES, STAND_IN, Changes, changed_prompts, choose, count, reading, wilson
from inference.questions import Question
from inference.sampling import Sampling
from trading.bars import Bars, format_times, write_bars
from trading.decisions import Decisions
from trading.prompts import LOOK_BACK, build_prompts

GREEDY = Sampling(32, 0.0)
PROBE = Changes(weeks=370, price_factor=27.0, names=("Synthetic market", "BTC"))


def market(seed: int = 0, bars: int = 160, level: float = 20.0) -> Bars:
    moves = np.random.default_rng(seed).normal(0, 0.004, bars)
    time = np.datetime64("2025-01-01", "s") + np.arange(bars) * np.timedelta64(1, "h")
    return Bars(time, np.round(level * np.exp(np.cumsum(moves)), 2))


def places(style: str) -> list[int]:
    return [LOOK_BACK[style], 130, 159]


# --- what is changed


@pytest.mark.parametrize("style", ["compact", "report"])
@pytest.mark.parametrize("factor", [0.037, 27.0])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_masked_prompt_stays_as_it_is_whatever_is_changed(style: str, factor: float, seed: int) -> None:
    changes = dataclasses.replace(PROBE, price_factor=factor)
    prompts = changed_prompts(market(seed), places(style), style, True, changes)
    assert set(prompts) == {"none", *CHANGES}
    assert all(texts == prompts["none"] for texts in prompts.values())


def test_an_unmasked_prompt_shows_the_changed_dates_and_prices() -> None:
    prompts = changed_prompts(market(), places("report"), "report", False, PROBE)
    for change in ("dates", "price", "all"):
        assert all(one != other for one, other in zip(prompts[change], prompts["none"], strict=True))
    assert prompts["name"] == prompts["none"]  # these prompts do not name the market
    assert "2025-01-07T" in prompts["none"][-1]
    # 370 weeks after Tuesday 2025-01-07 it is a Tuesday again: 2032-02-10.
    assert "2032-02-10T" in prompts["dates"][-1]
    assert "2032-02-10T" in prompts["all"][-1]
    assert "2025-01-07T" in prompts["price"][-1]


def test_only_the_price_level_is_another_one() -> None:
    bars = market()
    one, other = (changed_prompts(bars, [159], "report", False, PROBE)[change][0] for change in ("none", "price"))
    assert f"{bars.close[-1]:.2f}" in one
    assert f"{27 * bars.close[-1]:.2f}" in other

    def changes_and_rsi(text: str) -> list[str]:
        lines = text.splitlines()
        return [line.split(", ")[-1] for line in lines if line.endswith("%")] + [x for x in lines if "RSI" in x]

    assert changes_and_rsi(one) == changes_and_rsi(other)
    assert len(changes_and_rsi(one)) == 11


def test_the_prompts_are_those_of_the_samples() -> None:
    bars = market()
    built = build_prompts(bars, "report", False)
    assert changed_prompts(bars, [64, 159], "report", False, PROBE)["none"] == [built[0], built[-1]]


def test_a_name_is_replaced_as_a_word_in_any_case() -> None:
    text = "You trade btc, BTC and the synthetic Market; not BTCUSD."
    expected = f"You trade {STAND_IN}, {STAND_IN} and the {STAND_IN}; not BTCUSD."
    assert PROBE.text(text, "name") == PROBE.text(text, "all") == expected
    assert PROBE.text(text, "dates") == PROBE.text(text, "price") == text


def test_the_longest_name_is_replaced_first_and_none_changes_nothing() -> None:
    changes = dataclasses.replace(PROBE, names=("BTC", "BTC/USD (spot)", ""))
    assert changes.text("BTC/USD (spot) and BTC", "name") == f"{STAND_IN} and {STAND_IN}"
    assert dataclasses.replace(PROBE, names=()).text("BTC", "name") == "BTC"


@given(samples=st.integers(1, 2000), hours=st.integers(1, 300), seed=st.integers(0, 100))
def test_the_choice_is_seeded_in_order_and_never_double(samples: int, hours: int, seed: int) -> None:
    chosen = choose(samples, hours, seed)
    assert chosen == choose(samples, hours, seed)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(hours, samples)
    assert set(chosen) <= set(range(samples))


def test_another_seed_chooses_other_hours() -> None:
    assert choose(1706, 200, 0) != choose(1706, 200, 1)


# --- how it is counted


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.277533),  # z^2 / (n + z^2)
        (10, 10, 0.722467, 1.0),
        (5, 10, 0.236593, 0.763407),  # 0.5 -+ z / (2 sqrt(n + z^2))
        (0, 200, 0.0, 0.018845),
    ],
)
def test_wilsons_interval_by_hand(hits: int, trials: int, low: float, high: float) -> None:
    z = 1.959964
    if hits == 5:
        assert high == pytest.approx(0.5 + z / (2 * math.sqrt(trials + z**2)), abs=1e-6)
    if hits == 0:
        assert high == pytest.approx(z**2 / (trials + z**2), abs=1e-6)
    assert wilson(hits, trials) == pytest.approx((low, high), abs=1e-6)


@given(trials=st.integers(1, 2000), data=st.data())
def test_wilsons_interval_holds_the_share_and_mirrors(trials: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, trials))
    low, high = wilson(hits, trials)
    assert 0 <= low <= hits / trials + 1e-6
    assert hits / trials - 1e-6 <= high <= 1
    assert wilson(trials - hits, trials) == pytest.approx((1 - high, 1 - low), abs=2e-6)


def test_decisions_are_counted_where_the_prompt_differs() -> None:
    original = ["BUY", "SELL", "BUY", "HOLD"]
    found = count(original, {0: "BUY", 1: "BUY", 3: "SELL"})
    assert (found["prompts_changed"], found["decisions_changed"]) == (3, 2)
    assert found["share"] == 0.666667
    assert found["interval"] == list(wilson(2, 3))
    assert count(original, {}) == {"prompts_changed": 0, "decisions_changed": 0, "share": None, "interval": None}


def words(**changed: dict[int, str]) -> dict[str, str]:
    return {f"{change}/test-{n:06d}": word for change, given in changed.items() for n, word in given.items()}


def test_findings_tell_the_control_from_the_changes() -> None:
    ids, original = ["test-000003", "test-000007"], ["BUY", "SELL"]
    same = {3: "BUY", 7: "SELL"}
    found = probe.findings(ids, original, words(again=same, dates={3: "SELL", 7: "SELL"}, price={7: "SELL"}), GREEDY)
    assert found["control"] == {"asked_again": 2, "decisions_changed": 0}
    assert [found["changes"][change]["decisions_changed"] for change in CHANGES] == [1, 0, 0, 0]
    assert [found["changes"][change]["prompts_changed"] for change in CHANGES] == [2, 0, 1, 0]
    unsteady = probe.findings(ids, original, words(again={3: "SELL", 7: "SELL"}), GREEDY)
    assert unsteady["control"]["decisions_changed"] == 1


# --- what it says


def texts(control: int = 0, **changed: tuple[int, int]) -> str:
    found = {}
    for change in CHANGES:
        differ, moved = changed.get(change, (0, 0))
        found[change] = count(["BUY"] * 200, {n: "SELL" if n < moved else "BUY" for n in range(differ)})
    return reading(200, control, found, greedy=True)


def test_masked_prompts_are_said_to_hold_nothing_to_recognise() -> None:
    said = texts()
    assert "None of the 200 prompts differs" in said
    assert "nothing by which to recognise the period" in said
    assert "course of its returns is not found by this probe" in said
    assert "Asked again" not in said


def test_changed_decisions_are_said_with_their_interval_and_what_they_do_not_show() -> None:
    said = texts(dates=(200, 10), price=(200, 0), all=(200, 12))
    assert "No prompt differs with the market's name changed" in said
    assert "With the dates changed, 200 of 200 prompts differ, and 10 of these decisions changed (5.0%; 95%" in said
    assert "With all three changed, 200 of 200 prompts differ, and 12 of these" in said
    assert "not that it knows the period" in said
    assert "nothing by which" not in said


def test_an_engine_that_does_not_repeat_itself_is_said_first() -> None:
    assert texts(control=3, dates=(200, 10)).startswith("Asked again with nothing changed, 3 of 200 decisions changed")


# --- what is refused


@pytest.fixture
def args(tmp_path: Path) -> argparse.Namespace:
    """The program's arguments with files that fit each other; the model is any folder."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    write_bars(tmp_path / "bars.csv", market())
    (tmp_path / "test.jsonl").write_text("samples")
    asked = {"device": "cpu", "finish": False, "tensor": 1, "attention": "fa3", "prefix_cache": False}
    parameters = {"max_new_tokens": 32, "temperature": 0.0, "top_p": 1.0, "seed": 0, **asked}
    inputs = {"model": sha256(tmp_path / "model"), "samples": sha256(tmp_path / "test.jsonl")}
    write_json(tmp_path / "summary.json", {"parameters": parameters, "inputs": inputs})
    return argparse.Namespace(
        model=tmp_path / "model", samples=tmp_path / "test.jsonl", bars=tmp_path / "bars.csv",
        summary=tmp_path / "summary.json", prompt="report", mask=False, **asked,
        weeks=370, price_factor=27.0, names=[], hours=3, choice_seed=0,
    )  # fmt: skip


def test_the_same_settings_are_accepted_and_a_seed_means_nothing_to_greedy(args: argparse.Namespace) -> None:
    probe.check_summary(args, GREEDY)
    probe.check_summary(args, dataclasses.replace(GREEDY, seed=7, top_k=3))


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(16, 0.0), "max_new_tokens was 32, here it is 16"),
        (Sampling(32, 0.5, seed=0), r"temperature was 0\.0, here it is 0\.5"),
    ],
)
def test_other_settings_than_those_of_the_decisions_are_refused(
    args: argparse.Namespace, sampling: Sampling, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        probe.check_summary(args, sampling)


def test_another_device_or_model_or_sample_file_is_refused(args: argparse.Namespace) -> None:
    args.device = "cuda"
    with pytest.raises(InputError, match="device was cpu, here it is cuda"):
        probe.check_summary(args, GREEDY)
    args.device, args.finish = "cpu", True
    with pytest.raises(InputError, match="finish was False, here it is True"):
        probe.check_summary(args, GREEDY)
    args.samples.write_text("others")
    with pytest.raises(InputError, match="another samples file"):
        probe.check_summary(args, GREEDY)
    (args.model / "config.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match="another model file"):
        probe.check_summary(args, GREEDY)


def samples_of(bars: Bars, mask: bool) -> list[dict[str, Any]]:
    times, prompts = format_times(bars.time), build_prompts(bars, "report", mask)
    return [
        {"prompt": [{"role": "user", "content": text}], "metadata": {"timestamp": times[64 + i]}}
        for i, text in enumerate(prompts)
    ]


def test_prompts_are_built_again_from_the_bars(args: argparse.Namespace) -> None:
    bars = market()
    prompts = probe.probed_prompts(args, bars, samples_of(bars, mask=False), [0, 10, 95])
    assert list(prompts) == [probe.AGAIN, *CHANGES]
    assert all(len(texts) == 3 for texts in prompts.values())


def test_samples_of_another_market_or_with_another_mask_are_refused(args: argparse.Namespace) -> None:
    bars = market()
    with pytest.raises(InputError, match=r"test\.jsonl, line 11: is not the prompt that .*--no-mask"):
        probe.probed_prompts(args, bars, samples_of(bars, mask=True), [10])
    with pytest.raises(InputError, match=r"line 1: is not the prompt"):
        probe.probed_prompts(args, market(seed=1), samples_of(bars, mask=False), [0, 10])
    late = Bars(bars.time + np.timedelta64(9999, "h"), bars.close)
    with pytest.raises(InputError, match=r"line 1: .*has no bar for 2025-01-03T16:00:00Z"):
        probe.probed_prompts(args, late, samples_of(bars, mask=False), [0])


def test_decisions_on_other_prompts_are_refused(tmp_path: Path) -> None:
    ids, times = ["test-000000", "test-000001"], ["2025-01-01T00:00:00Z", "2025-01-01T01:00:00Z"]
    decisions = Decisions(tmp_path / "d.jsonl", ids, times, ["BUY", "BUY"], ["ok", "ok"], ["a" * 64, "b" * 64])
    questions = [Question(n, ids[n], times[n], [1], digest * 64) for n, digest in ((0, "a"), (1, "c"))]
    probe.check_prompts(questions[:1], decisions)
    with pytest.raises(InputError, match=r"d\.jsonl, line 2: was the answer to another prompt"):
        probe.check_prompts(questions, decisions)
