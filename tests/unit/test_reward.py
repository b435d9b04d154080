"""The study's reward by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading.reward import reward

PRICE = st.floats(1e-3, 1e6)


def test_buying_a_rise_of_one_percent_earns_ten_and_a_little() -> None:
    assert reward("BUY", 100.0, 101.0) == pytest.approx(10.01)
    assert reward("SELL", 100.0, 101.0) == pytest.approx(-9.99)


def test_selling_a_fall_of_one_percent_earns_ten_and_a_little() -> None:
    assert reward("SELL", 200.0, 198.0) == pytest.approx(10.01)
    assert reward("BUY", 200.0, 198.0) == pytest.approx(-9.99)


def test_no_decision_gets_the_penalty_whatever_the_price_did() -> None:
    assert reward("HOLD", 100.0, 50.0) == -0.5
    assert reward("HOLD", 100.0, 150.0, invalid=-20) == -20.0


def test_scale_and_the_reward_for_validity_are_settings() -> None:
    assert reward("BUY", 100.0, 101.0, scale=100.0, valid=0.5) == pytest.approx(1.5)


def test_a_decision_of_another_name_is_a_mistake_in_the_program() -> None:
    with pytest.raises(ValueError, match="'Buy' is none of"):
        reward("Buy", 100.0, 101.0)


@given(PRICE, PRICE)
def test_both_directions_add_up_to_twice_the_reward_for_validity(current: float, after: float) -> None:
    total = reward("BUY", current, after) + reward("SELL", current, after)
    assert math.isclose(total, 0.02, abs_tol=1e-12 * 1000 * (1 + after / current))
