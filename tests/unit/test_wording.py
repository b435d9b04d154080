"""Sentences follow from the numbers, for every order of the strategies, and claim nothing more."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from report import terms, wording
from report.theme import number, percent, plural, power, short_dollars

CLAIMS = re.compile(r"alpha|\bedge|skill|outperform|significant|prov(e|es|ed|en)\b|guarantee", re.IGNORECASE)


def metrics(trained: float, buy: float = -0.4756, sell: float = 0.4963, **changes: Any) -> dict[str, Any]:
    """Metrics with these total returns."""
    labels = {"trained": "M (GRPO)", "base": "M (base)", "always_buy": "Always Buy", "always_sell": "Always Sell"}
    returns = {"trained": trained, "base": -0.1, "always_buy": buy, "always_sell": sell}
    common = {"max_drawdown": -0.2, "trades": 10, "share_long": 0.4, "share_short": 0.6, "share_flat": 0.0}
    common |= {"hit_rate": 0.51, "finished": 0, "truncated": 0, "unparsable": 0}
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


def test_crumbs_of_different_sizes_are_all_nothing() -> None:
    found = metrics(-0.9999999, -0.99999, -0.999999, final_capital=0.01)
    assert wording.headline(found).startswith("M (GRPO) lost all of its capital")
    assert wording.against_constants(found).startswith("It ended level with Always Buy")
    assert wording.characteristic(found["strategies"][2], found).endswith("; wiped out")


def test_a_liquidated_strategy_says_so_first_and_where_it_ended() -> None:
    found = metrics(-0.9, liquidated="2025-01-04T07:00:00Z")
    assert wording.headline(found) == (
        "M (GRPO) was liquidated and ended at \N{MINUS SIGN}90.00% while the market fell 25.40%."
    )
    row = found["strategies"][0]
    assert wording.characteristic(row, found, "Cannot be told from chance (p = 0.40)") == (
        "Liquidated on 2025-01-04 07:00 UTC; cannot be told from chance (p = 0.40); long 40.0%, short 60.0%; "
        "10 trades; right in 51.0% of hours"
    )
    always = found["strategies"][2] | {"liquidated": "2025-01-04T07:00:00Z"}
    assert "Liquidated on 2025-01-04 07:00 UTC; long until then in a falling" in wording.characteristic(always, found)


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
    liquidated=st.sampled_from([None, "2025-01-04T07:00:00Z"]),
    costs=st.sampled_from([0.0, 2.5]),
    latency=st.sampled_from([0, 1]),
)
def test_no_sentence_claims_more_than_the_numbers_bear(
    trained: float, buy: float, sell: float, change: float, momentum: float, hits: float | None,
    liquidated: str | None, costs: float, latency: int,
) -> None:  # fmt: skip
    found = metrics(trained, buy, sell, hit_rate=hits, liquidated=liquidated)
    found["market"]["return"] = change
    found["terms"] = {"fee_bps": costs, "funding_long_bps": costs, "latency": latency, "hold": "keep"}
    sentences = [
        wording.headline(found),
        wording.against_constants(found),
        wording.against_base(found),
        wording.constant_answer(found),
        wording.invalid_answers(found, 1706),
        terms.caution(found),
        terms.in_full(found),
        terms.short(found),
        wording.market_nature(market(momentum=momentum)),
        *(wording.characteristic(row, found) for row in found["strategies"]),
    ]
    assert not [sentence for sentence in sentences if CLAIMS.search(sentence)]


def test_the_control_of_the_claims_finds_the_published_wording() -> None:
    assert CLAIMS.search("High alpha: profitable in a -48% market")


# Terms of trade -------------------------------------------------------------------------------------------


def test_terms_without_costs_and_latency_are_called_idealised() -> None:
    assert terms.in_full(metrics(0.1)) == (
        "leverage 2x restored every hour; idealised execution: no costs, no latency; HOLD is flat"
    )
    assert terms.short(metrics(0.1)) == "no trading costs"
    assert "without trading costs" in terms.caution(metrics(0.1))


@given(
    name=st.sampled_from(["fee_bps", "slippage_bps", "funding_long_bps", "funding_short_bps", "latency"]),
    value=st.integers(1, 50),
)
def test_any_cost_and_any_latency_ends_the_ideal(name: str, value: int) -> None:
    found = metrics(0.1) | {"terms": {name: value}}
    for text in (terms.in_full(found), terms.caution(found)):
        assert "idealised" not in text
        assert "without trading costs, each order" not in text
        assert f"{value}" in text
    assert f"{value}" in terms.short(found)


def test_margin_sizing_and_hold_are_said() -> None:
    found = metrics(0.1) | {"terms": {"sizing": "fixed", "maintenance_margin": 0.02, "hold": "keep"}}
    assert terms.in_full(found) == (
        "leverage 2x at entry, the units then held; idealised execution: no costs, no latency; "
        "liquidation at 2.0% of the notional; HOLD keeps the position"
    )
    assert "no costs" in terms.costs(terms.FREE)


# The market -----------------------------------------------------------------------------------------------


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


def test_answers_that_a_second_pass_finished_are_said_beside_them() -> None:
    found = metrics(0.1, truncated=2, unparsable=1, finished=1200)
    assert "3 of 1,706 (2 truncated, 1 unparsable), 1,200 more cut and finished in a second pass; M (base) 0 of" in (
        wording.invalid_answers(found, 1706)
    )
    assert wording.invalid_count(found["strategies"][0], 1706, detailed=False) == "3 of 1,706, 1,200 finished"


def test_a_strategy_that_never_traded_has_no_hit_rate_to_show() -> None:
    assert wording.characteristic(metrics(0, hit_rate=None)["strategies"][0], metrics(0)) == "Never held a position"


def test_numbers_are_written_as_people_write_them() -> None:
    assert [percent(0.4963), percent(-0.4756), percent(0.0), percent(-0.000001)] == [
        "+49.63%", "\N{MINUS SIGN}47.56%", "0.00%", "0.00%",
    ]  # fmt: skip
    assert [number(v) for v in (0.04, 1000.0, -10.0, 1e-6)] == ["0.04", "1,000", "\N{MINUS SIGN}10", "1e-06"]
    assert [plural(count, "trade") for count in (0, 1, 1706)] == ["0 trades", "1 trade", "1,706 trades"]
    assert power(4.8e-7).split() == ["5", "x", "10⁻⁷"]
    assert [short_dollars(v) for v in (500, 52_437, 1.5e6)] == ["$500", "$52.44k", "$1.5M"]
