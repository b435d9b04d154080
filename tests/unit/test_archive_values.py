"""Which value a number on a slide stands for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiving.verification.ledger import cited, claims_of, said
from archiving.verification.slides import Slide
from archiving.verification.values import NUMBER, field, shows
from report.theme import dollars, number, percent, power, share


@pytest.mark.parametrize(
    ("shown", "value", "how"),
    [
        ("+49.63%", 0.49631999, "percent"),
        ("\N{MINUS SIGN}47.56%", -0.4756299, "percent"),
        ("25.40%", -0.2540318, "percent"),  # "fell 25.40%"
        ("$149,632", 149631.9997, "number"),
        ("5\N{NO-BREAK SPACE}x\N{NO-BREAK SPACE}10⁻⁷", 4.8e-7, "number"),
        ("0.001", 0.001, "number"),
        ("\N{MINUS SIGN}10", -10.0, "number"),
        ("1706", 1706, "number"),
        ("1,706", 1706, "number"),
        ("+49.64%", 0.49631999, None),
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
        assert shows(text, abs(wanted) if "$" in text else wanted), (text, wanted)
    assert shows(power(abs(value) * 1e-7), abs(value) * 1e-7)


def test_numbers_are_told_from_names() -> None:
    text = "Qwen3 of 2025-02-07 on SGLang 0.5.6: 1,706 hours, 64, then \N{MINUS SIGN}35.6% at 2.5x; iter_0000500"
    expected = ["2025-02-07", "0.5.6", "1,706", "64", "\N{MINUS SIGN}35.6%", "2.5"]
    assert [match[0] for match in NUMBER.finditer(text)] == expected


def test_fields_are_entered_by_key_and_star() -> None:
    record = {"rows": [{"key": "a", "x": 1}, {"key": "b", "x": 2}], "deep": {"list": [3, {"y": 4}]}}
    assert field(record, "rows.b.x") == [("rows.b.x", 2)]
    assert field(record, "rows.*.x") == [("rows.a.x", 1), ("rows.b.x", 2)]
    assert field(record, "deep") == [("deep.list.0", 3), ("deep.list.1.y", 4)]
    assert field(record, "rows.c.x") == []
    assert field(record, "none") == []


def test_a_line_of_the_notes_is_read_back() -> None:
    line = "- It [really] fell 3.00%. [m.json: market.return; n.json: a, b; fixed wording]"
    assert said(line) == "It [really] fell 3.00%."
    assert cited(line) == [("m.json", "market.return"), ("n.json", "a"), ("n.json", "b")]
    assert cited("- n/a [fixed wording, no figure in it]") == []
    assert cited("Where each statement comes from:") == []


def claims(text: str, note: str, **sources: Any) -> list[dict[str, Any]]:
    return claims_of([Slide(7, [text], [], [note])], {f"{name}.json": value for name, value in sources.items()})


def test_a_number_goes_to_the_value_it_equals_before_one_that_rounds_to_it() -> None:
    found = claims("0 of 20", "- 0 of 20 [m.json: threshold, spikes, n]", m={"threshold": 0.2, "spikes": 0, "n": 20})
    assert [claim["field"] for claim in found] == ["spikes", "n"]


def test_two_equal_numbers_go_to_two_fields() -> None:
    found = claims("4 prompts x 4 answers", "- 4 prompts x 4 answers [m.json: a; m.json: b]", m={"a": 4, "b": 4})
    assert [claim["field"] for claim in found] == ["a", "b"]


def test_a_sum_of_two_counts_of_a_row_is_explained() -> None:
    note = "- 9 of 300 [m.json: rows.*.cut; m.json: rows.*.odd; m.json: n]"
    rows = [{"key": "a", "cut": 1, "odd": 3}, {"key": "b", "cut": 4, "odd": 5}]
    found = claims("9 of 300", note, m={"rows": rows, "n": 300})
    assert (found[0]["how"], found[0]["field"], found[0]["value"]) == ("sum", "rows.b.cut + rows.b.odd", [4, 5])


def test_a_number_that_no_cited_field_gives_is_unexplained() -> None:
    found = claims("It made 12.00%.", "- It made 12.00%. [m.json: a]", m={"a": 0.13, "other": 0.12})
    assert [claim["how"] for claim in found] == ["unexplained"]


def test_a_curve_that_only_another_sentence_cites_explains_nothing() -> None:
    curve = [i / 100 for i in range(100)]
    slide = Slide(7, ["It made 12.00%."], [], ["- It made 12.00%. [m.json: a]", "- Picture. [m.json: curve]"])
    assert claims_of([slide], {"m.json": {"a": 0.13, "curve": curve}})[0]["how"] == "unexplained"
    slide = Slide(7, ["It made 12.00%."], [], ["- It made 12.00%. [m.json: curve]"])
    assert claims_of([slide], {"m.json": {"curve": curve}})[0]["field"] == "curve.12"


def test_a_return_stands_for_basis_points_where_the_slide_speaks_of_them() -> None:
    for text, how in (("+24.07 bp an hour", "basis points"), ("+24.07 an hour", "unexplained")):
        (claim,) = claims(text, f"- {text} [m.json: a]", m={"a": 0.002407})
        assert claim["how"] == how
