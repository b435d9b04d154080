"""The study's reward: a little for a valid answer, the rest is what the trade earned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trading.answers import BUY, HOLD, SELL, parse_answer

DIRECTION = {BUY: 1, SELL: -1}


@dataclass(frozen=True)
class Scales:
    """The three numbers of :func:`reward`."""

    scale: float
    valid: float
    invalid: float


@dataclass(frozen=True)
class Judged:
    """What an answer earned, and what it was."""

    reward: float
    buy: bool
    invalid: bool


def judge(text: str, truncated: bool, hour: Mapping[str, Any], scales: Scales) -> Judged:
    """Read an answer and reward it; one function for both training engines.

    Parameters
    ----------
    text, truncated
        As `trading.answers.parse_answer` takes them.
    hour
        Metadata of a sample: current_price and next_price.
    """
    decision, _ = parse_answer(text, truncated)
    prices = hour["current_price"], hour["next_price"]
    value = reward(decision, *prices, scales.scale, scales.valid, scales.invalid)
    return Judged(value, decision == BUY, decision == HOLD)


def reward(
    decision: str,
    current_price: float,
    next_price: float,
    scale: float = 1000.0,
    valid: float = 0.01,
    invalid: float = -0.5,
) -> float:
    """Reward of one answer.

    ``valid + scale * direction * (next_price / current_price - 1)`` with direction +1 for BUY and -1 for
    SELL; `invalid` for HOLD, which is what an answer that is missing or unreadable counts as. The default
    numbers are those of the published study. Its -0.5 is milder than a typical losing trade (-6 for an hour
    of 0.6%), so a weak model can learn to say nothing: a penalty below the worst trade prevents that.

    Parameters
    ----------
    decision
        BUY, SELL or HOLD.
    current_price, next_price
        Close of the decision bar and of the bar after the horizon, in the same currency.
    scale
        Reward per unit of simple return (1000: 1 point per 0.1%).
    valid, invalid
        Added for a valid answer; given instead for an invalid one.

    Raises
    ------
    ValueError
        If `decision` is none of the three.
    """
    if decision == HOLD:
        return float(invalid)
    if decision not in DIRECTION:
        raise ValueError(f"decision {decision!r} is none of BUY, SELL, HOLD")
    return valid + scale * DIRECTION[decision] * (next_price / current_price - 1.0)
