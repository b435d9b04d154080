"""Indicators from closes, by their usual definitions. Row t uses bars up to t only."""

from __future__ import annotations

import numpy as np
import pandas as pd

# Half-life, in bars, of the weights of squared returns in the volatility.
VOLATILITY_HALF_LIFE = 24
# Below this volatility per bar (a millionth of a percent) a price stands still, and a ratio to it is noise.
STILL = 1e-8


def indicators(close: np.ndarray) -> pd.DataFrame:
    """The indicators that a report shows.

    Definitions: Wilder, New Concepts in Technical Trading Systems (1978) for RSI; Appel for MACD; Bollinger
    with the population standard deviation. Prices are in units of `close`.

    Parameters
    ----------
    close
        Closing prices, shape (bars,).

    Returns
    -------
    pandas.DataFrame
        One row a bar; columns `return` (simple, a fraction), `sma5`, `sma20`, `rsi14` (0 to 100), `macd` and
        `signal` (12, 26, 9), `lower`, `upper` (20 bars, 2 standard deviations). NaN where the past is short.
    """
    sma20 = moving_average(close, 20)
    deviation = _windows(close, 20).std(axis=1)
    deviation = np.concatenate([np.full(len(close) - len(deviation), np.nan), deviation])
    macd, signal = macd_12_26_9(close)
    return pd.DataFrame(
        {
            "return": simple_returns(close),
            "sma5": moving_average(close, 5),
            "sma20": sma20,
            "rsi14": rsi(close),
            "macd": macd,
            "signal": signal,
            "lower": sma20 - 2 * deviation,
            "upper": sma20 + 2 * deviation,
        }
    )


def compact_features(close: np.ndarray, recent: int = 10) -> pd.DataFrame:
    """What a compact prompt is made of; all numbers are free of the price's unit.

    Parameters
    ----------
    close
        Closing prices, shape (bars,).
    recent
        Bars that count as recent for `volatility_ratio`.

    Returns
    -------
    pandas.DataFrame
        One row a bar; columns `move` (return in units of the volatility known one bar before), `trend` (SMA5
        / SMA20 - 1 in units of the volatility of 20 bars), `rsi` (14), `volatility_ratio` (root mean square
        of the recent returns / volatility). NaN where the past is too short.
    """
    returns = simple_returns(close)
    sigma = volatility(returns)
    before = np.concatenate([[np.nan], sigma[:-1]])
    trend = moving_average(close, 5) / moving_average(close, 20) - 1
    rms = np.sqrt(moving_average(returns**2, recent))
    return pd.DataFrame(
        {
            "move": _ratio(returns, before),
            "trend": _ratio(trend, sigma * np.sqrt(20)),
            "rsi": rsi(close),
            "volatility_ratio": _ratio(rms, sigma),
        }
    )


def simple_returns(close: np.ndarray) -> np.ndarray:
    """``close[t] / close[t-1] - 1``, shape (bars,); the first is NaN."""
    return np.concatenate([[np.nan], close[1:] / close[:-1] - 1])


def moving_average(values: np.ndarray, bars: int) -> np.ndarray:
    """Mean of the last `bars` values, shape as `values`; NaN where there are fewer.

    Each mean is taken afresh, not carried along: what has left the window leaves no rounding error behind.
    """
    means = _windows(values, bars).mean(axis=1)
    return np.concatenate([np.full(len(values) - len(means), np.nan), means])


def volatility(returns: np.ndarray) -> np.ndarray:
    """Root of the exponentially weighted mean of squared returns, per bar, shape as `returns`."""
    squares = pd.Series(returns) ** 2
    return np.sqrt(squares.ewm(halflife=VOLATILITY_HALF_LIFE).mean().to_numpy())


def rsi(close: np.ndarray, bars: int = 14) -> np.ndarray:
    """Wilder's relative strength index, 0 to 100, shape as `close`; 50 where the price has not moved.

    The first averages are simple ones over `bars` changes; from there ``average += (new - average) / bars``.
    """
    change = np.diff(close)
    up = _wilder_average(np.maximum(change, 0), bars)
    down = _wilder_average(np.maximum(-change, 0), bars)
    total = up + down
    index = np.where(total > 0, 100 * up / np.where(total > 0, total, 1), 50.0)
    index = np.where(np.isnan(total), np.nan, index)
    return np.concatenate([np.full(len(close) - len(index), np.nan), index])


def macd_12_26_9(close: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """MACD line and its signal line, in price units, shape as `close`; averages start at the first value."""
    prices = pd.Series(close)
    macd = _exponential_average(prices, 12) - _exponential_average(prices, 26)
    return macd.to_numpy(), _exponential_average(macd, 9).to_numpy()


def _exponential_average(values: pd.Series, span: int) -> pd.Series:
    return values.ewm(span=span, adjust=False).mean()


def _wilder_average(values: np.ndarray, bars: int) -> np.ndarray:
    """Wilder's smoothing, shape as `values`; NaN for the first ``bars - 1``."""
    if len(values) < bars:
        return np.full(len(values), np.nan)
    seeded = np.concatenate([[values[:bars].mean()], values[bars:]])
    smooth = pd.Series(seeded).ewm(alpha=1 / bars, adjust=False).mean().to_numpy()
    return np.concatenate([np.full(bars - 1, np.nan), smooth])


def _windows(values: np.ndarray, bars: int) -> np.ndarray:
    """All runs of `bars` values, shape (len(values) - bars + 1, bars); none if there are too few values."""
    if len(values) < bars:
        return np.empty((0, bars))
    return np.lib.stride_tricks.sliding_window_view(values, bars)


def _ratio(values: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """``values / sigma``; 0 where the price stood still."""
    still = sigma < STILL
    return np.where(still, 0.0, values / np.where(still, 1.0, sigma))
