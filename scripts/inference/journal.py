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
MEANING = 1


@dataclass(frozen=True)
class Answer:
    """What the engine returned: the tokens, how they ended (stop, length), their summed log-probability."""

    output_ids: list[int]
    finish_reason: str
    logprob: float


def settings_of(
    questions: Sequence[Question], model_sha256: str, samples_sha256: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that determines the answers.

    Batch size, threads and time limits are left out: they change the speed only. The token ids are in,
    because another version of transformers may read the same tokenizer and template in another way.
    """
    ids = json.dumps([question.prompt_ids for question in questions]).encode()
    return {
        "meaning": MEANING,
        "model": model_sha256,
        "samples": samples_sha256,
        "prompts": hashlib.sha256(ids).hexdigest(),
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

    def missing(self, questions: Sequence[Question], batch: int) -> Iterator[list[Question]]:
        """Questions without an answer, in batches that are cut by running number.

        A batch so holds the same samples whether or not an earlier run was killed, and its sums are the same
        to the last bit.
        """
        for start in range(0, len(questions), batch):
            todo = [q for q in questions[start : start + batch] if q.id not in self._rows]
            if todo:
                yield todo

    def add(self, questions: Sequence[Question], answers: Sequence[Answer]) -> None:
        """Write the answers of one batch, and make sure that they stay."""
        rows = [{"id": q.id, **asdict(a)} for q, a in zip(questions, answers, strict=True)]
        self._journal.append(rows)
        self._journal.sync()
        self._rows.update((row["id"], row) for row in rows)

    def close(self) -> None:
        """Close the file."""
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
