"""The second pass: what is closed and how, what is left alone, and how it is read."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_model import write_tiny_model

from archiving.verification.books import answered_twice
from inference import finishing
from inference.finishing import ANSWER_TOKENS, CLOSING, Reply, closing, read_reply, record, room, second_question
from inference.journal import Answer
from inference.questions import Question
from inference.sampling import Sampling
from trading.answers import FINISHED, OK, parse_answer

QUESTION = Question(3, "test-000003", "2025-01-01T03:00:00Z", [9, 8, 7], "0" * 64)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(write_tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


def answer(text: str, tokenizer: Any, reason: str = "length") -> Answer:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return Answer([*ids, tokenizer.eos_token_id] if reason == "stop" else ids, reason, -1.0)


def test_the_example_in_the_docstring_holds() -> None:
    assert doctest.testmod(finishing).failed == 0


@pytest.mark.parametrize(
    ("text", "kept", "added"),
    [
        ("<think>Prices rose, so", "<think>Prices rose, so", CLOSING + "<answer>"),
        (
            "Prices rose, so",
            "Prices rose, so",
            CLOSING + "<answer>",
        ),  # the template opened the thought, or there is none
        ("", "", CLOSING + "<answer>"),
        ("thought</think>\n\n", "thought</think>\n\n", "<answer>"),
        ("thought</think> It is", "thought</think> It is", "\n\n<answer>"),
        ("thought</think>\n<answer>Bu", "thought</think>\n", "<answer>"),
        ("thought</think>\n<ANSWER>Sell</ans", "thought</think>\n", "<answer>"),
        ("thought</think>\n<ans", "thought</think>\n", "<answer>"),
        ("a <answer>Buy</answer> in a thought", "a <answer>Buy</answer> in a thought", CLOSING + "<answer>"),
    ],
)
def test_a_cut_answer_is_closed_where_it_stopped(text: str, kept: str, added: str) -> None:
    assert closing(text) == (len(kept), added)


@pytest.mark.parametrize("text", ["one</think>two</think>", "one</think><think>two", "<think><think>"])
def test_what_has_more_than_one_thought_cannot_be_finished(text: str) -> None:
    assert closing(text) is None


@given(st.lists(st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "Buy", "sell", "\n", "up ", "<an"])))
def test_whatever_is_closed_can_be_read(parts: list[str]) -> None:
    text = "".join(parts)
    how = closing(text)
    if how is not None:
        for word in ("Buy", "Sell"):
            whole = f"{text[: how[0]]}{how[1]}{word}</answer>"
            assert parse_answer(whole, truncated=False) == (word.upper(), OK)
            row = {"text": text, "finish_reason": "length", "finish": {"kept": how[0], "text": whole[how[0] :]}}
            expected = parse_answer(text, truncated=True)
            assert answered_twice(row) == (expected if expected[1] == OK else (word.upper(), FINISHED))


def test_only_a_cut_answer_without_a_decision_is_asked_again(tokenizer: Any) -> None:
    def asked(text: str, reason: str) -> bool:
        return second_question(QUESTION, answer(text, tokenizer, reason), text, tokenizer) is not None

    assert asked("<think>rising", "length")
    assert not asked("<think>rising", "stop")  # unparsable by its own doing
    assert not asked("</think><answer>Buy</answer>", "length")  # complete when the limit came
    assert not asked("a</think>b</think>", "length")


def test_the_second_prompt_goes_on_from_the_models_own_tokens(tokenizer: Any) -> None:
    # Tokens that no tokenizer would cut this text into: kept as they were.
    own = Answer([tokenizer.convert_tokens_to_ids(letter) for letter in "rising"], "length", -1.0)
    found = second_question(QUESTION, own, "rising", tokenizer)
    assert found is not None
    question, reply = found
    closed = tokenizer(CLOSING + "<answer>", add_special_tokens=False)["input_ids"]
    assert question.prompt_ids == [9, 8, 7, *own.output_ids, *closed]
    assert (question.id, question.number) == (QUESTION.id, QUESTION.number)
    assert (reply.first, reply.kept, reply.second) == (own, 6, None)
    assert len(question.prompt_ids) + ANSWER_TOKENS - 3 - len(own.output_ids) == room(tokenizer)


@pytest.mark.parametrize(("word", "decision"), [("Buy", "BUY"), ("Sell", "SELL")])
def test_a_finished_answer_has_a_decision_and_a_status_of_its_own(tokenizer: Any, word: str, decision: str) -> None:
    first = answer("<think>rising", tokenizer)
    second = answer(word, tokenizer, "stop")
    reply = Reply(first, 13, CLOSING + "<answer>", second)
    assert read_reply(reply, tokenizer) == ("<think>rising", decision, FINISHED)
    found = record(reply, tokenizer, seed=5)
    assert found is not None
    assert found["text"] == f"{CLOSING}<answer>{word}</answer>"
    assert (found["output_ids"], found["seed"], found["kept"]) == (second.output_ids, 5, 13)
    assert read_reply(Reply(first), tokenizer)[1:] == ("HOLD", "truncated")  # the control
    assert record(Reply(first), tokenizer, seed=5) is None


def test_a_second_pass_that_was_cut_too_leaves_the_answer_truncated(tokenizer: Any) -> None:
    reply = Reply(answer("<think>rising", tokenizer), 13, CLOSING + "<answer>", answer("Bu", tokenizer))
    assert read_reply(reply, tokenizer)[1:] == ("HOLD", "truncated")


def test_the_second_pass_draws_with_a_noise_of_its_own() -> None:
    sampling = Sampling(512, 0.7, top_p=0.9, seed=4)
    second = finishing.finishing(sampling)
    assert (second.temperature, second.top_p, second.max_new_tokens) == (0.7, 0.9, ANSWER_TOKENS)
    assert second.seed_of(3) != sampling.seed_of(3)
    assert second.meaning() != sampling.meaning() | {"max_new_tokens": ANSWER_TOKENS}
    assert finishing.finishing(Sampling(512, 0.0)).seed_of(3) is None


def test_the_verification_counts_a_second_pass_only_where_the_first_was_cut() -> None:
    finish = {"kept": 0, "text": "</think><answer>Sell</answer>"}
    row = {"text": "<think>", "finish_reason": "length", "finish": finish}
    assert answered_twice(row) == ("SELL", "finished")
    assert answered_twice(row | {"finish_reason": "stop"}) == ("HOLD", "unparsable")
    assert answered_twice(row | {"finish": {"kept": 0, "text": "<answer>Sell"}}) == ("HOLD", "truncated")
    assert answered_twice(row | {"text": "</think><answer>Buy</answer>"}) == ("BUY", "ok")
