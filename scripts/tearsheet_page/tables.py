"""Tables of the simulation: the strategies with all their metrics, the terms of trade, the trades."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import InputError
from report.terms import caution, terms_of
from report.theme import dollars, number, percent, plural, share, times
from tearsheet_page.markup import Markup, join
from tearsheet_page.parts import folded, maybe, paragraph, signed_dollars, table, values
from trading.tables import TRADE_COLUMNS

Show = Callable[[Any], str]
Trades = dict[str, list[list[str]]]


def decimals(digits: int) -> Show:
    """Numbers with so many digits after the point and a proper minus sign."""
    return lambda value: f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def clock(timestamp: str) -> str:
    """2025-01-02T16:00:00Z as 2025-01-02 16:00."""
    return timestamp[:16].replace("T", " ")


# Key of a strategy in metrics.json to its name and form. The regression's intercept is called what it is.
METRICS: dict[str, tuple[str, Show]] = {
    "final_capital": ("Final capital", dollars),
    "total_return": ("Total return", percent),
    "cagr": ("Return a year (CAGR)", percent),
    "volatility": ("Volatility a year", share),
    "sharpe": ("Sharpe ratio, a year", decimals(2)),
    "sortino": ("Sortino ratio, a year", decimals(2)),
    "calmar": ("Calmar ratio", decimals(2)),
    "max_drawdown": ("Largest drawdown", percent),
    "drawdown_hours": ("Longest time below an earlier peak, hours", decimals(0)),
    "beta": ("Beta to the market", decimals(3)),
    "alpha": ("Intercept to the market, a year", percent),
    "trades": ("Trades", decimals(0)),
    "holding_hours": ("Mean time of a trade, hours", decimals(1)),
    "turnover": ("Turnover a bar, multiple of equity", decimals(3)),
    "profit_factor": ("Profit factor", decimals(2)),
    "hit_rate": ("Hours on the right side", share),
    "share_long": ("Hours long", share),
    "share_short": ("Hours short", share),
    "share_flat": ("Hours flat", share),
    "costs": ("Costs paid", dollars),
    "finished": ("Answers cut and finished in a second pass", decimals(0)),
    "truncated": ("Answers truncated", decimals(0)),
    "unparsable": ("Answers unparsable", decimals(0)),
}
TERMS = {
    "fee_bps": ("Fee", "basis points a side"),
    "slippage_bps": ("Slippage", "basis points a side"),
    "funding_long_bps": ("Funding of a long position", "basis points of the notional an hour"),
    "funding_short_bps": ("Funding of a short position", "basis points of the notional an hour"),
    "latency": ("Latency", "from a decision to its fill"),
    "maintenance_margin": ("Maintenance margin", "of the notional"),
}
SIZING = {
    "rebalanced": "rebalanced: leverage is restored every bar",
    "fixed": "fixed: the units bought at entry are held until the direction changes",
}
HOLD = {"flat": "flat", "keep": "keeps the position before it"}


def strategies(metrics: Mapping[str, Any]) -> Markup:
    """All metrics, a column a strategy; a metric that no strategy has is left out."""
    rows = metrics["strategies"]
    body = [
        [name, *(maybe(show, row.get(key)) for row in rows)]
        for key, (name, show) in METRICS.items()
        if any(key in row for row in rows)
    ]
    if any("liquidated" in row for row in rows):
        ends = (clock(row["liquidated"]) if row.get("liquidated") else "never" for row in rows)
        body.append(["Liquidated", *ends])
    return table("Metrics of each strategy", ["", *(row["label"] for row in rows)], body, "numbers")


def terms(metrics: Mapping[str, Any]) -> Markup:
    """On what terms was traded, and what these leave out."""
    found = terms_of(metrics)
    pairs = [
        ("Leverage", times(metrics["leverage"])),
        ("Capital at the start", dollars(metrics["capital"])),
        ("Sizing", SIZING.get(found["sizing"], found["sizing"])),
        ("HOLD", HOLD.get(found["hold"], found["hold"])),
        ("An answer without a decision trades as", metrics["parameters"]["invalid"]),
    ]
    for key, (name, unit) in TERMS.items():
        show = {"maintenance_margin": share, "latency": lambda count: plural(count, "hour")}.get(key, number)
        pairs.append((name, f"{show(found[key])} {unit}"))
    return join(paragraph(caution(metrics)), values("Terms of trade", pairs))


def read_trades(path: Path, metrics: Mapping[str, Any]) -> Trades:
    """Rows of trades.csv by strategy, as text; checked against the counts in metrics.json.

    Raises
    ------
    InputError
        If the file is missing, a row is broken, or the trades are not those that were counted.
    """
    again = "Run simulate again."
    found: Trades = {row["key"]: [] for row in metrics["strategies"]}
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            lines = csv.reader(handle)
            if tuple(next(lines, ())) != TRADE_COLUMNS:
                raise InputError(f"{path}, line 1: the columns are not {','.join(TRADE_COLUMNS)}. {again}")
            for line, row in enumerate(lines, start=2):
                if len(row) != len(TRADE_COLUMNS) or row[0] not in found or not _finite(row[4:]):
                    raise InputError(f"{path}, line {line}: not a trade of one of the strategies. {again}")
                found[row[0]].append(row[1:])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file. Run simulate.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table in UTF-8 ({error}). {again}") from None
    for row in metrics["strategies"]:
        if len(found[row["key"]]) != row["trades"]:
            raise InputError(
                f"{path}: has {len(found[row['key']])} trades of {row['key']}, metrics.json counts {row['trades']}. "
                f"{again}"
            )
    return found


def trades(rows: Sequence[Sequence[str]], label: str) -> Markup:
    """All trades of one strategy, in time order, behind a click."""
    if not rows:
        return paragraph(f"{label} made no trades.")
    head = ("Entered (UTC)", "Side", "Left (UTC)", "Bars", "Price at entry", "Price at exit", "Earned", "Return")
    body = (
        (
            clock(entered), side, clock(left), bars, f"{float(bought):,.2f}", f"{float(sold):,.2f}",
            signed_dollars(float(earned)), percent(float(gained)),
        )
        for side, entered, left, bought, sold, bars, earned, gained in rows
    )  # fmt: skip
    return folded(f"{label}: {plural(len(rows), 'trade')}", table(f"Trades of {label}", head, body, "numbers tall"))


def _finite(cells: Sequence[str]) -> bool:
    try:
        return all(math.isfinite(float(cell)) for cell in cells)
    except ValueError:
        return False
