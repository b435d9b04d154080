"""Reading what slime prints: Python dictionaries behind a name and a number, from many processes.

slime v0.2.1 writes no file of metrics. Its processes log lines like
``(MegatronTrainRayActor pid=7) [2025-12-12 10:00:00] model.py:674 - step 3: {'train/loss': 0.01, ...}``, which Ray
hands to the driver's output; numbers that are not finite stand there as nan and inf.
"""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PLACE = re.compile(r"\.py:\d+ - ")  # of the line's own; what a model said may quote another behind it
_RECORD = re.compile(r"(?P<kind>step|rollout|perf|eval) (?P<number>\d+): (?P<values>\{.*\})")
_ACTOR = re.compile(r"^\s*\([^()]*pid=\d+[^()]*\)\s?")
_CONSTANTS = {"nan": math.nan, "inf": math.inf, "True": True, "False": False, "None": None}


@dataclass(frozen=True)
class Record:
    """One line of metrics: ``step 12: {...}``.

    Attributes
    ----------
    kind
        step (of the optimiser), rollout, perf or eval.
    number
        As slime counts, from 0.
    values
        Numbers by name; what is no number is left out.
    """

    kind: str
    number: int
    values: dict[str, float]


def parse_line(line: str) -> Record | None:
    """The metrics in one line of output; None if it holds none, or is cut short."""
    text = _COLOUR.sub("", line.rpartition("\r")[2])
    place = _PLACE.search(text)
    match = _RECORD.match(text, place.end()) if place else None
    if match is None:
        return None
    try:
        values = read_dictionary(match["values"])
    except ValueError:
        return None
    return Record(match["kind"], int(match["number"]), values)


def read_dictionary(text: str) -> dict[str, float]:
    """A dictionary as Python prints it, with nan and inf, which ``ast.literal_eval`` refuses.

    >>> read_dictionary("{'train/loss': nan, 'train/step': 3, 'x': tensor(-0.5, device='cuda:0')}")
    {'train/loss': nan, 'train/step': 3, 'x': -0.5}

    Raises
    ------
    ValueError
        If the text is no dictionary, or its keys are no text.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"not a dictionary: {error}") from None
    if not isinstance(tree, ast.Dict):
        raise ValueError("not a dictionary")
    values = {}
    for key, node in zip(tree.keys, tree.values, strict=True):
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            raise ValueError("a key is no text")
        value = _value(node)
        if isinstance(value, int | float) and not isinstance(value, bool):
            values[key.value] = value
    return values


def said(line: str) -> str:
    """A line without Ray's prefix and colours, for messages."""
    return _ACTOR.sub("", _COLOUR.sub("", line.rpartition("\r")[2])).strip()


def _value(node: ast.expr) -> object:
    """What an expression stands for; None for what is no plain number."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return _CONSTANTS.get(node.id)
        case ast.UnaryOp(op=ast.USub()):
            value = _value(node.operand)
            return -value if isinstance(value, int | float) else None
        case ast.Call(args=[first, *_]):  # tensor(0.5, device='cuda:0'), np.float64(0.5)
            return _value(first)
    return None
