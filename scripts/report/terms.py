"""The terms of trade as people read them: costs, latency, margin, sizing. Pure functions of metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from report.theme import number, plural, share, times

# What an older metrics.json, which has no terms, was computed with.
FREE: dict[str, Any] = {
    "fee_bps": 0.0,
    "slippage_bps": 0.0,
    "funding_long_bps": 0.0,
    "funding_short_bps": 0.0,
    "latency": 0,
    "maintenance_margin": 0.0,
    "sizing": "rebalanced",
    "hold": "flat",
}


def terms_of(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Every term, from metrics.json."""
    return FREE | {"sizing": metrics.get("sizing", "rebalanced")} | metrics.get("terms", {})


def side_cost(terms: Mapping[str, Any]) -> float:
    """Fee and slippage together, basis points a side."""
    return terms["fee_bps"] + terms["slippage_bps"]


def is_free(terms: Mapping[str, Any]) -> bool:
    """Whether neither trading nor holding costs anything."""
    return not (side_cost(terms) or has_funding(terms))


def is_ideal(terms: Mapping[str, Any]) -> bool:
    """Whether nothing costs and every order is filled at once."""
    return is_free(terms) and not terms["latency"]


def short(metrics: Mapping[str, Any]) -> str:
    """Costs and latency for the line below a figure's title."""
    terms = terms_of(metrics)
    parts = ["no trading costs"] if is_free(terms) else []
    if side_cost(terms):
        parts.append(f"costs {number(side_cost(terms))} bp a side")
    if has_funding(terms):
        both = " / ".join(number(terms[f"funding_{side}_bps"]) for side in ("long", "short"))
        parts.append(f"funding {both} bp an hour (long / short)")
    if terms["latency"]:
        parts.append(f"filled {plural(terms['latency'], 'hour')} late")
    return ", ".join(parts)


def in_full(metrics: Mapping[str, Any]) -> str:
    """Leverage, sizing, costs, latency, margin and what HOLD does."""
    terms = terms_of(metrics)
    leverage = times(metrics["leverage"])
    restored = f"{leverage} restored every hour"
    parts = [f"leverage {restored if terms['sizing'] == 'rebalanced' else f'{leverage} at entry, the units then held'}"]
    if is_ideal(terms):
        parts.append("idealised execution: no costs, no latency")
    else:
        parts += [costs(terms), latency(terms)]
    margin = terms["maintenance_margin"]
    if margin:
        parts.append(f"liquidation at {share(margin)} of the notional")
    parts.append("HOLD keeps the position" if terms["hold"] == "keep" else "HOLD is flat")
    return "; ".join(parts)


def fields(metrics: Mapping[str, Any]) -> list[str]:
    """The terms' fields of which ``in_full`` and ``caution`` show a number, in their order, then those of words."""
    if "terms" not in metrics:
        return ["words(sizing)"]
    terms = terms_of(metrics)
    names = [] if is_free(terms) else ["fee_bps", "slippage_bps"]
    names += ["funding_long_bps", "funding_short_bps"] if has_funding(terms) else []
    names += [name for name in ("latency", "maintenance_margin") if terms[name]]
    return [*(f"terms.{name}" for name in names), "words(terms)"]


def has_funding(terms: Mapping[str, Any]) -> bool:
    """Whether holding costs or earns anything."""
    return bool(terms["funding_long_bps"] or terms["funding_short_bps"])


def costs(terms: Mapping[str, Any]) -> str:
    """What trading and holding costs."""
    if is_free(terms):
        return "no costs"
    fee, slippage, long, short_side = (
        number(terms[name]) for name in ("fee_bps", "slippage_bps", "funding_long_bps", "funding_short_bps")
    )
    text = f"fee {fee} and slippage {slippage} basis points a side"
    if has_funding(terms):
        text += f", funding {long} (long) and {short_side} (short) basis points an hour"
    return text


def latency(terms: Mapping[str, Any]) -> str:
    """When orders are filled."""
    if not terms["latency"]:
        return "no latency"
    return f"orders filled {plural(terms['latency'], 'hour')} after the decision"


def caution(metrics: Mapping[str, Any]) -> str:
    """What the terms leave out, to be read beside a result."""
    terms = terms_of(metrics)
    if is_ideal(terms):
        return "It is one path of prices, without trading costs, each order filled at the close that it was decided on."
    return f"It is one path of prices, traded with {costs(terms)}, {latency(terms)}."
