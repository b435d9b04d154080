"""Decisions: what a model answered to each test sample, read and checked against the market's bars."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError
from common.files import read_jsonl
from trading.answers import DECIDED, STATUSES

DIRECTION = {"BUY": 1, "SELL": -1, "HOLD": 0}
AGAIN = "Run infer again."

_IDENTIFIER = re.compile(r"([a-z]+)-(\d{6,})")


@dataclass(frozen=True)
class Decisions:
    """One model's decisions in time order, one a bar."""

    path: Path
    ids: list[str]
    timestamps: list[str]
    decisions: list[str]
    statuses: list[str]
    prompts: list[str | None]

    def __len__(self) -> int:
        return len(self.ids)

    def count(self, status: str) -> int:
        """How many answers have this status."""
        return self.statuses.count(status)

    @property
    def invalid(self) -> int:
        """How many answers gave no decision: cut by the token limit, or without a valid answer."""
        return len(self) - sum(self.count(status) for status in DECIDED)

    def asked_as(self, other: Decisions) -> bool:
        """Whether both answer the same prompts, as far as that is recorded."""
        return None not in self.prompts and self.prompts == other.prompts

    def directions(self, invalid: str) -> NDArray[np.float64]:
        """1 long, -1 short, 0 flat, shape (samples,); an answer without a decision trades as `invalid`."""
        words = (
            word if status in DECIDED else invalid for word, status in zip(self.decisions, self.statuses, strict=True)
        )
        return np.array([DIRECTION[word] for word in words], dtype=np.float64)


def read_decisions(path: str | Path) -> Decisions:
    """Read decisions.jsonl and check each line for itself, and that none is missing, doubled or misplaced.

    Raises
    ------
    InputError
        Names the file, the line and what is wrong with it.
    """
    path = Path(path)
    rows = read_jsonl(path)
    seen: dict[str, int] = {}
    prefix = ""
    for number, row in enumerate(rows, start=1):
        try:
            identifier = _check_row(row)
            match = _IDENTIFIER.fullmatch(identifier)
            if match is None:
                raise ValueError(f'id "{identifier}" is not a split and a running number like test-000000')
            prefix = prefix or match[1]
            if identifier in seen:
                raise ValueError(f"a second decision for {identifier}, which line {seen[identifier]} has already")
            expected = f"{prefix}-{number - 1:06d}"
            if identifier != expected:
                late = match[1] == prefix and int(match[2]) >= number
                why = "a decision is missing" if late else "the decisions are not in order"
                raise ValueError(f"expected {expected}, found {identifier}: {why}")
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}. {AGAIN}") from None
        seen[identifier] = number
    return Decisions(
        path=path,
        ids=list(seen),
        timestamps=[row["timestamp"] for row in rows],
        decisions=[row["decision"] for row in rows],
        statuses=[row["status"] for row in rows],
        prompts=[row.get("prompt_sha256") for row in rows],
    )


def _check_row(row: dict[str, Any]) -> str:
    """The identifier of a decision whose own fields are in order; ValueError says what is not."""
    for name in ("id", "timestamp", "decision", "status"):
        if not isinstance(row.get(name), str):
            raise ValueError(f'no text under "{name}"')
    decision, status = row["decision"], row["status"]
    if decision not in DIRECTION:
        raise ValueError(f'decision "{decision}" is none of {", ".join(DIRECTION)}')
    if status not in STATUSES:
        raise ValueError(f'status "{status}" is none of {", ".join(STATUSES)}')
    if (status in DECIDED) != (decision != "HOLD"):
        raise ValueError(f"decision {decision} does not go with status {status}")
    return row["id"]


def first_bar(decisions: Decisions, times: Sequence[str], bars: str | Path) -> int:
    """Index of the bar at whose close the first decision was taken.

    Parameters
    ----------
    decisions
        Decisions in time order.
    times
        Close times of all bars, as the decisions write them (2025-01-01T00:00:00Z).
    bars
        Where the bars were read from, for messages.

    Raises
    ------
    InputError
        If a decision is for a time without a bar, the decisions are not for consecutive bars, or the last
        one has no next bar to be settled at.
    """
    index = {time: position for position, time in enumerate(times)}
    start = index.get(decisions.timestamps[0], 0)
    for offset, (name, time) in enumerate(zip(decisions.ids, decisions.timestamps, strict=True)):
        where = f"{decisions.path}, line {offset + 1}"
        if time not in index:
            raise InputError(
                f"{where}: decision {name} is for {time}, a time that {bars} does not have. "
                "Run samples and infer again on these bars."
            )
        if index[time] != start + offset:
            raise InputError(
                f"{where}: decision {name} is for {time}, but the bar that follows the decision before it is "
                f"{times[start + offset]}. Run samples and infer again on these bars."
            )
        if index[time] + 1 == len(times):
            raise InputError(
                f"{where}: decision {name} is for {time}, the last bar of {bars}: there is no next close to "
                "settle it at. Add bars, or run samples and infer again on these."
            )
    return start


def check_same_questions(one: Decisions, other: Decisions) -> None:
    """Refuse two models' decisions that do not answer the same samples.

    Raises
    ------
    InputError
        Names both files and the first line at which they differ.
    """
    if len(one) != len(other):
        raise InputError(f"{other.path}: {len(other)} decisions, but {one.path} has {len(one)}. {AGAIN}")
    for what, mine, theirs in (
        ("time", one.timestamps, other.timestamps),
        ("prompt", one.prompts, other.prompts),
    ):
        for number, (a, b) in enumerate(zip(mine, theirs, strict=True), start=1):
            if a != b:
                raise InputError(f"{other.path}, line {number}: another {what} than in {one.path}. {AGAIN}")
