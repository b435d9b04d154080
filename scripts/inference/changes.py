"""The leakage probe's arithmetic: prompts with dates, name and price level changed, and what the answers say.

A model that was trained on the test period could know it by a date, a name or a price level. The probe changes
these and nothing else, asks again, and counts.
"""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from trading.bars import Bars
from trading.prompts import LOOK_BACK, build_prompts

# What each change is called in the text.
CHANGES = {"dates": "the dates", "name": "the market's name", "price": "the price level", "all": "all three"}
STAND_IN = "Asset Z"
CONFIDENCE = 0.95
DIGITS = 6


@dataclasses.dataclass(frozen=True)
class Changes:
    """What is changed, and by how much.

    Attributes
    ----------
    weeks
        Weeks that are added to all times: whole ones, so that hours and weekdays stay.
    price_factor
        All prices are multiplied by it. Above 1 a price shown with two decimals loses no digit.
    names
        Names of the market, replaced by `STAND_IN` wherever a prompt holds one as a word, in any case.
    """

    weeks: int
    price_factor: float
    names: tuple[str, ...]

    def bars(self, bars: Bars, change: str) -> Bars:
        """The market with its dates or price level changed."""
        time, close = bars.time, bars.close
        if change in ("dates", "all"):
            time = time + np.timedelta64(7 * self.weeks, "D")
        if change in ("price", "all"):
            close = close * self.price_factor
        return Bars(time, close)

    def text(self, prompt: str, change: str) -> str:
        """A prompt with the market's names replaced."""
        if change not in ("name", "all"):
            return prompt
        longest_first = sorted((name for name in self.names if name), key=len, reverse=True)
        if not longest_first:
            return prompt
        pattern = "|".join(re.escape(name) for name in longest_first)
        return re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", STAND_IN, prompt, flags=re.IGNORECASE)


def changed_prompts(
    bars: Bars, places: Sequence[int], style: str, mask: bool, changes: Changes
) -> dict[str, list[str]]:
    """Prompts of some bars as they are (under "none"), and with each change.

    Parameters
    ----------
    bars
        The market.
    places
        Numbers of the decision bars, each at least `LOOK_BACK[style]`.
    style, mask
        As in `trading.prompts.build_prompts`.
    changes
        What is changed.

    Returns
    -------
    dict
        "none" and the keys of `CHANGES`, each a prompt a place.
    """
    prompts = {}
    for change in ("none", *CHANGES):
        all_of_them = build_prompts(changes.bars(bars, change), style, mask)
        prompts[change] = [changes.text(all_of_them[place - LOOK_BACK[style]], change) for place in places]
    return prompts


def choose(samples: int, hours: int, seed: int) -> list[int]:
    """Numbers of `hours` different samples, or of all if there are fewer, in order."""
    return sorted(random.Random(seed).sample(range(samples), min(hours, samples)))


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """Wilson's score interval of a share, at `CONFIDENCE` (Wilson, JASA 22, 1927, 209-212)."""
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    share = hits / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # Exactly 0 and 1 at the ends, where rounding leaves a trace.
    low = 0.0 if hits == 0 else centre - half
    high = 1.0 if hits == trials else centre + half
    return round(low, DIGITS), round(high, DIGITS)


def count(original: Sequence[str], answers: Mapping[int, str]) -> dict[str, Any]:
    """How many of the decisions that were asked again changed.

    Parameters
    ----------
    original
        Decisions of all probed hours.
    answers
        New decision by place in `original`, of those whose prompt differs.

    Returns
    -------
    dict
        Prompts that differ, decisions that changed, their share of the prompts that differ and its interval;
        null where no prompt differs.
    """
    changed = sum(original[place] != word for place, word in answers.items())
    asked = len(answers)
    return {
        "prompts_changed": asked,
        "decisions_changed": changed,
        "share": round(changed / asked, DIGITS) if asked else None,
        "interval": list(wilson(changed, asked)) if asked else None,
    }


def reading(hours: int, control: int, found: Mapping[str, Mapping[str, Any]], greedy: bool) -> str:
    """What the counts mean, and what they do not.

    Parameters
    ----------
    hours
        Hours that were probed.
    control
        Decisions that changed when the same prompts were asked again.
    found
        `count` of each change.
    greedy
        Whether answers are the likeliest ones.
    """
    sentences = []
    if control:
        why = "" if greedy else " although they are drawn with the same random numbers"
        sentences.append(
            f"Asked again with nothing changed, {control} of {hours} decisions changed{why}: compare the counts "
            "below with that, not with 0."
        )
    same = [CHANGES[change] for change in found if not found[change]["prompts_changed"]]
    if len(same) == len(found):
        sentences.append(
            f"None of the {hours} prompts differs when dates, name and price level are changed: they hold none of "
            "these, so there was nothing by which to recognise the period, and no decision can change."
        )
    elif same:
        sentences.append(f"No prompt differs with {_and(same)} changed: the prompts do not hold that.")
    for change, counts in found.items():
        if counts["prompts_changed"]:
            low, high = counts["interval"]
            sentences.append(
                f"With {CHANGES[change]} changed, {counts['prompts_changed']} of {hours} prompts differ, and "
                f"{counts['decisions_changed']} of these decisions changed ({counts['share']:.1%}; "
                f"{CONFIDENCE:.0%} interval {low:.1%} to {high:.1%})."
            )
    if len(same) < len(found):
        sentences.append(
            "A decision that changes shows that the model reads what was changed, not that it knows the period; "
            "numbers of another size alone can change it."
        )
    sentences.append("A period that is recognised by the course of its returns is not found by this probe.")
    return " ".join(sentences)


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
