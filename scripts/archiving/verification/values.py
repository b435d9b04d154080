"""Numbers in a text, and whether a value of a file is what a number shows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

MINUS = "\N{MINUS SIGN}"
SUPERSCRIPT = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
# A date, a checkpoint, a version, a power of ten, or a number with its sign and unit. Any other digit behind a letter
# is part of a name.
NUMBER = re.compile(
    r"(?<![\w.])\d{4}-\d{2}-\d{2}(?:T[\d:]+Z| \d\d:\d\d UTC)?"
    r"|(?<![\w.])iter_\d+"
    r"|(?<![\w.])\d+(?:\.\d+){2,}"
    r"|(?<![\w.])\d\s?x\s?10⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+"
    rf"|(?<![\w.])(?:[+{MINUS}-](?=[$\d]))?\$?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?(?:%|[kMB]\b)?"
)
ISO_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
# A field's name with what the sentence made of its value.
CITATION = re.compile(r"(words\(|abs\(|count\(|1e4\*)([^()]+)\)?")
UNITS = {"k": 1e3, "M": 1e6, "B": 1e9}


def shows(shown: str, value: Any) -> str | None:
    """How `shown` follows from a value: "text", "time", "number", "percent"; None if it does not.

    A number stands for a value if the value, rounded to as many digits, reads the same; one without digits behind the
    point and without a unit is rounded to three digits at least. Its sign has to be the value's.
    """
    if isinstance(value, str):
        times = (value[:10], f"{value[:10]} {value[11:16]} UTC") if ISO_TIME.fullmatch(value) else ()
        return "time" if shown in times else "text" if shown in value else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    power = re.fullmatch(r"(\d)\s?x\s?10(⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)", shown)
    if power:
        return "number" if f"{value:.0e}" == f"{power[1]}e{int(power[2].translate(SUPERSCRIPT)):+03d}" else None
    plain = shown.replace(MINUS, "-").replace(",", "").replace("$", "")
    digits = plain.lstrip("+-")
    if not digits[:1].isdigit():
        return None  # a checkpoint's name
    is_nothing = not re.search("[1-9]", digits)  # 0.00% has no sign, whatever was rounded away
    if (value < 0) != plain.startswith("-") and not is_nothing:
        return None
    if digits.endswith("%"):
        return "percent" if _reads(digits[:-1], 100 * abs(value)) else None
    if digits[-1] in UNITS:
        return "number" if _reads(digits[:-1], abs(value) / UNITS[digits[-1]]) else None
    if digits.isdigit() and "$" not in shown and abs(value) < 1000:
        return "number" if digits == f"{abs(value):.3g}" else None
    return "number" if _reads(digits, abs(value)) else None


def is_name(value: Any) -> bool:
    """Whether a value is a name, a version or another text, which may stand anywhere in a sentence."""
    return isinstance(value, str) and not ISO_TIME.fullmatch(value)


def _reads(digits: str, value: float) -> bool:
    """Whether a value rounds to these digits."""
    if "e" in digits:
        return math.isclose(float(digits), value, rel_tol=1e-5)
    places = len(digits.partition(".")[2])
    return f"{value:.{places}f}" == digits or (places > 0 and f"{value:.6g}" == digits)


def field(record: Any, path: str) -> Any:
    """What stands at a field, its path joined by dots; a row is entered by its key, others by their number.

    Raises
    ------
    KeyError
        If there is no such field.
    """
    for part in path.split("."):
        record = dict(_rows(record))[part]
    return record


def _rows(value: Any) -> list[tuple[str, Any]]:
    """What lies directly below a value."""
    if isinstance(value, list):
        return [(str(row.get("key", i)) if isinstance(row, Mapping) else str(i), row) for i, row in enumerate(value)]
    return list(value.items()) if isinstance(value, Mapping) else []


def terms(record: Any, cited: str) -> list[tuple[str, Any]]:
    """What a citation gives to be shown, in order: none, one value or the values of a list.

    Returns
    -------
    list
        Paths and values. ``a + b`` is a sum, ``abs(a)`` a size, ``1e4*a`` a return in basis points, ``count(a)`` how
        many lie below a; ``words(a)`` gives words only, and so does a section, which is a picture's or a sentence's.
    """
    form = CITATION.fullmatch(cited)
    function, path = (form[1], form[2]) if form else ("", cited)
    if function == "words(":
        return []
    try:
        if " + " in path:
            return [(cited, sum(field(record, part) for part in path.split(" + ")))]
        value = field(record, path)
        if function == "count(":
            return [(cited, len(value))]
        values = [(f"{path}.{i}", item) for i, item in enumerate(value)] if isinstance(value, list) else [(path, value)]
        size = {"abs(": abs, "1e4*": lambda item: 1e4 * item}.get(function)
        if size:
            values = [(cited.replace(path, place), size(item)) for place, item in values]
    except (KeyError, TypeError):
        return []
    return [(place, item) for place, item in values if not isinstance(item, Mapping | list) and item is not None]
