"""Sentences follow from the numbers, for every order of the strategies, and claim nothing more."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report import wording
from report.theme import number, percent, power, short_dollars

CLAIMS = re.compile(r"alpha|\bedge|skill|outperform|significant|prov(e|es|ed|en)\b|guarantee", re.IGNORECASE)


def metrics(trained: float, buy: float = -0.4756, sell: float = 0.4963, **changes: Any) -> dict[str, Any]:
    """Metrics with these total returns."""
    labels = {"trained": "M (GRPO)", "base": "M (base)", "always_buy": "Always Buy", "always_sell": "Always Sell"}
    returns = {"trained": trained, "base": -0.1, "always_buy": buy, "always_sell": sell}
    common = {"max_drawdown": -0.2, "trades": 10, "share_long": 0.4, "share_short": 0.6, "share_flat": 0.0}
    common |= {"hit_rate": 0.51, "truncated": 0, "unparsable": 0}
    rows = [
        {"key": k, "label": labels[k], "final_capital": 1e5 * (1 + r), "total_return": r, **common}
        for k, r in returns.items()
    ]
    rows[0] |= changes
    market = {"return": -0.254, "synthetic": True, "hours": 1706, "name": "S"}
    return {"leverage": 2, "market": market, "strategies": rows, "parameters": {"invalid": "HOLD"}}


def market(**parameters: float) -> dict[str, Any]:
    return {"synthetic": True, "name": "S", "parameters": {f"synthetic_{k}": v for k, v in parameters.items()}}


def test_the_headline_says_what_the_model_returned_and_what_the_market_did() -> None:
    expected = "M (GRPO) returned +5.03% while the market fell 25.40%."
    assert wording.headline(metrics(0.0503)) == expected


def test_a_market_that_rose_or_stood_still_is_said_so() -> None:
    assert wording.moved(0.1) == "rose 10.00%"
    assert wording.moved(-0.00001) == "ended where it began"


def test_a_total_loss_is_called_one() -> None:
    assert "lost all of its capital" in wording.headline(metrics(-1.0, final_capital=0.0))


@pytest.mark.parametrize(
    ("trained", "expected"),
    [
        (0.0503, "Always Sell (+49.63%) beat it. It ended above Always Buy (−47.56%)."),  # noqa: RUF001
        (2.0, "It ended above Always Sell (+49.63%) and Always Buy (−47.56%)."),  # noqa: RUF001
        (-0.9, "Always Sell (+49.63%) and Always Buy (−47.56%) beat it."),  # noqa: RUF001
        (0.4963, "It ended level with Always Sell (+49.63%). It ended above Always Buy (−47.56%)."),  # noqa: RUF001
    ],
)
def test_the_constant_positions_that_beat_it_are_named(trained: float, expected: str) -> None:
    assert wording.against_constants(metrics(trained)) == expected


@given(trained=st.floats(-0.99, 9), buy=st.floats(-0.99, 9), sell=st.floats(-0.99, 9))
def test_exactly_the_constants_with_more_capital_are_said_to_beat_it(trained: float, buy: float, sell: float) -> None:
    found = metrics(trained, buy, sell)
    beaten_by = wording.against_constants(found).split("beat it.")[0] if wording.better_constants(found) else ""
    assert ("Always Buy" in beaten_by) == (1 + buy > 1 + trained)
    assert ("Always Sell" in beaten_by) == (1 + sell > 1 + trained)


@given(
    trained=st.floats(-1, 20),
    buy=st.floats(-1, 20),
    sell=st.floats(-1, 20),
    change=st.floats(-0.9, 5),
    momentum=st.sampled_from([0.0, 0.18]),
    hits=st.sampled_from([None, 0.5, 0.9]),
)
def test_no_sentence_claims_more_than_the_numbers_bear(
    trained: float, buy: float, sell: float, change: float, momentum: float, hits: float | None
) -> None:
    found = metrics(trained, buy, sell, hit_rate=hits)
    found["market"]["return"] = change
    sentences = [
        wording.headline(found),
        wording.against_constants(found),
        wording.against_base(found),
        wording.constant_answer(found),
        wording.invalid_answers(found, 1706),
        wording.untested(),
        wording.next_step(),
        wording.market_nature(market(momentum=momentum)),
        *(wording.characteristic(row, found) for row in found["strategies"]),
    ]
    assert not [sentence for sentence in sentences if CLAIMS.search(sentence)]


def test_the_control_of_the_claims_finds_the_published_wording() -> None:
    assert CLAIMS.search("High alpha: profitable in a -48% market")


def test_what_was_not_tested_is_said() -> None:
    text = wording.untested()
    for words in ("differs from chance has not been tested", "one path", "without trading costs"):
        assert words in text


def test_a_planted_signal_is_named_with_its_strengths() -> None:
    text = wording.market_nature(market(momentum=0.18, trend=0.1, slow_drift=0.02))
    assert "planted signal (momentum 0.18, trend 0.1, slow drift 0.02" in text
    assert "nothing about real markets" in text
    assert wording.badge(market(momentum=0.18)) == "SYNTHETIC MARKET, PLANTED SIGNAL"
    one = wording.market_nature(market(momentum=0, trend=0.1, slow_drift=0))
    assert "planted signal (trend 0.1 " in one


def test_a_market_with_nothing_to_learn_is_called_that() -> None:
    text = wording.market_nature(market(momentum=0, trend=0, slow_drift=0))
    assert "nothing to learn" in text
    assert "planted" not in text
    assert wording.badge(market()) == "SYNTHETIC MARKET, NOTHING TO LEARN"


def test_a_real_market_is_not_called_synthetic() -> None:
    real = {"synthetic": False, "source": "csv", "name": "BTC-USD", "parameters": {}}
    assert "synthetic" not in wording.market_nature(real)
    assert wording.badge(real) == ""
    assert wording.market_label(real) == "BTC-USD"
    assert wording.market_label(market()) == "S (synthetic market)"


def test_a_model_with_one_answer_is_called_a_constant_position() -> None:
    assert "short in every hour: a constant position" in wording.constant_answer(metrics(0.4, share_short=1.0))
    assert "not a constant position" in wording.constant_answer(metrics(0.4))


def test_invalid_answers_are_counted_for_both_models() -> None:
    text = wording.invalid_answers(metrics(0.1, truncated=2, unparsable=1), 1706)
    assert text == (
        "Invalid answers, traded as HOLD: M (GRPO) 3 of 1,706 (2 truncated, 1 unparsable); M (base) 0 of 1,706."
    )


def test_a_strategy_that_never_traded_has_no_hit_rate_to_show() -> None:
    assert wording.characteristic(metrics(0, hit_rate=None)["strategies"][0], metrics(0)) == "Never held a position"


def test_numbers_are_written_as_people_write_them() -> None:
    assert [percent(0.4963), percent(-0.4756), percent(0.0), percent(-0.000001)] == [
        "+49.63%", "\N{MINUS SIGN}47.56%", "0.00%", "0.00%",
    ]  # fmt: skip
    assert [number(v) for v in (0.04, 1000.0, -10.0, 1e-6)] == ["0.04", "1,000", "\N{MINUS SIGN}10", "1e-06"]
    assert power(4.8e-7).split() == ["5", "x", "10⁻⁷"]
    assert [short_dollars(v) for v in (500, 52_437, 1.5e6)] == ["$500", "$52.44k", "$1.5M"]
