"""What the slides say about a result: sentences that follow from the numbers, and no more than they bear.

Pure functions of metrics.json and market/summary.json. Whether a result differs from chance is not for these
numbers to say, so no sentence here claims it: that is ``tested``'s matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from report.theme import dollars, moment, number, percent, plural, power, share, times

Metrics = Mapping[str, Any]
Strategy = Mapping[str, Any]

CONSTANT = ("always_buy", "always_sell")
LOST = -0.99995  # a total return that is written as a loss of 100.00%
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
    if is_lost(row):
        return "lost all of its capital"
    if row.get("liquidated"):
        return f"was liquidated and ended at {percent(row['total_return'])}"
    return f"returned {percent(row['total_return'])}"


def is_lost(row: Strategy) -> bool:
    """Whether nothing is left that a table would show."""
    return row["total_return"] < LOST


def kept_capital(row: Strategy) -> float:
    """What strategies are ranked by; crumbs of different sizes are all nothing."""
    return 0.0 if is_lost(row) else row["final_capital"]


def by_capital(row: Strategy) -> float:
    """What sorts strategies, best first."""
    return -row["final_capital"]


def moved(total_return: float) -> str:
    """What a price did, in words."""
    size = share(abs(total_return), 2)
    if float(size.rstrip("%")) == 0:
        return "ended where it began"
    return f"{'rose' if total_return > 0 else 'fell'} {size}"


def better_constants(metrics: Metrics) -> list[Strategy]:
    """The constant positions that ended with more capital than the trained model, best first."""
    capital = kept_capital(strategy(metrics, "trained"))
    rows = [strategy(metrics, key) for key in CONSTANT]
    return sorted((r for r in rows if kept_capital(r) > capital), key=by_capital)


def against_constants(metrics: Metrics) -> str:
    """Which constant positions beat the model, by name, and which did not."""
    capital = kept_capital(strategy(metrics, "trained"))
    rows = sorted((strategy(metrics, key) for key in CONSTANT), key=by_capital)
    groups = (
        ("{} beat it.", better_constants(metrics)),
        ("It ended level with {}.", [r for r in rows if kept_capital(r) == capital]),
        ("It ended above {}.", [r for r in rows if kept_capital(r) < capital]),
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


def agreement(difference: float, tokens: int, layers: Sequence[int] = ()) -> str:
    """How well the converted model agrees with the trained one; `layers` that were compared one by one, if not all."""
    how = f"differ by {power(difference)} of the largest at most" if difference else "are equal"
    alone = f", of layers {', '.join(map(str, layers))}, each run alone" if layers else ""
    return f"the logits of transformers and Megatron {how}, on {tokens:,} tokens{alone}"


def invalid_answers(metrics: Metrics, samples: int) -> str:
    """How many answers gave no decision, and how they were traded."""
    parts = []
    for key in ("trained", "base"):
        row = strategy(metrics, key)
        parts.append(f"{row['label']} {invalid_count(row, samples)}")
    policy = metrics["parameters"]["invalid"]
    return f"Invalid answers, traded as {policy}: {'; '.join(parts)}."


def invalid_count(row: Strategy, samples: int, detailed: bool = True) -> str:
    """3 of 1,706, and in detail (2 truncated, 1 unparsable); beside it what a second pass finished."""
    truncated, unparsable, finished = row["truncated"], row["unparsable"], row["finished"]
    text = f"{truncated + unparsable:,} of {samples:,}"
    if detailed and truncated + unparsable:
        text += f" ({truncated:,} truncated, {unparsable:,} unparsable)"
    if finished:
        text += f", {finished:,} more cut and finished in a second pass" if detailed else f", {finished:,} finished"
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
        return f"The market is {market['name']}, read from {origin}: one period of it."
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


def characteristic(row: Strategy, metrics: Metrics, verdict: str = "") -> str:
    """What marks a strategy, for the last column of the results table.

    Parameters
    ----------
    verdict
        What the tests say of it in a few words, if it was tested.
    """
    if row["hit_rate"] is None:
        return "Never held a position"
    if row["key"] in CONSTANT:
        side = "Long" if row["key"] == "always_buy" else "Short"
        market = f"a {'falling' if metrics['market']['return'] < 0 else 'rising'} market"
        start = f"{side} until then in {market}" if row.get("liquidated") else f"{side} in every hour of {market}"
    else:
        start = f"long {share(row['share_long'])}, short {share(row['share_short'])}; {plural(row['trades'], 'trade')}"
        start = f"{verdict}; {start}" if verdict else start[0].upper() + start[1:]
    wiped = is_lost(row) and not verdict and not row.get("liquidated")
    end = f"right in {share(row['hit_rate'])} of hours{'; wiped out' if wiped else ''}"
    if row.get("liquidated"):
        return f"Liquidated on {moment(row['liquidated'])}; {start[0].lower() + start[1:]}; {end}"
    return f"{start}; {end}"
