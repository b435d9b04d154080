"""The verdict: which words may appear, over every combination of test results, and what the sentences say."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product

import pytest

from trading.evidence.verdict import KINDS, WORDS, Findings, Rival, Thresholds, corrected_p_values, verdict

RIVALS = (
    Rival("always_buy", "Always Buy", "constant", -0.4756, 0.001),
    Rival("always_sell", "Always Sell", "constant", 0.4963, 0.6),
    Rival("momentum", "momentum over 24 hours", "rule", -0.1, 0.3),
    Rival("base", "Tiny (base)", "base", -0.2, 0.004),
)
SKILLED = Findings(
    label="Tiny",
    hours=1706,
    leverage=2.0,
    total_return=3.0,
    constant=None,
    null_p=0.0006,
    null_p_worse=1.0,
    percentile=1.0,
    draws=10_000,
    percentile_shifts=1.0,
    shifts=1_585,
    trials=1,
    alpha=0.0012,
    alpha_interval=(0.0006, 0.0018),
    alpha_p=0.0001,
    deflated_sharpe=0.999,
    break_even_bps=7.5,
    ahead_at_cost=True,
    rivals=RIVALS,
    snooping_p=None,
    truncated=2,
    unparsable=1,
    invalid_as="HOLD",
)
CHANCE = replace(
    SKILLED, total_return=0.0503, null_p=0.37, null_p_worse=0.6, percentile=0.634, percentile_shifts=0.63,
    alpha_p=0.3, alpha=0.0001,
    alpha_interval=(-0.0004, 0.0006), deflated_sharpe=0.6, break_even_bps=0.07,
)  # fmt: skip
STEMS = {"alpha": r"\balphas?\b", "edge": r"\bedges?\b", "skill": r"\bskill", "outperform": r"outperform"}
EXTRA = r"genuine|beats? the market|superior|expert|proven|proves"


def said(text: str) -> set[str]:
    return {word for word, stem in STEMS.items() if re.search(stem, text, re.IGNORECASE)}


def test_a_skilled_trader_may_be_called_one() -> None:
    found = verdict(SKILLED, Thresholds())
    assert found.kind == "skill"
    assert found.words == dict.fromkeys(WORDS, True)
    assert found.outperformed == ("always_buy", "base")
    assert said(" ".join(found.sentences.values())) == set(WORDS)


def test_a_result_like_the_published_one_is_called_chance_with_its_p_value() -> None:
    found = verdict(CHANCE, Thresholds())
    assert found.kind == "chance"
    assert not any(found.words.values())
    assert found.sentences["chance"] == (
        "Tiny cannot be told from chance: it beat 63.4% of 10,000 permutations and 63.0% of 1,585 shifts of "
        "its own positions (larger p = 0.37)."
    )
    assert found.sentences["constants"] == "A constant position ended with more: Always Sell (+49.63%), against +5.03%."
    assert found.sentences["invalid"] == (
        "3 of 1,706 answers gave no decision (2 truncated, 1 unparsable) and trade as HOLD."
    )
    finished = verdict(replace(CHANCE, truncated=0, unparsable=0, finished=12), Thresholds())
    assert finished.sentences["invalid"] == (
        "0 of 1,706 answers gave no decision; 12 more were cut and finished in a second pass."
    )


def test_every_combination_of_results_says_only_what_its_tests_allow() -> None:
    kinds, combinations = set(), 0
    for constant, total, null_p, worse, trials, deflated, alpha_p, cost, snooping in product(
        [None, "long", "short", "flat"], [3.0, -0.3, -1.0], [0.0006, 0.02, 0.4], [0.01, 0.7], [1, 20],
        [0.99, 0.5, None], [0.0001, 0.5, None], [None, 0.0, 3.0, 9.0], [None, 0.01, 0.5],
    ):  # fmt: skip
        findings = replace(
            SKILLED, constant=constant, total_return=total, null_p=null_p, null_p_worse=worse, trials=trials,
            deflated_sharpe=deflated, alpha_p=alpha_p, alpha=None if alpha_p is None else 0.0012,
            alpha_interval=None if alpha_p is None else (0.0006, 0.0018), break_even_bps=cost, snooping_p=snooping,
        )  # fmt: skip
        found = verdict(findings, Thresholds())
        text = " ".join(found.sentences.values())
        combinations += 1
        kinds.add(found.kind)
        assert said(text) == {word for word, allowed in found.words.items() if allowed}
        assert not re.search(EXTRA, text, re.IGNORECASE)
        assert all(sentence.endswith(".") for sentence in found.sentences.values())
        passes = constant is None and total > -1 and found.null_p_adjusted <= 0.05
        assert passes or not any(found.words.values())
        assert found.words["skill"] == (passes and deflated == 0.99)
        assert found.words["edge"] == (found.words["skill"] and cost in (None, 9.0))
        assert found.words["alpha"] == (found.words["skill"] and alpha_p == 0.0001)
        assert (found.kind == "skill") == found.words["skill"]
    assert combinations > 10_000
    assert kinds == set(KINDS)


def test_what_a_drift_of_the_market_gives_anyone_is_no_edge() -> None:
    found = verdict(replace(SKILLED, ahead_at_cost=False), Thresholds())
    assert (found.words["edge"], found.words["skill"]) == (False, True)
    assert "edge" not in found.sentences["costs"]


def test_no_word_is_said_without_the_deflated_sharpe_ratio() -> None:
    found = verdict(replace(SKILLED, deflated_sharpe=0.9), Thresholds())
    assert found.kind == "better_than_chance"
    assert not any(found.words.values())


def test_a_threshold_of_ones_own_does_not_carry_the_reason_of_another() -> None:
    own = Thresholds(level=0.9).record()
    assert own["level"]["reason"].startswith("Chosen in the configuration; 0.05 is what")
    assert own["deflated_sharpe"] == Thresholds().record()["deflated_sharpe"]


def test_trials_can_take_a_claim_back() -> None:
    lucky = replace(SKILLED, null_p=0.01)
    assert verdict(lucky, Thresholds()).kind == "skill"
    found = verdict(replace(lucky, trials=15), Thresholds())
    assert found.kind == "chance_after_trials"
    assert found.null_p_adjusted == pytest.approx(1 - 0.99**15)
    assert "(larger p = 0.010), but the best of 15 trials would (p = 0.14 after 15 trials)" in found.sentences["chance"]


def test_leads_are_corrected_for_the_number_of_rivals() -> None:
    assert corrected_p_values(SKILLED) == pytest.approx(
        {"always_buy": 0.004, "base": 0.012, "momentum": 0.6, "always_sell": 0.6}
    )


def test_a_lead_needs_to_be_one() -> None:
    behind = replace(SKILLED, rivals=(Rival("always_sell", "Always Sell", "constant", 4.0, 0.0001),))
    assert verdict(behind, Thresholds()).outperformed == ()


def test_of_several_variants_a_constant_is_beaten_only_if_all_were_accounted_for() -> None:
    assert verdict(replace(SKILLED, snooping_p=0.01), Thresholds()).outperformed == ("always_buy", "base")
    assert verdict(replace(SKILLED, snooping_p=0.3), Thresholds()).outperformed == ("base",)


def test_a_sharpe_ratio_of_too_few_hours_bears_no_word_and_the_verdict_says_so() -> None:
    found = verdict(replace(SKILLED, deflated_sharpe=None), Thresholds())
    assert (found.kind, any(found.words.values())) == ("better_than_chance", False)
    assert found.sentences["skill"].startswith("It earned or lost in too few hours for its Sharpe ratio to be tested")
    assert "skill" not in verdict(replace(CHANCE, deflated_sharpe=None), Thresholds()).sentences


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        ({"constant": "short"}, "constant_position", "was short in every hour"),
        ({"constant": "flat", "total_return": 0.0}, "no_position", "never held a position"),
        ({"total_return": -1.0}, "wiped_out", "lost all of its capital"),
        ({"null_p": 0.99, "null_p_worse": 0.01, "percentile": 0.01}, "worse_than_chance", "did worse than chance"),
        ({"deflated_sharpe": 0.9}, "better_than_chance", "its timing differs from chance"),
    ],
)
def test_special_results_are_named(change: dict, kind: str, words: str) -> None:
    found = verdict(replace(SKILLED, **change), Thresholds())
    assert found.kind == kind
    assert words in found.sentences["chance"]


def test_no_share_is_rounded_up_to_all() -> None:
    almost = verdict(replace(SKILLED, percentile=0.99995), Thresholds())
    assert "beat more than 99.9% of" in almost.sentences["chance"]


def test_each_threshold_carries_its_reason() -> None:
    record = Thresholds(level=0.01).record()
    assert record["level"]["value"] == 0.01
    assert all(len(entry["reason"]) > 20 for entry in record.values())


@pytest.mark.parametrize("wrong", [{"level": 0.0}, {"level": 1.0}, {"deflated_sharpe": 1.5}, {"break_even_bps": -1.0}])
def test_thresholds_that_make_no_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Thresholds(**wrong)
