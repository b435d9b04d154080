"""Numbers in a text, and whether a value of a file is what a number shows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

MINUS = "\N{MINUS SIGN}"
SUPERSCRIPT = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
# A date, a version, a power of ten, or a number with its sign and unit. A digit behind a letter is part of a name.
NUMBER = re.compile(
    r"(?<![\w.])\d{4}-\d{2}-\d{2}(?:T[\d:]+Z)?"
    r"|(?<![\w.])\d+(?:\.\d+){2,}"
    r"|(?<![\w.])\d\s?x\s?10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+"
    rf"|(?<![\w.])(?:[+{MINUS}-](?=[$\d]))?\$?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?(?:%|[kMB]\b)?"
)
UNITS = {"k": 1e3, "M": 1e6, "B": 1e9}


def shows(shown: str, value: Any) -> str | None:
    """How `shown` follows from a value: "text", "number", "percent", "basis points"; None if it does not.

    A number stands for a value if the value, rounded to as many digits, reads the same. A sign that is shown has to
    be the value's; words such as "fell 25.40%" show none.
    """
    if isinstance(value, str):
        return "text" if shown in value else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    power = re.fullmatch(r"(\d)\s?x\s?10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)", shown)
    if power:
        return "number" if f"{value:.0e}" == f"{power[1]}e{int(power[2].translate(SUPERSCRIPT)):+03d}" else None
    plain = shown.replace(MINUS, "-").replace(",", "").replace("$", "")
    sign = plain[0] if plain[0] in "+-" else ""
    digits = plain.lstrip("+-")
    if sign and (value < 0) != (sign == "-"):
        return None
    if digits.endswith("%"):
        return "percent" if _reads(digits[:-1], 100 * abs(value)) else None
    if digits[-1] in UNITS:
        return "number" if _reads(digits[:-1], abs(value) / UNITS[digits[-1]]) else None
    return "number" if _reads(digits, abs(value)) else None


def exactly(shown: str, value: Any) -> bool:
    """Whether nothing was rounded away."""
    plain = shown.replace(MINUS, "-").replace(",", "").replace("$", "")
    try:
        return float(plain.rstrip("%")) in (value, abs(value), 100 * value, 100 * abs(value))
    except (ValueError, TypeError):
        return False


def _reads(digits: str, value: float) -> bool:
    """Whether a value rounds to these digits."""
    if "e" in digits:
        return math.isclose(float(digits), value, rel_tol=1e-5)
    places = len(digits.partition(".")[2])
    return f"{value:.{places}f}" == digits or (places > 0 and f"{value:.6g}" == digits)


def field(record: Any, path: str) -> list[tuple[str, Any]]:
    """The values below a field, each with its full path; ``*`` stands for every row, a row is entered by its key.

    Returns
    -------
    list
        Paths and values of what is neither a section nor a list; none if there is no such field.
    """
    found = [("", record)]
    for part in path.split("."):
        found = [
            (f"{place}.{key}" if place else key, item)
            for place, value in found
            for key, item in _rows(value)
            if part in ("*", key)
        ]
    return [leaf for place, value in found for leaf in _leaves(place, value)]


def _rows(value: Any) -> list[tuple[str, Any]]:
    """What lies directly below a value."""
    if isinstance(value, list):
        return [(str(row.get("key", i)) if isinstance(row, Mapping) else str(i), row) for i, row in enumerate(value)]
    return list(value.items()) if isinstance(value, Mapping) else []


def _leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping | list):
        for key, item in _rows(value):
            yield from _leaves(f"{place}.{key}", item)
    else:
        yield place, value
