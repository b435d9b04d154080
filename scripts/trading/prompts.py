"""Prompts from features: `report` for a real Qwen3, `compact` for the tiny model of the demo."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

from trading.answers import BUY, SELL

if TYPE_CHECKING:
    from trading.bars import Bars

STYLES = ("compact", "report")

# Bars before the decision bar that a prompt depends on: so many first bars make no sample, and the embargo
# between the splits is one longer. Simple averages reach back 20 bars at most; exponential ones never end,
# and bars further back than this keep a small share of the weight. report: 2.0% (MACD's signal line; MACD
# 1.2%, Wilder's RSI 0.8%); compact: 3.1% (squared returns in the volatility; 4.2% for the oldest move shown).
LOOK_BACK = {"report": 64, "compact": 120}
# The largest of these shares, by style.
TAIL = {"report": 0.020, "compact": 0.042}

# Last bars that a prompt shows one by one.
SHOWN = 10

# Compact words: letters or punctuation only, each used by one feature, so that a byte-level BPE of a few
# hundred entries makes one token of each.
VOLATILITY = ("calm", "normal", "wild")
RSI = ("oversold", "low", "neutral", "high", "overbought")
TREND = ("plunging", "sinking", "flat", "climbing", "soaring")
MOVES = ("---", "--", "-", "=", "+", "++", "+++")
RATIONALE = (("rising", "falling", "mixed"), ("strong", "weak"), ("trend", "quiet", "stormy"))
ANSWER = {BUY: "Buy", SELL: "Sell"}
# Everything that a compact prompt and its answer consist of, but for the tags of the answer.
COMPACT_WORDS = (
    *VOLATILITY,
    *RSI,
    *TREND,
    "moves",
    *MOVES,
    *(word for words in RATIONALE for word in words),
    *ANSWER.values(),
)

# Where one word ends and the next begins; a value on the edge belongs to the upper word.
VOLATILITY_EDGES = (0.8, 1.1)  # root mean square of the last 10 returns / exponentially weighted volatility
RSI_EDGES = (35.0, 45.0, 55.0, 65.0)
TREND_EDGES = (-0.25, -0.08, 0.08, 0.25)  # (SMA5 / SMA20 - 1) / volatility of 20 bars
MOVE_EDGES = (-1.3, -0.7, -0.2, 0.2, 0.7, 1.3)  # return / volatility of the bar before

# Numbers are rounded here before they are sorted into words or printed: scaling all prices by a factor
# changes the last bits of a ratio, and must not change a word.
_NOISE_DECIMALS = 9

_RELATIVE = "Prices are relative: the latest close is 100."
_INSTRUCTION = """\
You are trading one asset. At the close of the latest bar you take a position for exactly one bar: \
Buy earns the return of the next bar, Sell earns its opposite. There is no third choice.

{bars}

Indicators at the latest close:
{indicators}

{units}
Think about what the data say about the next bar. When you are done thinking, give your decision as exactly \
one of these two, with nothing behind it:
<answer>Buy</answer>
<answer>Sell</answer>"""


def build_prompts(bars: Bars, style: str, mask: bool = True) -> list[str]:
    """User messages for every bar that has enough past.

    Parameters
    ----------
    bars
        The market.
    style
        `compact` (words only, nothing to mask) or `report` (a table and indicators).
    mask
        In a report, give prices relative to the latest close (100) and bars by age; otherwise prices and
        times as they are.

    Returns
    -------
    list of str
        Entry i belongs to bar ``LOOK_BACK[style] + i`` and depends on that bar and earlier ones only. Empty
        if there are not more than ``LOOK_BACK[style]`` bars.
    """
    if style not in STYLES:
        raise ValueError(f"prompt style {style!r} is none of {', '.join(STYLES)}")
    if len(bars.close) <= LOOK_BACK[style]:
        return []
    return _compact(bars) if style == "compact" else _report(bars, mask)


def _compact(bars: Bars) -> list[str]:
    from trading.features import compact_features  # pandas: 0.7 s that users of the words need not pay

    features = compact_features(bars.close, SHOWN)
    volatility = _words(features["volatility_ratio"], VOLATILITY_EDGES, VOLATILITY)
    rsi = _words(features["rsi"], RSI_EDGES, RSI)
    trend = _words(features["trend"], TREND_EDGES, TREND)
    moves = _words(features["move"], MOVE_EDGES, MOVES)
    return [
        f"{volatility[t]} {rsi[t]} {trend[t]} moves {' '.join(moves[t - SHOWN + 1 : t + 1])}"
        for t in range(LOOK_BACK["compact"], len(bars.close))
    ]


def _words(values: np.ndarray, edges: tuple[float, ...], words: tuple[str, ...]) -> list[str]:
    """The word of each value; values in the warm-up (NaN) get the last word, which nobody reads."""
    return [words[i] for i in np.digitize(np.round(values, _NOISE_DECIMALS), edges)]


def _report(bars: Bars, mask: bool) -> list[str]:
    from trading.bars import format_times
    from trading.features import indicators

    values = {name: column.to_numpy() for name, column in indicators(bars.close).items()}
    times = None if mask else format_times(bars.time)
    units = _RELATIVE if mask else "Prices are in the asset's currency."
    prompts = []
    for t in range(LOOK_BACK["report"], len(bars.close)):
        unit = 100.0 / bars.close[t] if mask else 1.0
        prompts.append(
            _INSTRUCTION.format(
                bars=_table(bars.close, values["return"], t, unit, times),
                indicators=_indicators(values, t, unit),
                units=units,
            )
        )
    return prompts


def _table(close: np.ndarray, returns: np.ndarray, t: int, unit: float, times: list[str] | None) -> str:
    """The last bars, oldest first: when, close, return."""
    shown = range(t - SHOWN + 1, t + 1)
    labels = [times[i] if times else _age(t - i) for i in shown]
    lines = [f"The last {SHOWN} bars, oldest first ({'time' if times else 'age'}, close, change):"]
    lines += [
        f"{label}: {_number(close[i] * unit)}, {_number(100 * returns[i], '+')}%"
        for label, i in zip(labels, shown, strict=True)
    ]
    return "\n".join(lines)


def _age(bars_ago: int) -> str:
    return "latest" if bars_ago == 0 else f"{bars_ago} ago"


def _indicators(values: dict[str, np.ndarray], t: int, unit: float) -> str:
    """The indicators at bar t, prices in multiples of `unit`."""
    price = {name: _number(values[name][t] * unit) for name in ("sma5", "sma20", "lower", "upper")}
    return "\n".join(
        [
            f"SMA(5): {price['sma5']}, SMA(20): {price['sma20']}",
            f"RSI(14): {_number(values['rsi14'][t])}",
            f"MACD(12, 26): {_number(values['macd'][t] * unit, '+')}, "
            f"signal(9): {_number(values['signal'][t] * unit, '+')}",
            f"Bollinger(20, 2): lower {price['lower']}, upper {price['upper']}",
        ]
    )


def _number(value: float, sign: str = "") -> str:
    """Two decimals, never a negative zero."""
    return f"{round(float(value), _NOISE_DECIMALS):{sign}z.2f}"


def style_of(prompt: str) -> str:
    """The style of a prompt: a compact one has no words but its own."""
    return "compact" if set(prompt.split(" ")) <= set(COMPACT_WORDS) else "report"


def hides_prices(prompt: str) -> bool:
    """Whether a prompt shows no price as it was: a compact one, or a report of relative ones."""
    return style_of(prompt) == "compact" or _RELATIVE in prompt.split("\n")


def random_compact_prompt(rng: random.Random) -> str:
    """A compact prompt of words drawn evenly: for a warm-up that has seen no market."""
    words = [rng.choice(VOLATILITY), rng.choice(RSI), rng.choice(TREND), "moves"]
    return " ".join(words + [rng.choice(MOVES) for _ in range(SHOWN)])


def compact_rationale(prompt: str) -> str:
    """Three true words about a compact prompt, from what it says itself: direction, strength, state.

    rising, falling or mixed: sign of the sum of the last three moves (each -3 to 3); strong: beyond 4 either
    way; trend: the averages plunge or soar, else stormy when volatility is wild, else quiet.
    """
    words = prompt.split(" ")
    if len(words) != 4 + SHOWN or words[3] != "moves" or not set(words) <= set(COMPACT_WORDS):
        raise ValueError(f"not a compact prompt: {prompt!r}")
    recent = sum(MOVES.index(word) - 3 for word in words[-3:])
    direction = "rising" if recent > 0 else "falling" if recent < 0 else "mixed"
    strength = "strong" if abs(recent) > 4 else "weak"
    extreme = words[2] in (TREND[0], TREND[-1])
    state = "trend" if extreme else "stormy" if words[0] == "wild" else "quiet"
    return f"{direction} {strength} {state}"


def compact_answer(prompt: str, decision: str) -> str:
    """A complete answer to a compact prompt, as the warm-up teaches it.

    Parameters
    ----------
    prompt
        A compact prompt.
    decision
        BUY or SELL.
    """
    return f"<think>{compact_rationale(prompt)}</think><answer>{ANSWER[decision]}</answer>"
