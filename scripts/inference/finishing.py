"""The second pass: an answer that the token limit cut is closed, and the model is asked for its answer alone.

The closing words are those by which Qwen3 stops a thought at its budget (Qwen3 Technical Report, 2025, section 4.3,
"Thinking Budget"). The tags of the answer are given, too, and only its word is drawn, from two. A grammar that held the
tags would not do: where a tokenizer has them as special tokens, llguidance matches no text with them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inference.journal import Answer
from inference.questions import Question
from inference.sampling import Sampling
from trading.answers import FINISHED, OK, TRUNCATED, parse_answer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

END = "</think>\n\n"
CLOSING = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now.\n"
    + END
)
ANSWER = "Buy|Sell"
# A token holds a character at least; one more ends the turn.
ANSWER_TOKENS = len("Sell") + 1
# Before the answer format, the beginning of an answer that was cut inside of it is left out.
_TAG, _END_TAG = "<answer>", "</answer>"


@dataclass(frozen=True)
class Reply:
    """What a model said to one question: its answer and, where that was cut and closed, the second pass.

    Attributes
    ----------
    first
        As the model gave it.
    kept, added
        How many characters of it stand before the closing words, and these; None and "" without a second pass.
    second
        Tokens of the second pass, None without one.
    """

    first: Answer
    kept: int | None = None
    added: str = ""
    second: Answer | None = None


def finishing(sampling: Sampling) -> Sampling:
    """How the second pass draws: as the first one, from two texts, with random numbers of its own."""
    return dataclasses.replace(sampling, max_new_tokens=ANSWER_TOKENS, regex=ANSWER)


def room(tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that the second pass takes behind the first one, at most."""
    return len(_ids(CLOSING + _TAG, tokenizer)) + ANSWER_TOKENS


def closing(text: str) -> tuple[int, str] | None:
    """How a cut answer is closed.

    Parameters
    ----------
    text
        What the model said until its tokens ran out.

    Returns
    -------
    tuple or None
        Characters of `text` that are kept, and what is added to them, so that a word and the closing tag can follow;
        None where no answer could be valid any more, as there is more than one thinking block.

    Examples
    --------
    >>> closing("<think>Prices rose")[0], closing("<think>Up.</think> So <answ")
    (18, (22, '\\n\\n<answer>'))
    """
    thought, closed, said = text.partition("</think>")
    kept, added = text, CLOSING + _TAG
    if closed:
        place = said.lower().find(_TAG)
        said = said[:place] if place >= 0 else _without_beginning(said)
        kept, added = thought + closed + said, _TAG if said.endswith("\n") else f"\n\n{_TAG}"
    decided = parse_answer(f"{kept}{added}Buy{_END_TAG}", truncated=False)[1] == OK
    return (len(kept), added) if decided else None


def second_question(
    question: Question, first: Answer, text: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[Question, Reply] | None:
    """The question of the second pass, and the reply as far as it goes; None if there is nothing to finish.

    Parameters
    ----------
    question, first, text
        What was asked, what came, and its text.
    """
    if parse_answer(text, truncated=first.finish_reason == "length")[1] != TRUNCATED:
        return None
    how = closing(text)
    if how is None:
        return None
    kept, added = how
    # The model's own tokens where they are all kept: what it said is not cut into tokens anew.
    said = first.output_ids if kept == len(text) else _ids(text[:kept], tokenizer)
    prompt = [*question.prompt_ids, *said, *_ids(added, tokenizer)]
    return dataclasses.replace(question, prompt_ids=prompt), Reply(first, kept, added)


def read_reply(reply: Reply, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str, str]:
    """What the model said by itself, its decision, and the status of that."""
    text = text_of(reply.first, tokenizer)
    decision, status = parse_answer(text, truncated=reply.first.finish_reason == "length")
    if reply.second is not None:
        word, read = parse_answer(text[: reply.kept] + added_text(reply, tokenizer), truncated=False)
        if read == OK:
            decision, status = word, FINISHED
    return text, decision, status


def added_text(reply: Reply, tokenizer: PreTrainedTokenizerBase) -> str:
    """What the second pass put behind the kept part of the first."""
    assert reply.second is not None
    return reply.added + text_of(reply.second, tokenizer) + _END_TAG


def record(reply: Reply, tokenizer: PreTrainedTokenizerBase, seed: int | None) -> Mapping[str, Any] | None:
    """What decisions.jsonl says of the second pass."""
    if reply.second is None:
        return None
    return {
        "kept": reply.kept,
        "text": added_text(reply, tokenizer),
        "output_ids": reply.second.output_ids,
        "finish_reason": reply.second.finish_reason,
        "logprob": reply.second.logprob,
        "seed": seed,
    }


def text_of(given: Answer, tokenizer: PreTrainedTokenizerBase) -> str:
    """An answer as text, without its end-of-turn token."""
    said = given.output_ids
    if said and given.finish_reason == "stop":
        said = said[:-1]
    return tokenizer.decode(said, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"] if text else []


def _without_beginning(said: str) -> str:
    """Text without the beginning of an answer tag at its end."""
    for length in range(len(_TAG) - 1, 0, -1):
        if said.lower().endswith(_TAG[:length]):
            return said[:-length]
    return said
