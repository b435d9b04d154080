"""parse_answer: what counts as an answer, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.answers import parse_answer

VALID = [
    ("<think>up and up</think><answer>Buy</answer>", "BUY"),
    ("<think>\nit fell\n</think>\n\n<answer>Sell</answer>\n", "SELL"),
    ("it fell, says the template's open block</think><answer>sell</answer>", "SELL"),
    ("<answer>Buy</answer>", "BUY"),
    ("  <answer> BUY\n</answer>  ", "BUY"),
    ("<think></think>So I decide: <answer>Buy</answer>", "BUY"),
    ("<think>first <answer>Sell</answer>, but no</think><answer>Buy</answer>", "BUY"),
]
INVALID = [
    "",
    "Buy",
    "<think>no end <answer>Buy</answer>",
    "<think>a</think>",
    "<think>a</think><answer>Hold</answer>",
    "<think>a</think><answer></answer>",
    "<think>a</think><answer>Buy or Sell</answer>",
    "<think>a</think><answer>Buy",
    "<think>a</think><answer>Buy</answer> and good luck",
    "<think>a</think><answer>Buy</answer><answer>Buy</answer>",
    "<think>a</think><answer>Sell</answer><answer>Buy</answer>",
    "<think>a</think>not <answer>, but <answer>Buy</answer>",
    "<think>a</think></answer><answer>Buy</answer>",
    "<think>a</think><think>b</think><answer>Buy</answer>",
    "<think>a<think>b</think><answer>Buy</answer>",
    "a</think>b</think><answer>Buy</answer>",
    "<answer>Buy</answer><think>a</think>",
    "<think>a</think><answer>Buy</answer><|im_end|>",
]


@pytest.mark.parametrize(("text", "decision"), VALID)
def test_a_complete_answer_is_read_whether_or_not_the_limit_came(text: str, decision: str) -> None:
    assert parse_answer(text, truncated=False) == (decision, "ok")
    assert parse_answer(text, truncated=True) == (decision, "ok")


@pytest.mark.parametrize("text", INVALID)
def test_anything_else_is_no_answer(text: str) -> None:
    assert parse_answer(text, truncated=False) == ("HOLD", "unparsable")
    assert parse_answer(text, truncated=True) == ("HOLD", "truncated")


PIECES = st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "Buy", "Sell", " ", "\n", "x"])


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(), st.booleans())
def test_no_text_breaks_it_and_the_status_says_if_there_is_a_decision(text: str, truncated: bool) -> None:
    decision, status = parse_answer(text, truncated)
    assert (decision in ("BUY", "SELL")) == (status == "ok")
    assert (decision == "HOLD") == (status in ("truncated", "unparsable"))
    assert status != ("unparsable" if truncated else "truncated")


@given(st.text(alphabet=st.characters(exclude_characters="<>")), st.sampled_from(["Buy", "Sell"]))
def test_what_was_thought_does_not_matter(thought: str, word: str) -> None:
    text = f"<think>{thought}</think><answer>{word}</answer>"
    assert parse_answer(text, truncated=False) == (word.upper(), "ok")
