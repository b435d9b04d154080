"""Reading a model's answer: BUY, SELL, or why there is none."""

from __future__ import annotations

import re

BUY, SELL, HOLD = "BUY", "SELL", "HOLD"
OK, FINISHED, TRUNCATED, UNPARSABLE = "ok", "finished", "truncated", "unparsable"
# finished: cut by the token limit, then closed and answered in a second pass.
STATUSES = (OK, FINISHED, TRUNCATED, UNPARSABLE)
DECIDED = (OK, FINISHED)

# The answer closes the text; what a model says between its thinking and its answer is its own affair.
_ANSWER = re.compile(r"<answer>\s*(buy|sell)\s*</answer>\s*\Z", re.IGNORECASE)


def parse_answer(text: str, truncated: bool) -> tuple[str, str]:
    """Read the decision out of a model's answer.

    Valid is at most one thinking block, then exactly one ``<answer>Buy</answer>`` or
    ``<answer>Sell</answer>`` (in any case, spaces inside allowed) with only white space behind it.
    The opening ``<think>`` may be missing, because the chat template of Qwen3-Thinking writes it. Answers
    inside the thinking do not count.

    Parameters
    ----------
    text
        The answer as decoded, without the end-of-turn token.
    truncated
        Whether the generation stopped at its token limit.

    Returns
    -------
    tuple of str
        Decision (BUY, SELL, or HOLD where there is none) and status (ok, truncated, unparsable). An answer
        that was complete when the limit came is ok.
    """
    said = _after_thinking(text)
    match = _ANSWER.search(said) if said is not None else None
    if match and _count(said, "<answer>") == _count(said, "</answer>") == 1:
        return match.group(1).upper(), OK
    return HOLD, TRUNCATED if truncated else UNPARSABLE


def _after_thinking(text: str) -> str | None:
    """What follows the thinking; None if the thinking is not closed, or not exactly one block."""
    thought, closed, said = text.partition("</think>")
    if not closed:
        return None if "<think>" in text else text
    opened_inside = "<think>" in thought.lstrip().removeprefix("<think>")
    if opened_inside or "<think>" in said or "</think>" in said:
        return None
    return said


def _count(text: str | None, tag: str) -> int:
    return (text or "").lower().count(tag)
