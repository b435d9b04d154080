"""Numbers in a model's config.json that can be used, and how others are shown."""

from __future__ import annotations

import sys
from typing import Any

WHOLE = "a positive whole number below 2^31"
NUMBER = "a positive number that a float holds"
EVEN = "even, as rotary embedding needs it"


def is_whole(value: Any) -> bool:
    """Whether it is what `WHOLE` says; true and false are not."""
    return type(value) is int and 0 < value < 2**31


def is_number(value: Any) -> bool:
    """Whether it is what `NUMBER` says: JSON has whole numbers of any length, which float() refuses."""
    return type(value) in (int, float) and 0 < value <= sys.float_info.max


def shown(value: Any) -> str:
    """A value as a message has room for it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
