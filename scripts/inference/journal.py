"""The journal of a model's answers: what is in it need not be asked again."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.files import write_json
from common.journal import Journal
from common.lease import lease
from inference.questions import Question

# Raise it when the same settings come to mean other answers; journals of before are then left alone.
MEANING = 2
# Answers after which the system is asked to have them on the disk: a kill loses none, a power cut so many.
SYNC_EVERY = 64


@dataclass(frozen=True)
class Answer:
    """What the engine returned: the tokens, how they ended (stop, length), their summed log-probability."""

    output_ids: list[int]
    finish_reason: str
    logprob: float


def settings_of(questions: Sequence[Question], model_sha256: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that determines the answers.

    Batch size, threads and time limits are left out: they change the speed only. Of the samples it is their
    order, names and token ids, because another version of transformers may read the same tokenizer and template
    in another way, and a price that no prompt shows changes nothing.

    Parameters
    ----------
    questions
        What is asked, in order.
    model_sha256
        Of the model's files that take part (`common.model_folder.content_sum`).
    settings
        How it is asked: sampling, device, versions.
    """
    asked = json.dumps([[question.number, question.id, question.prompt_ids] for question in questions]).encode()
    return {
        "meaning": MEANING,
        "model": model_sha256,
        "questions": hashlib.sha256(asked).hexdigest(),
        **settings,
    }


def key_of(settings: Mapping[str, Any]) -> str:
    """Name of the journal of these settings: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


class Answers:
    """Answers by sample id, on disk as they come.

    Attributes
    ----------
    resumed
        How many an earlier run left.
    """

    def __init__(self, folder: Path) -> None:
        self._journal = Journal(folder / "answers.jsonl")
        self._rows = {row["id"]: row for row in self._journal.rows}
        self.resumed = len(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, question: Question) -> Answer:
        row = self._rows[question.id]
        return Answer(row["output_ids"], row["finish_reason"], row["logprob"])

    def missing(self, questions: Sequence[Question], batch: int) -> Iterator[Sequence[Question]]:
        """Questions without an answer, in order, in batches."""
        unanswered = [question for question in questions if question.id not in self._rows]
        for start in range(0, len(unanswered), batch):
            yield unanswered[start : start + batch]

    def add(self, question: Question, answer: Answer) -> None:
        """Write one answer, at once: from here on a kill does not lose it."""
        row = {"id": question.id, **asdict(answer)}
        self._journal.append([row])
        self._rows[question.id] = row
        if len(self._rows) % SYNC_EVERY == 0:
            self._journal.sync()

    def close(self) -> None:
        """Close the file, with all of it on the disk."""
        self._journal.sync()
        self._journal.close()


@contextlib.contextmanager
def open_answers(folder: Path, settings: Mapping[str, Any]) -> Iterator[Answers]:
    """Open the journal of these settings below `folder`, alone.

    Raises
    ------
    InputError
        If another run is writing the same answers.
    """
    own = folder / key_of(settings)
    with lease(own):
        if not (own / "settings.json").exists():
            write_json(own / "settings.json", dict(settings))  # for people who wonder what the key stands for
        answers = Answers(own)
        try:
            yield answers
        finally:
            answers.close()
