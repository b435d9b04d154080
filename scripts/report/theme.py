"""Colours and number formats that the figures and the slides share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Okabe and Ito's palette, which stays apart for the common kinds of colour blindness.
BLUE, GREEN, VERMILLION, PURPLE, ORANGE = "#0072B2", "#009E73", "#D55E00", "#AA5A8C", "#E69F00"
INK, MUTED, LINE, PANEL, WHITE = "#14213D", "#5B6577", "#C9D0DB", "#F2F5F9", "#FFFFFF"

STRATEGY = {"trained": BLUE, "base": PURPLE, "always_buy": GREEN, "always_sell": VERMILLION}
# Under this name a picture says which metrics.json it shows; deck refuses a picture of another one.
METRICS_KEY = "Metrics-SHA256"
# And of which evidence.json, where it shows that.
EVIDENCE_KEY = "Evidence-SHA256"
DECISION = {"BUY": GREEN, "SELL": VERMILLION, "HOLD": LINE}


def span(bounds: Sequence[float] | None, form: Callable[[float], str]) -> str:
    """An interval: +1.2% to +5.4%; empty if there is none."""
    return f"{form(bounds[0])} to {form(bounds[1])}" if bounds else ""


def percent(fraction: float, digits: int = 2) -> str:
    """A gain or loss with its sign: 0.4963 is +49.63%."""
    text = f"{100 * fraction:+,.{digits}f}%"
    return text.replace("-", "\N{MINUS SIGN}") if float(text.rstrip("%").replace(",", "")) else text[1:]


def decimals(value: float) -> str:
    """Two digits behind the point; a true minus."""
    return f"{value:,.2f}".replace("-", "\N{MINUS SIGN}")


def points(value: float) -> str:
    """A fraction in basis points with its sign."""
    return f"{1e4 * value:+,.2f}".replace("-", "\N{MINUS SIGN}")


def tenth(value: float) -> str:
    """A return to a tenth of a per cent."""
    return percent(value, 1)


def multiple(value: float) -> str:
    """A ratio of end capitals: 1.19x, 55.1x; what is beyond all measure only as that."""
    if value < 0.001:
        return "<0.001x"
    if value >= 1e6:
        return ">1,000,000x"
    return f"{value:.3g}x" if value < 1000 else f"{value:,.0f}x"


def share(fraction: float, digits: int = 1) -> str:
    """A part of a whole: 0.531 is 53.1%."""
    return f"{100 * fraction:.{digits}f}%"


def dollars(amount: float) -> str:
    """Whole dollars: $149,632."""
    return f"${amount:,.0f}"


def short_dollars(amount: float, _position: object = None) -> str:
    """Dollars for the tick of an axis: $50k, $1.5M."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(amount) >= limit:
            scale = 1e3 if unit == "k" else limit
            return f"${amount / scale:,.4g}{unit}"
    return f"${amount:,.4g}"


def times(leverage: float) -> str:
    """Leverage as people say it: 2x, 2.5x."""
    return f"{leverage:g}x"


def number(value: float) -> str:
    """A setting, without needless digits: 0.04, 1,000, -0.5."""
    text = f"{value:,.0f}" if float(value).is_integer() else f"{value:.6g}"
    return f"\N{MINUS SIGN}{text[1:]}" if text.startswith("-") else text


def power(value: float) -> str:
    """A very small number to one digit: 5 x 10^-7, as print sets it."""
    digit, exponent = f"{value:.0e}".split("e")
    gap = "\N{NO-BREAK SPACE}"
    return f"{digit}{gap}x{gap}10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def plural(count: int, noun: str) -> str:
    """1 trial, 15 trials."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def day(timestamp: str) -> str:
    """The date of an ISO 8601 time."""
    return timestamp[:10]


def moment(timestamp: str) -> str:
    """The date and hour of an ISO 8601 time in UTC."""
    return f"{timestamp[:10]} {timestamp[11:16]} UTC"


def market_heading(market: Mapping[str, Any], longest: int = 60) -> str:
    """What a figure calls its market: its name, and in capitals that it is synthetic."""
    if not market["synthetic"]:
        return f"Market: {clipped(market['name'], longest)}"
    says_no_more = market["name"].lower() in ("synthetic", "synthetic market")
    return "SYNTHETIC MARKET" if says_no_more else f"SYNTHETIC MARKET: {clipped(market['name'], longest)}"


def clipped(text: str, length: int, tail: int = 0) -> str:
    """`text` of at most `length` characters: a longer one loses what stands before its last `tail` ones."""
    if len(text) <= length:
        return text
    return f"{text[: length - tail - 1].rstrip()}…{text[len(text) - tail :]}"
