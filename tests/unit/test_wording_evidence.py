"""Words that claim something stand only where the tests let them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from report import tested
from trading.evidence import verdict

PROBABILITY = st.floats(1e-5, 1)
RIVALS = (("always_buy", "constant"), ("always_sell", "constant"), ("momentum", "rule"), ("base", "base"))


@st.composite
def findings(draw: st.DrawFn) -> verdict.Findings:
    """What a run may find, contradictions included."""
    alpha = draw(st.none() | st.floats(-0.01, 0.01))
    return verdict.Findings(
        label="M (GRPO)",
        hours=1706,
        leverage=2.0,
        total_return=draw(st.floats(-1, 20)),
        constant=draw(st.sampled_from([None, None, None, "long", "short", "flat"])),
        null_p=draw(PROBABILITY),
        null_p_worse=draw(PROBABILITY),
        percentile=draw(st.floats(0, 1)),
        draws=10_000,
        percentile_shifts=draw(st.floats(0, 1)),
        shifts=1_585,
        trials=draw(st.integers(1, 40)),
        alpha=alpha,
        alpha_interval=None if alpha is None else (alpha - 0.01, alpha + 0.01),
        alpha_p=None if alpha is None else draw(PROBABILITY),
        deflated_sharpe=draw(st.none() | st.floats(0, 1)),
        break_even_bps=draw(st.none() | st.floats(0, 500)),
        ahead_at_cost=draw(st.booleans()),
        rivals=tuple(
            verdict.Rival(key, key.replace("_", " "), kind, draw(st.floats(-1, 20)), draw(PROBABILITY))
            for key, kind in RIVALS
        ),
        snooping_p=draw(st.none() | PROBABILITY),
        truncated=0,
        unparsable=0,
        invalid_as="HOLD",
    )


def evidence_of(found: verdict.Findings) -> dict[str, Any]:
    """The part of evidence.json that sentences are made of."""
    corrected = verdict.corrected_p_values(found)
    differences = {
        rival.key: {"label": rival.label, "p_value": rival.p_value, "p_value_corrected": corrected[rival.key]}
        for rival in found.rivals
    }
    return {
        "verdict": verdict.verdict(found, verdict.Thresholds()).record(),
        "tests": {
            "exposure_matched_null": {"p_value": found.null_p, "p_value_worse": found.null_p_worse},
            "sharpe": {"settings": {"trials": {"used": found.trials}}},
            "bootstrap": {"differences": differences},
        },
    }


@settings(max_examples=400)
@given(found=findings(), synthetic=st.booleans())
def test_the_four_words_are_said_only_where_the_verdict_allows_them(found: verdict.Findings, synthetic: bool) -> None:
    evidence = evidence_of(found)
    said = [tested.sentence(evidence, key) for key in evidence["verdict"]["sentences"]]
    said += [tested.phrase(evidence), tested.next_step(evidence, {"synthetic": synthetic})]
    text = " ".join([*said, *(field for fields in tested.SOURCES.values() for field in fields)])
    for word, allowed in evidence["verdict"]["words"].items():
        assert allowed or not re.search(rf"\b{word}", text, re.IGNORECASE)


@given(found=findings())
def test_nothing_is_shown_without_passing_the_comparison_with_chance(found: verdict.Findings) -> None:
    evidence = evidence_of(found)
    if any(tested.is_shown(evidence, key) for key in ("chance", *tested.WORD_OF)):
        assert tested.passed_chance(evidence)
        assert tested.phrase(evidence).startswith("Better than chance")
    else:
        assert "Nothing here supports paper trading" in tested.next_step(evidence, {"synthetic": True})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"null_p": 0.35, "percentile": 0.65}, "Cannot be told from chance (p = 0.35)"),
        ({"null_p": 0.02, "trials": 15}, "Cannot be told from chance (p = 0.26 after 15 trials)"),
        ({"null_p": 0.99, "null_p_worse": 0.01}, "Worse than chance (p = 0.010)"),
        ({"null_p": 0.01}, "Better than chance (p = 0.010)"),
        ({"null_p": 0.003, "trials": 15}, "Better than chance (p = 0.044 after 15 trials)"),
        ({"constant": "short"}, "A constant position"),
        ({"constant": "flat"}, "Never held a position"),
        ({"total_return": -1.0}, "Lost everything"),
    ],
)
def test_the_verdict_in_a_few_words_has_its_p_value(changes: dict[str, Any], expected: str) -> None:
    common = {"label": "M", "hours": 1706, "leverage": 2.0, "total_return": 0.05, "constant": None, "null_p": 0.4}
    common |= {"null_p_worse": 0.6, "percentile": 0.6, "draws": 10_000, "trials": 1, "deflated_sharpe": 0.5}
    common |= {"percentile_shifts": 0.6, "shifts": 1_585, "ahead_at_cost": True}
    common |= dict.fromkeys(("alpha", "alpha_interval", "alpha_p", "break_even_bps", "snooping_p"))
    common |= {"rivals": (), "truncated": 0, "unparsable": 0, "invalid_as": "HOLD"}
    assert tested.phrase(evidence_of(verdict.Findings(**common | changes))) == expected


def test_minus_signs_are_set_as_print_sets_them_and_hyphens_are_not() -> None:
    text = "X (-100.00%) and Tiny-2 (+1.00%): -0.86 to -1 a block-bootstrap, p = 1e-5"
    sentences = {"verdict": {"sentences": {"market": text}}}
    minus = "\N{MINUS SIGN}"
    expected = f"X ({minus}100.00%) and Tiny-2 (+1.00%): {minus}0.86 to {minus}1 a block-bootstrap, p = 1e-5"
    assert tested.sentence(sentences, "market") == expected
    assert tested.sentence(sentences, "skill") == ""
