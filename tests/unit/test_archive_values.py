"""Which value a number on a slide stands for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiving.verification.values import NUMBER, field, shows, terms
from report.theme import dollars, number, percent, power, share


@pytest.mark.parametrize(
    ("shown", "value", "how"),
    [
        ("+49.63%", 0.49631999, "percent"),
        ("\N{MINUS SIGN}47.56%", -0.4756299, "percent"),
        ("0.00%", -0.0000318, "percent"),
        ("iter_0000500", "iter_0000500", "text"),
        ("2025-01-02", "2025-01-02T03:00:00Z", "time"),
        ("2025-01-02 03:00 UTC", "2025-01-02T03:00:00Z", "time"),
        ("119", 119.4, "number"),
        ("119,412", 119411.6, "number"),
        ("$149,632", 149631.9997, "number"),
        ("5\N{NO-BREAK SPACE}x\N{NO-BREAK SPACE}10⁻⁷", 4.8e-7, "number"),
        ("0.001", 0.001, "number"),
        ("\N{MINUS SIGN}10", -10.0, "number"),
        ("1706", 1706, "number"),
        ("1,706", 1706, "number"),
        ("+49.64%", 0.49631999, None),
        ("25.40%", -0.2540318, None),  # what fell 25.40% cites abs(...)
        ("0", 0.2, None),
        ("12", 12.4, None),
        ("2025-01-03", "2025-01-02T03:00:00Z", None),
        ("\N{MINUS SIGN}49.63%", 0.49631999, None),
        ("+47.56%", -0.4756299, None),
        ("$149,633", 149631.9997, None),
        ("6 x 10⁻⁷", 4.8e-7, None),
        ("1,707", 1706, None),
        ("1", True, None),
        ("1", None, None),
        ("1", float("nan"), None),
    ],
)
def test_a_number_stands_for_a_value_that_rounds_to_it(shown: str, value: Any, how: str | None) -> None:
    assert shows(shown, value) == how


@given(st.floats(-5, 20).filter(lambda x: abs(x) > 1e-4))
def test_whatever_the_slides_format_is_found_again(value: float) -> None:
    for text in (percent(value), dollars(abs(value) * 1e5), number(round(value, 4)), share(abs(value))):
        match = NUMBER.search(text)
        assert match is not None
        assert match[0] == text
        wanted = value * 1e5 if "$" in text else round(value, 4) if "%" not in text else value
        assert shows(text, abs(wanted) if "$" in text or text == share(abs(value)) else wanted), (text, wanted)
    assert shows(power(abs(value) * 1e-7), abs(value) * 1e-7)


def test_numbers_are_told_from_names() -> None:
    text = "Qwen3 of 2025-02-07 on SGLang 0.5.6: 1,706 hours, 64, then \N{MINUS SIGN}35.6% at 2.5x; iter_0000500"
    expected = ["2025-02-07", "0.5.6", "1,706", "64", "\N{MINUS SIGN}35.6%", "2.5", "iter_0000500"]
    assert [match[0] for match in NUMBER.finditer(text)] == expected


RECORD = {
    "rows": [{"key": "a", "cut": 1, "odd": 3}, {"key": "b", "cut": 2, "odd": 5}],
    "span": [-0.5, 0.25],
    "fell": -0.25,
    "curves": {"x": [1, 2]},
    "none": None,
}


def test_fields_are_entered_by_key() -> None:
    assert field(RECORD, "rows.b.cut") == 2
    assert field(RECORD, "span.1") == 0.25
    for path in ("rows.c.cut", "rows.*.cut", "nothing"):
        with pytest.raises(KeyError):
            field(RECORD, path)


@pytest.mark.parametrize(
    ("cited", "values"),
    [
        ("rows.b.cut", [2]),
        ("span", [-0.5, 0.25]),
        ("rows.b.cut + rows.b.odd", [7]),
        ("abs(fell)", [0.25]),
        ("1e4*span", [-5000, 2500]),
        ("count(rows)", [2]),
        ("words(fell)", []),
        ("curves", []),
        ("rows", []),
        ("none", []),
        ("abs(nothing)", []),
    ],
)
def test_a_citation_gives_the_numbers_that_the_sentence_made_of_the_field(cited: str, values: list[Any]) -> None:
    assert [value for _, value in terms(RECORD, cited)] == values
