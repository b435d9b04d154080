"""Questions: test samples with the model's own chat template applied, as token ids."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError
from common.files import read_jsonl
from inference.model import Model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Question:
    """One sample as the model sees it; `number` is its running number in the file, from 0."""

    number: int
    id: str
    timestamp: str
    prompt_ids: list[int]
    prompt_sha256: str


def load_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    """The model's tokenizer.

    Raises
    ------
    InputError
        If it cannot be read, or has no chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model.folder, local_files_only=True)
    except Exception as error:  # a broken tokenizer.json surfaces as any of a dozen types
        raise InputError(f"{model.folder}: its tokenizer cannot be read ({error}). Copy it again.") from None
    if not tokenizer.chat_template:
        raise InputError(f"{model.folder}: no chat template. Give a model that was made for chat.")
    return tokenizer


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Read samples and check what infer uses of them: prompt, id and time.

    Raises
    ------
    InputError
        Names the file, the line and what is wrong.
    """
    rows = read_jsonl(path)
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        problem = _problem(row)
        identifier = "" if problem else row["metadata"]["id"]
        if identifier in seen:
            problem = f"id {identifier} is already on line {seen[identifier]}"
        if problem:
            raise InputError(f"{path}, line {number}: {problem}. Run samples again.")
        seen[identifier] = number
    return rows


def _problem(row: dict[str, Any]) -> str | None:
    messages, metadata = row.get("prompt"), row.get("metadata")
    if not isinstance(messages, list) or not messages:
        return "prompt is not a list of chat messages"
    for message in messages:
        if not isinstance(message, dict) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
            return "a chat message of prompt has no role and content"
    if not isinstance(metadata, dict):
        return "metadata is missing"
    for key in ("id", "timestamp"):
        if not isinstance(metadata.get(key), str) or not metadata[key]:
            return f"metadata.{key} is missing"
    return None


def ask(
    samples: Sequence[dict[str, Any]],
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    model: Model,
    room: int,
    numbers: Sequence[int] | None = None,
) -> list[Question]:
    """Apply the chat template to each sample and tokenize it.

    Parameters
    ----------
    samples, path
        Rows of the samples file, and the file for messages.
    room
        Tokens that an answer may take; prompt and answer have to fit the model's context together.
    numbers
        Running number of each row in the file, where they are not all of them.

    Raises
    ------
    InputError
        Names the sample that does not fit, or that the template or the vocabulary cannot take.
    """
    questions = []
    for number, row in zip(range(len(samples)) if numbers is None else numbers, samples, strict=True):
        where = f"{path}, line {number + 1}"
        try:
            text = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        except Exception as error:  # templates raise what they like
            raise InputError(f"{where}: {model.folder}'s chat template refuses it ({error}).") from None
        # The template has written every special token that belongs there.
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids or max(ids) >= model.vocabulary:
            raise InputError(f"{where}: the tokenizer of {model.folder} gives ids that its model does not have.")
        if len(ids) + room > model.context:
            raise InputError(
                f"{where}: a prompt of {len(ids)} tokens and an answer of up to {room} do not fit the "
                f"model's context of {model.context}. Lower max_new_tokens, or use shorter prompts."
            )
        digest = hashlib.sha256(text.encode()).hexdigest()
        questions.append(Question(number, row["metadata"]["id"], row["metadata"]["timestamp"], ids, digest))
    return questions
