"""Prompts: only the past in them, nothing in a masked one that tells the period, words as agreed."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading.answers import parse_answer
from trading.bars import Bars
from trading.features import VOLATILITY_HALF_LIFE
from trading.prompts import (
    COMPACT_WORDS,
    LOOK_BACK,
    MOVES,
    RATIONALE,
    RSI,
    SHOWN,
    STYLES,
    TAIL,
    TREND,
    VOLATILITY,
    build_prompts,
    compact_answer,
    compact_rationale,
    hides_prices,
    random_compact_prompt,
    style_of,
)

BARS = 150
FAR = settings(max_examples=25, deadline=None)


def market(seed: int, bars: int = BARS, start: str = "2025-01-01") -> Bars:
    """A random walk whose closes have two decimals: equal closes and ties do occur."""
    moves = np.random.default_rng(seed).normal(0, 0.002, bars)
    time = np.datetime64(start, "s") + np.arange(bars) * np.timedelta64(1, "h")
    return Bars(time, np.round(20 * np.exp(np.cumsum(moves)), 2))


SEEDS = st.integers(0, 10_000)
ALL = pytest.mark.parametrize(("style", "mask"), [("compact", True), ("report", True), ("report", False)])


@ALL
@FAR
@given(SEEDS, st.integers(0, BARS - 1), st.lists(st.floats(0.01, 100), min_size=1, max_size=BARS))
def test_changing_any_future_bar_leaves_every_earlier_prompt_as_it_is(
    style: str, mask: bool, seed: int, first_changed: int, factors: list[float]
) -> None:
    bars = market(seed)
    close = bars.close.copy()
    changed = np.arange(first_changed, min(BARS, first_changed + len(factors)))
    close[changed] *= factors[: len(changed)]
    other = Bars(bars.time, close)
    keep = max(0, first_changed - LOOK_BACK[style])
    assert build_prompts(bars, style, mask)[:keep] == build_prompts(other, style, mask)[:keep]


@ALL
@FAR
@given(SEEDS, st.integers(0, BARS))
def test_a_market_cut_short_gives_the_same_prompts_as_far_as_it_goes(
    style: str, mask: bool, seed: int, length: int
) -> None:
    bars = market(seed)
    short = build_prompts(Bars(bars.time[:length], bars.close[:length]), style, mask)
    assert short == build_prompts(bars, style, mask)[: len(short)]
    assert len(short) == max(0, length - LOOK_BACK[style])


@ALL
def test_the_decision_bar_itself_matters(style: str, mask: bool) -> None:
    bars = market(1)
    close = bars.close.copy()
    close[-1] *= 1.05
    assert build_prompts(bars, style, mask)[-1] != build_prompts(Bars(bars.time, close), style, mask)[-1]


@pytest.mark.parametrize("style", STYLES)
@FAR
@given(SEEDS, st.floats(1e-4, 1e4), st.integers(-20_000, 20_000))
def test_masked_prompts_know_neither_the_price_level_nor_the_date(
    style: str, seed: int, scale: float, days: int
) -> None:
    bars = market(seed)
    other = Bars(bars.time + np.timedelta64(days, "D"), bars.close * scale)
    assert build_prompts(bars, style, True) == build_prompts(other, style, True)


def test_unmasked_reports_do_know_them() -> None:
    bars = market(1)
    prompt = build_prompts(bars, "report", mask=False)[-1]
    assert "2025-01-07T05:00:00Z" in prompt
    assert f"{bars.close[-1]:.2f}" in prompt
    assert prompt != build_prompts(market(1, start="2024-01-01"), "report", mask=False)[-1]
    assert prompt != build_prompts(Bars(bars.time, 3 * bars.close), "report", mask=False)[-1]


def test_a_report_shows_ten_bars_the_indicators_and_how_to_answer() -> None:
    bars = Bars(market(1).time, 200.0 * 1.01 ** np.arange(BARS))
    prompt = build_prompts(bars, "report")[-1]
    lines = prompt.splitlines()
    assert lines[2:5] == [
        "The last 10 bars, oldest first (age, close, change):",
        "9 ago: 91.43, +1.00%",
        "8 ago: 92.35, +1.00%",
    ]
    assert lines[12] == "latest: 100.00, +1.00%"
    assert "SMA(5): 98.04, SMA(20): 91.13" in prompt
    assert "RSI(14): 100.00" in prompt
    assert re.search(r"MACD\(12, 26\): \+\d\.\d\d, signal\(9\): \+\d\.\d\d", prompt)
    assert re.search(r"Bollinger\(20, 2\): lower \d+\.\d\d, upper \d+\.\d\d", prompt)
    assert "<answer>Buy</answer>" in prompt
    assert "<answer>Sell</answer>" in prompt
    assert "nan" not in prompt


def test_a_price_that_stands_still_has_a_prompt_too() -> None:
    bars = Bars(market(1).time, np.full(BARS, 109400.27))
    assert set(build_prompts(bars, "compact")) == {"calm neutral flat moves = = = = = = = = = ="}
    report = build_prompts(bars, "report")[-1]
    assert "latest: 100.00, +0.00%" in report
    assert "MACD(12, 26): +0.00, signal(9): +0.00" in report


def test_a_compact_prompt_says_what_the_bars_did() -> None:
    # Ups and downs of 1%, then three big ups.
    close = 100 * np.cumprod([1.0, *[1.01, 0.99] * 70, 1.03, 1.02, 1.03])
    bars = Bars(np.arange(len(close)).astype("datetime64[s]"), close)
    assert build_prompts(bars, "compact")[-1] == "wild overbought soaring moves -- ++ -- ++ -- ++ -- +++ +++ +++"


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_compact_prompts_consist_of_the_agreed_words_in_the_agreed_order(seed: int) -> None:
    drawn = [random_compact_prompt(random.Random(seed + i)) for i in range(20)]
    for prompt in build_prompts(market(seed), "compact") + drawn:
        volatility, rsi, trend, label, *moves = prompt.split(" ")
        assert volatility in VOLATILITY
        assert rsi in RSI
        assert trend in TREND
        assert label == "moves"
        assert len(moves) == SHOWN
        assert set(moves) <= set(MOVES)


def test_every_compact_word_belongs_to_one_place_and_is_letters_or_punctuation() -> None:
    assert len(set(COMPACT_WORDS)) == len(COMPACT_WORDS)
    assert all(re.fullmatch(r"[A-Za-z]+|[-=+]+", word) for word in COMPACT_WORDS)


@pytest.mark.parametrize(
    ("words", "rationale"),
    [
        ("calm high flat moves = = = = = = = ++ ++ +", "rising strong quiet"),
        ("calm high flat moves --- = = = = = = ++ + +", "rising weak quiet"),
        ("wild low flat moves +++ = = = = = = --- -- =", "falling strong stormy"),
        ("wild low soaring moves = = = = = = = + - =", "mixed weak trend"),
        ("normal low plunging moves = = = = = = = = = -", "falling weak trend"),
    ],
)
def test_the_rationale_is_true_of_the_prompt(words: str, rationale: str) -> None:
    assert compact_rationale(words) == rationale


@given(SEEDS, st.sampled_from(["BUY", "SELL"]))
def test_a_compact_answer_is_one_that_counts_and_has_only_known_words(seed: int, decision: str) -> None:
    prompt = random_compact_prompt(random.Random(seed))
    answer = compact_answer(prompt, decision)
    assert parse_answer(answer, truncated=False) == (decision, "ok")
    words = re.sub(r"</?(think|answer)>", " ", answer).split()
    assert set(words) <= set(COMPACT_WORDS)
    assert [word in allowed for word, allowed in zip(words, RATIONALE, strict=False)] == [True] * 3


def test_drawn_prompts_use_every_word_about_evenly() -> None:
    words = [random_compact_prompt(random.Random(seed)).split(" ") for seed in range(3000)]
    for place, allowed in enumerate([VOLATILITY, RSI, TREND]):
        shares = [sum(w[place] == word for w in words) / 3000 for word in allowed]
        assert shares == pytest.approx([1 / len(allowed)] * len(allowed), abs=0.04)


def test_the_tails_behind_the_look_back_have_the_weight_that_is_said() -> None:
    age = np.arange(4000)

    def exponential(span: int) -> np.ndarray:
        return 2 / (span + 1) * (1 - 2 / (span + 1)) ** age

    # Bars older than the look-back, in what a report shows: MACD, its signal line, Wilder's RSI.
    macd = exponential(12) - exponential(26)
    signal = np.convolve(macd, exponential(9))[: age.size]
    behind = age > LOOK_BACK["report"]
    shares = [np.abs(weights[behind]).sum() / np.abs(weights).sum() for weights in (macd, signal)]
    shares.append((13 / 14) ** LOOK_BACK["report"])
    assert shares == pytest.approx([0.012, 0.020, 0.009], abs=5e-4)
    assert TAIL["report"] == round(max(shares), 3)
    # The oldest move of a compact prompt is in units of the volatility of the bar before; a return has two bars.
    squares = 0.5 ** (age / VOLATILITY_HALF_LIFE)
    oldest = squares[age >= LOOK_BACK["compact"] - SHOWN].sum() / squares.sum()
    assert TAIL["compact"] == round(oldest, 3)


@pytest.mark.parametrize("style", STYLES)
def test_a_prompt_tells_its_style(style: str) -> None:
    assert {style_of(prompt) for prompt in build_prompts(market(3), style)} == {style}


@ALL
def test_a_prompt_tells_whether_it_hides_prices(style: str, mask: bool) -> None:
    assert {hides_prices(prompt) for prompt in build_prompts(market(3), style, mask)} == {mask}
    assert not hides_prices("What will the price of 97,000 dollars do?")


def test_what_is_not_a_compact_prompt_has_no_rationale() -> None:
    with pytest.raises(ValueError, match="not a compact prompt"):
        compact_rationale("calm high flat moves + +")
    with pytest.raises(ValueError, match="prompt style 'long'"):
        build_prompts(market(1), "long")
