"""What the tearsheet is built of: markup, pictures, shortened answers, and what a decision earned."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tearsheet_inputs import SVG, Page

from tearsheet_page.decisions import LEAST_TEXT, outcomes, read_words, shortened
from tearsheet_page.figures import svg_address
from tearsheet_page.markup import Markup, element, join, printable
from trading.accounting import Account
from trading.tables import Curves


@pytest.mark.parametrize("latency", [0, 1])
def test_a_decision_earns_what_its_own_hour_brought(latency: int) -> None:
    # Long 2x over +10%, then short 2x over -5%; with a latency of one bar the second is never filled.
    position = [2.0, -2.0, 0.0] if not latency else [0.0, 2.0, 0.0]
    price = np.array([100.0, 110.0, 104.5])
    equity = [1000.0, 1200.0, 1320.0] if not latency else [1000.0, 1000.0, 900.0]
    book = Account(np.array(position), np.array(equity), np.diff(equity, prepend=1000.0), np.array([0.0, 1.0, 2.0]))
    times = np.array(["2025-01-01T00", "2025-01-01T01", "2025-01-01T02"], dtype="datetime64[s]")
    first, second = outcomes(Curves(times, price, {"trained": book}), "trained", latency)
    if latency:
        assert (first.price, first.position, first.earned, first.cost) == (110.0, 2.0, -100.0, 2.0)
        assert first.market == pytest.approx(-0.05)
        assert second is None
    else:
        assert (first.price, first.position, first.earned, first.cost) == (100.0, 2.0, 200.0, 1.0)
        assert (second.position, second.earned, second.share) == (-2.0, 120.0, pytest.approx(0.1))
        assert second.market == pytest.approx(-0.05)


def test_an_account_that_has_nothing_left_earns_no_share() -> None:
    book = Account(np.array([2.0, 0.0, 0.0]), np.array([1000.0, 0.0, 0.0]), np.array([0.0, -1000.0, 0.0]), np.zeros(3))
    times = np.array(["2025-01-01T00", "2025-01-01T01", "2025-01-01T02"], dtype="datetime64[s]")
    first, second = outcomes(Curves(times, np.array([100.0, 40.0, 40.0]), {"trained": book}), "trained", 0)
    assert (first.share, second.share, second.earned) == (-1.0, None, 0.0)


@given(st.text())
def test_any_text_comes_back_from_an_element_and_an_attribute(words: str) -> None:
    parsed = Page(element("p", words, title=words))
    assert "".join(data for _, data in parsed.texts) == printable(words)
    assert parsed.elements == [("p", {"title": printable(words)})]


def test_only_markup_is_taken_as_markup() -> None:
    bold = element("b", "<&>")
    assert element("p", bold) == "<p><b>&lt;&amp;&gt;</b></p>"
    assert element("p", f"{bold}") == "<p>&lt;b&gt;&amp;lt;&amp;amp;&amp;gt;&lt;/b&gt;</p>"
    assert join("<", bold, None, Markup(">")) == "&lt;<b>&lt;&amp;&gt;</b>>"
    assert element("input", hidden=True, checked=False, type="a", name=None) == '<input hidden type="a">'


@given(st.text(min_size=1, max_size=3000), st.integers(LEAST_TEXT, 2000))
def test_a_shortened_answer_keeps_its_beginning_and_its_end(words: str, limit: int) -> None:
    found = shortened(words, limit)
    if len(words) <= limit:
        assert found == words
    else:
        assert found.startswith(words[: limit // 3])
        assert found.endswith(words[limit // 3 - limit :])
        assert f"[…{len(words) - limit:,} characters left out…]" in found


def test_an_svg_is_drawn_the_same_without_what_is_not_drawn() -> None:
    source = SVG.replace("&", "&amp;").format(note="who made it")
    address = svg_address(source.encode())
    assert not re.search(r'[<>"#&\n]', address)
    root = ET.fromstring(unquote(address.removeprefix("data:image/svg+xml,")))
    assert [child.tag.split("}")[1] for child in root] == ["path", "text"]
    assert root[0].attrib == {"id": "a", "d": "M 0 0 L 9 9 ", "style": "stroke: #0072b2"}
    assert root[1].text == "90% & more"


def test_a_second_pass_stands_behind_what_the_model_said_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text(
        '{"text": "up"}\n{"text": "<think>up", "finish": {"kept": 9, "text": "</think><answer>Buy</answer>"}}\n'
    )
    assert read_words(path) == ["up", "<think>up\n[cut here; second pass:]</think><answer>Buy</answer>"]
