"""What the slides say about a result: sentences that follow from the numbers, and no more than they bear.

Pure functions of metrics.json and market/summary.json. Whether a result differs from chance is not for these
numbers to say, so no sentence here claims it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from report.theme import dollars, number, percent, share, times

Metrics = Mapping[str, Any]
Strategy = Mapping[str, Any]

CONSTANT = ("always_buy", "always_sell")
SIGNAL = {"momentum": "synthetic_momentum", "trend": "synthetic_trend", "slow drift": "synthetic_slow_drift"}


def strategy(metrics: Metrics, key: str) -> Strategy:
    """One strategy's row of metrics.json."""
    return next(row for row in metrics["strategies"] if row["key"] == key)


def headline(metrics: Metrics) -> str:
    """What the model returned while the market did what."""
    trained = strategy(metrics, "trained")
    return f"{trained['label']} {returned(trained)} while the market {moved(metrics['market']['return'])}."


def returned(row: Strategy) -> str:
    """What a strategy earned, in words."""
    if row["final_capital"] == 0:
        return "lost all of its capital"
    return f"returned {percent(row['total_return'])}"


def moved(total_return: float) -> str:
    """What a price did, in words."""
    size = share(abs(total_return), 2)
    if float(size.rstrip("%")) == 0:
        return "ended where it began"
    return f"{'rose' if total_return > 0 else 'fell'} {size}"


def better_constants(metrics: Metrics) -> list[Strategy]:
    """The constant positions that ended with more capital than the trained model, best first."""
    capital = strategy(metrics, "trained")["final_capital"]
    rows = [strategy(metrics, key) for key in CONSTANT]
    return sorted((r for r in rows if r["final_capital"] > capital), key=lambda r: -r["final_capital"])


def against_constants(metrics: Metrics) -> str:
    """Which constant positions beat the model, by name, and which did not."""
    trained = strategy(metrics, "trained")
    rows = sorted((strategy(metrics, key) for key in CONSTANT), key=lambda r: -r["final_capital"])
    groups = (
        ("{} beat it.", better_constants(metrics)),
        ("It ended level with {}.", [r for r in rows if r["final_capital"] == trained["final_capital"]]),
        ("It ended above {}.", [r for r in rows if r["final_capital"] < trained["final_capital"]]),
    )
    return " ".join(form.format(listed(group)) for form, group in groups if group)


def listed(rows: Sequence[Strategy]) -> str:
    """Always Sell (+49.63%) and Always Buy (-47.56%)."""
    return " and ".join(f"{row['label']} ({percent(row['total_return'])})" for row in rows)


def against_base(metrics: Metrics) -> str:
    """What the same model earned before the training."""
    base = strategy(metrics, "base")
    return f"Before training, {base['label']} {returned(base)} on the same hours."


def constant_answer(metrics: Metrics) -> str:
    """Whether the model took sides at all: a model with one answer is a constant position itself."""
    row = strategy(metrics, "trained")
    for name, side in (("share_long", "long"), ("share_short", "short"), ("share_flat", "flat")):
        if row[name] == 1:
            return f"It was {side} in every hour: a constant position itself."
    return (
        f"It was long in {share(row['share_long'])} and short in {share(row['share_short'])} of the hours: "
        "not a constant position."
    )


def untested() -> str:
    """What no number of this run can answer."""
    return (
        "Whether this differs from chance has not been tested in this run. It is one path of prices, without trading "
        "costs, each order filled at the very close that it was decided on."
    )


def next_step() -> str:
    """What a result of this kind calls for."""
    return "Before paper trading: trading costs, later fills, and a test against positions taken at random."


def invalid_answers(metrics: Metrics, samples: int) -> str:
    """How many answers gave no decision, and how they were traded."""
    parts = []
    for key in ("trained", "base"):
        row = strategy(metrics, key)
        parts.append(f"{row['label']} {invalid_count(row, samples)}")
    policy = metrics["parameters"]["invalid"]
    return f"Invalid answers, traded as {policy}: {'; '.join(parts)}."


def invalid_count(row: Strategy, samples: int, detailed: bool = True) -> str:
    """3 of 1,706, and in detail (2 truncated, 1 unparsable)."""
    truncated, unparsable = row["truncated"], row["unparsable"]
    text = f"{truncated + unparsable:,} of {samples:,}"
    if detailed and truncated + unparsable:
        text += f" ({truncated:,} truncated, {unparsable:,} unparsable)"
    return text


def market_nature(market: Mapping[str, Any]) -> str:
    """What kind of market it is, and what a result on it can mean.

    Parameters
    ----------
    market
        market/summary.json; of a synthetic one, its parameters say whether a signal was planted.
    """
    if not market["synthetic"]:
        origin = "a file" if market["source"] == "csv" else f"a {market['source']}"
        return f"The market is {market['name']}, read from {origin}: one period of it, and none of its trading costs."
    planted = signal(market)
    if planted:
        strengths = ", ".join(f"{name} {number(value)}" for name, value in planted.items())
        return (
            f"The market is synthetic, with a planted signal ({strengths} of an hour's volatility): a gain shows that "
            "the pipeline can learn a signal that is there, and nothing about real markets."
        )
    return (
        "The market is synthetic, with nothing to learn (momentum, trend and slow drift are 0): "
        "its past says nothing about the direction of the next hour."
    )


def signal(market: Mapping[str, Any]) -> dict[str, float]:
    """The strengths of a synthetic market's drifts that are not zero, by name."""
    strengths = {name: market["parameters"].get(key, 0) for name, key in SIGNAL.items()}
    return {name: value for name, value in strengths.items() if value}


def badge(market: Mapping[str, Any]) -> str:
    """What must not be overlooked on any slide with a result; nothing on a real market."""
    if not market["synthetic"]:
        return ""
    return f"SYNTHETIC MARKET, {'PLANTED SIGNAL' if signal(market) else 'NOTHING TO LEARN'}"


def calibration(market: Mapping[str, Any]) -> str:
    """What the constant positions were made to earn, if they were; else nothing."""
    facts = market.get("calibration")
    if not facts:
        return ""
    return (
        f"By construction, over its last {facts['hours']:,} hours Always Buy and Always Sell at "
        f"{times(facts['leverage'])} end at {dollars(facts['buy_capital'])} and {dollars(facts['sell_capital'])}."
    )


def market_label(market: Mapping[str, Any]) -> str:
    """The market's name, called synthetic if it is and does not say so itself."""
    name = market["name"]
    if market["synthetic"] and "synthetic" not in name.lower():
        return f"{name} (synthetic market)"
    return name


def characteristic(row: Strategy, metrics: Metrics) -> str:
    """What marks a strategy, for the last column of the results table."""
    if row["hit_rate"] is None:
        return "Never held a position"
    if row["key"] in CONSTANT:
        side = "Long" if row["key"] == "always_buy" else "Short"
        start = f"{side} in every hour of a {'falling' if metrics['market']['return'] < 0 else 'rising'} market"
    else:
        sides = f"Long {share(row['share_long'])}, short {share(row['share_short'])}"
        start = f"{sides}; {row['trades']:,} trades"
    end = "; wiped out" if row["final_capital"] == 0 else ""
    return f"{start}; right in {share(row['hit_rate'])} of hours{end}"
