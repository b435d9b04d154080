"""Indicators against numbers worked by hand, and against published ones for RSI."""

from __future__ import annotations

import numpy as np
import pytest

from trading.features import (
    compact_features,
    indicators,
    macd_12_26_9,
    moving_average,
    rsi,
    simple_returns,
    volatility,
)

# Closes of the worked RSI example in StockCharts' ChartSchool ("Relative Strength Index"), and its results.
PUBLISHED_CLOSES = [
    *(44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826),
    *(45.8931, 46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439),
]
PUBLISHED_RSI = [70.53, 66.32, 66.55, 69.41, 66.36, 57.97]


def test_a_return_is_the_relative_change_and_the_first_bar_has_none() -> None:
    np.testing.assert_allclose(simple_returns(np.array([100.0, 110.0, 99.0])), [np.nan, 0.1, -0.1])


def test_a_moving_average_is_the_mean_of_the_last_bars() -> None:
    np.testing.assert_allclose(moving_average(np.array([1.0, 2.0, 6.0, 4.0]), 3), [np.nan, np.nan, 3, 4])


def test_a_moving_average_longer_than_the_market_is_nothing() -> None:
    assert np.isnan(moving_average(np.array([1.0, 2.0]), 3)).all()


def test_rsi_gives_the_published_numbers() -> None:
    values = rsi(np.array(PUBLISHED_CLOSES))
    assert np.isnan(values[:14]).all()
    np.testing.assert_allclose(values[14:], PUBLISHED_RSI, atol=0.05)


def test_rsi_of_two_bars_by_hand() -> None:
    # Changes +2, -1, +4: averages start at up 1, down 0.5 and go to up 2.5, down 0.25.
    np.testing.assert_allclose(rsi(np.array([10.0, 12, 11, 15]), 2), [np.nan, np.nan, 100 / 1.5, 250 / 2.75])


@pytest.mark.parametrize(("step", "expected"), [(1.0, 100.0), (-1.0, 0.0), (0.0, 50.0)])
def test_rsi_ends_at_its_limits_when_all_changes_agree(step: float, expected: float) -> None:
    assert rsi(100 + step * np.arange(30))[-1] == expected


def test_macd_after_two_bars_by_hand() -> None:
    # Averages start at 100 and move 2/13 and 2/27 of the way to 127; the signal moves 1/5 of the way.
    macd, signal = macd_12_26_9(np.array([100.0, 127.0]))
    expected = 27 * (2 / 13 - 2 / 27)
    np.testing.assert_allclose(macd, [0, expected])
    np.testing.assert_allclose(signal, [0, expected / 5])


def test_bollinger_bands_lie_two_population_deviations_from_the_average() -> None:
    last = indicators(np.array([98.0, 102.0] * 10)).iloc[-1]  # mean 100, deviation 2
    assert last["lower"] == pytest.approx(96)
    assert last["upper"] == pytest.approx(104)
    assert last["sma20"] == pytest.approx(100)
    assert last["sma5"] == pytest.approx((3 * 102 + 2 * 98) / 5)


def test_indicators_are_missing_until_there_is_enough_past() -> None:
    missing = indicators(100.0 + np.arange(40)).isna().sum()
    assert missing.to_dict() == {
        **{"return": 1, "sma5": 4, "sma20": 19, "rsi14": 14},
        **{"macd": 0, "signal": 0, "lower": 19, "upper": 19},
    }


def test_volatility_halves_the_weight_of_a_squared_return_in_24_bars() -> None:
    returns = np.zeros(25)
    returns[0] = 0.01
    weights = 0.5 ** (np.arange(25) / 24)  # of the newest to the oldest return
    assert volatility(returns)[-1] == pytest.approx(0.01 * np.sqrt(0.5 / weights.sum()))


def test_a_move_is_measured_by_the_volatility_of_the_bar_before() -> None:
    # All returns are 1% up or down, so the volatility is 1%; then one of 3%.
    close = 100 * np.cumprod([1.0, *[1.01, 0.99] * 30, 1.03])
    features = compact_features(close)
    assert features["move"].iloc[-1] == pytest.approx(3.0)
    assert features["move"].iloc[-2] == pytest.approx(-1.0)
    assert features["volatility_ratio"].iloc[-2] == pytest.approx(1.0)


def test_a_price_that_stands_still_gives_zeros_and_no_division_error() -> None:
    features = compact_features(np.full(60, 123.45))
    assert (features.iloc[-1] == [0, 0, 50, 0]).all()
