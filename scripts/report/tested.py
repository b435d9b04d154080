"""What the tests of evidence.json let the slides say. Pure functions; the sentences themselves are the verdict's.

The words alpha, edge, skill and outperform stand in those sentences only where their tests passed. So the sources
that speaker notes name are the fields that a sentence follows from, not the sentence's own key, which may be one
of these words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from report.theme import clipped
from trading.evidence.wording import probability

Evidence = Mapping[str, Any]

PASSED_CHANCE = ("better_than_chance", "skill")
ONE_POSITION = ("no_position", "constant_position")
# Which word lets a sentence stand among what a run shows.
WORD_OF = {"skill": "skill", "outperform": "outperform", "market": "alpha", "costs": "edge"}

DIFFERENCES = "tests.bootstrap.differences"
TRIALS = "tests.sharpe.settings.trials.used"
_NULL = "tests.exposure_matched_null"
_MARKET = "tests.regression"
# What of the exposure-matched null is shown as the p-value of a verdict of this kind; of the others none is.
P_VALUES = dict.fromkeys(("chance", "chance_after_trials", *PASSED_CHANCE), "p_value")
P_VALUES["worse_than_chance"] = "p_value_worse"
SOURCES: dict[str, tuple[str, ...]] = {
    "skill": ("tests.sharpe.deflated", "thresholds.deflated_sharpe.value"),
    "costs": ("tests.sensitivity.break_even_bps", "thresholds.break_even_bps.value"),
    "trials": (TRIALS,),
}


def sources(evidence: Evidence, key: str) -> tuple[str, ...]:
    """The fields that one of the verdict's sentences follows from, in the order in which it shows their numbers."""
    trials = evidence["tests"]["sharpe"]["settings"]["trials"]["used"]
    if key == "chance":
        return ("strategy.label", *chance_sources(evidence["verdict"]["kind"], trials), "verdict.kind")
    if key == "outperform":
        text = sentence(evidence, key)
        rows = evidence["tests"]["bootstrap"]["differences"]
        places = {rival: text.find(f"{row['label']} (p") for rival, row in rows.items()}
        named = sorted((rival for rival in rows if places[rival] >= 0), key=places.__getitem__)
        return tuple(f"{DIFFERENCES}.{rival}.{name}" for rival in named for name in ("label", "p_value_corrected"))
    if key == "market":
        after = (TRIALS,) if trials > 1 else ()
        return (*(f"1e4*{_MARKET}.{n}" for n in ("statistic", "interval")), f"{_MARKET}.p_value_adjusted", *after)
    if key == "skill" and evidence["tests"]["sharpe"]["deflated"] is None:
        return ("tests.sharpe.verdict",)
    return SOURCES[key]


def chance_sources(kind: str, trials: int) -> tuple[str, ...]:
    """Those of what is said of chance."""
    if kind not in P_VALUES:
        return ()
    names = ("percentile", "settings.permutations", "percentile_shifts", "settings.shifts", P_VALUES[kind])
    drawn = tuple(f"{_NULL}.{name}" for name in names)
    after = ("verdict.p_value_adjusted", TRIALS)
    if kind == "chance_after_trials":
        return (*drawn, TRIALS, *after)
    return (*drawn, *(after if trials > 1 else ()), "thresholds.level.value") if kind in PASSED_CHANCE else drawn


def sentence(evidence: Evidence, key: str) -> str:
    """One of the verdict's sentences as print sets it; empty where it has nothing to say."""
    text = evidence["verdict"]["sentences"].get(key) or ""
    return re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", text)


def passed_chance(evidence: Evidence) -> bool:
    """Whether the timing differs from exposure-matched chance, without which no claim is made."""
    return evidence["verdict"]["kind"] in PASSED_CHANCE


def is_shown(evidence: Evidence, key: str) -> bool:
    """Whether a sentence stands among what the run shows; else it says what the run does not."""
    if key == "chance":
        return passed_chance(evidence)
    return evidence["verdict"]["words"][WORD_OF[key]]


def phrase(evidence: Evidence) -> str:
    """The verdict in a few words with its p-value, for a cell of a table."""
    verdict, null = evidence["verdict"], evidence["tests"]["exposure_matched_null"]
    trials = evidence["tests"]["sharpe"]["settings"]["trials"]["used"]
    p_value = probability(null["p_value"])
    after = p_value if trials == 1 else f"{probability(verdict['p_value_adjusted'])} after {trials:,} trials"
    fixed = {"no_position": "Never held a position", "constant_position": "A constant position"}
    fixed |= {"wiped_out": "Lost everything"}
    tested = {
        "chance": f"Cannot be told from chance ({p_value})",
        "chance_after_trials": f"Cannot be told from chance ({after})",
        "worse_than_chance": f"Worse than chance ({probability(null['p_value_worse'])})",
        "better_than_chance": f"Better than chance ({after})",
        "skill": f"Better than chance ({after})",
    }
    return (fixed | tested)[verdict["kind"]]


def phrase_sources(evidence: Evidence) -> tuple[str, ...]:
    """The fields that it shows, in its order."""
    kind, trials = evidence["verdict"]["kind"], evidence["tests"]["sharpe"]["settings"]["trials"]["used"]
    if kind not in P_VALUES:
        return ("verdict.kind",)
    after = trials > 1 and kind not in ("chance", "worse_than_chance")
    return ("verdict.p_value_adjusted", TRIALS) if after else (f"{_NULL}.{P_VALUES[kind]}",)


def next_step(evidence: Evidence, market: Mapping[str, Any]) -> str:
    """What a result of this kind calls for."""
    if not passed_chance(evidence):
        return "Nothing here supports paper trading: that would need a result that differs from chance, on new hours."
    place = "a real market" if market["synthetic"] else "hours that came after these"
    return f"Before paper trading: the same tests on {place}, which no choice was made on, at real trading costs."


def corrected(evidence: Evidence) -> dict[str, float]:
    """P-value of the model's lead over each other strategy, corrected as the verdict does it."""
    return {key: row["p_value_corrected"] for key, row in evidence["tests"]["bootstrap"]["differences"].items()}


def rival_label(label: str) -> str:
    """A strategy's name as the first words of a row."""
    return clipped(label[:1].upper() + label[1:], 60, tail=7)
