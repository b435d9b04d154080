"""The run's own equity, trades and metrics against the books kept once more."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from archiving.verification.books import Book, answered_twice, keep_books, outcome, sides
from archiving.verification.container import ArchiveError, Files, content
from archiving.verification.ledger import RESULTS, WITHHELD

# Two ways to add up the same thousands of hours differ by rounding only.
RELATIVE, ABSOLUTE = 1e-9, 1e-6
Rows = list[dict[str, Any]]


def check_accounting(files: Files, bars: bytes) -> tuple[list[str], int]:
    """Problems, one line each, and how many closes of how many strategies were computed again."""
    problems: list[str] = []
    closes = {row["timestamp"]: float(row["close"]) for row in table(bars, "market/bars.csv")}
    answers = {model: lines(files, f"infer/{model}/decisions.jsonl") for model in ("trained", "base")}
    for model, rows in answers.items():
        problems += _answer_problems(model, rows)
    problems += _sample_problems(files, answers["trained"], closes)
    count = 0
    for name in files.names():
        if name.startswith(f"{RESULTS}leverage-") and name.endswith("/metrics.json"):
            found, compared = _leverage(files, name.split("/")[2], closes, answers)
            problems += found
            count += compared
    if not count and not problems:
        problems.append(f"{RESULTS}: no leverage with a metrics.json")
    return problems, count


def _leverage(files: Files, folder: str, closes: dict[str, float], answers: dict[str, Rows]) -> tuple[list[str], int]:
    place = f"{RESULTS}{folder}"
    metrics = json.loads(content(files, f"{place}/metrics.json"))
    if f"leverage-{metrics['leverage']:g}" != folder:
        return [f"{place}/metrics.json: is for leverage {metrics['leverage']:g}"], 0
    times = list(closes)
    try:
        start = times.index(answers["trained"][0]["timestamp"])
    except ValueError:
        return [f"{RESULTS}infer/trained/decisions.jsonl: its first hour is not among the bars"], 0
    span = times[start : start + len(answers["trained"]) + 1]
    for model, rows in answers.items():
        if [row["timestamp"] for row in rows] != span[:-1]:
            return [f"{RESULTS}infer/{model}/decisions.jsonl: is not one decision for each bar in turn"], 0
    prices = [closes[time] for time in span]
    terms, policy = metrics["terms"], metrics["parameters"]["invalid"]
    traded = {key: sides(rows, policy, terms["hold"] == "keep") for key, rows in answers.items()}
    traded |= {"always_buy": [1] * (len(span) - 1), "always_sell": [-1] * (len(span) - 1)}
    rows = {row["key"]: row for row in metrics["strategies"]}
    equity = _curves(files, place, set(traded))
    if set(rows) != set(traded) or set(equity) != set(traded):
        return [f"{place}: other strategies than {', '.join(sorted(traded))}"], 0
    problems: list[str] = []
    for key, directions in traded.items():
        book = keep_books(prices, directions, metrics["leverage"], metrics["capital"], terms)
        if equity[key]:
            problems += _curve_problems(place, key, equity[key], span, prices, book)
        problems += _metrics_problems(place, rows[key], book, prices, span, answers.get(key))
    change = prices[-1] / prices[0] - 1
    facts = {"return": change, "first": span[0], "last": span[-1], "hours": len(span) - 1}
    for name, value in facts.items():
        if not equal(metrics["market"].get(name), value):
            said = metrics["market"].get(name)
            problems.append(f"{place}/metrics.json: market.{name} is {said}, the bars give {value}")
    return problems, len(span) * len(traded)


def _curves(files: Files, place: str, strategies: set[str]) -> dict[str, Rows]:
    """Rows of equity.csv by strategy; no rows where the file was left out of the archive for the prices in it."""
    name = f"{place}/equity.csv"
    if name not in files.names() and WITHHELD in files.names():
        return {key: [] for key in strategies}
    found: dict[str, Rows] = {}
    for row in table(content(files, name), name):
        found.setdefault(row["strategy"], []).append(row)
    return found


def _curve_problems(
    place: str, key: str, rows: Rows, times: Sequence[str], prices: Sequence[float], book: Book
) -> list[str]:
    if [row["timestamp"] for row in rows] != list(times):
        return [f"{place}/equity.csv: {key} is not on the bars that follow the decisions"]
    for t, row in enumerate(rows):
        expected = {"price": prices[t], "position": book.exposure[t], "equity": book.equity[t], "cost": book.paid[t]}
        for name, value in expected.items():
            if not equal(float(row[name]), value):
                return [f"{place}/equity.csv: {key} at {times[t]} has {name} {row[name]}, the decisions give {value!r}"]
    return []


def _metrics_problems(
    place: str, row: dict[str, Any], book: Book, prices: Sequence[float], times: Sequence[str], answers: Rows | None
) -> list[str]:
    expected: dict[str, Any] = outcome(book, prices)
    hours = (moment(times[-1]) - moment(times[0])).total_seconds() / 3600
    expected["volatility"] *= math.sqrt((len(times) - 1) / hours)
    closed = [t for t, value in enumerate(book.equity) if value <= 0 or t == book.liquidated]
    expected["liquidated"] = times[closed[0]] if closed else None
    for status in ("finished", "truncated", "unparsable"):
        expected[status] = sum(answer["status"] == status for answer in answers or ())
    return [
        f"{place}/metrics.json: strategies.{row['key']}.{name} is {row[name]}, the decisions and prices give {value}"
        for name, value in expected.items()
        if name in row and not equal(row[name], value)
    ]


def _sample_problems(files: Files, rows: Rows, closes: dict[str, float]) -> list[str]:
    """Whether the questions are of the same hours and prices; nothing where the samples were left out."""
    name = f"{RESULTS}samples/test.jsonl"
    if name not in files.names():
        return []
    facts = [row["metadata"] for row in lines(files, "samples/test.jsonl")]
    if [(fact["id"], fact["timestamp"]) for fact in facts] != [(row["id"], row["timestamp"]) for row in rows]:
        return [f"{name}: are other questions than those that were answered"]
    return [
        f"{name}, line {number}: price {fact['current_price']}, the bars have {closes.get(fact['timestamp'])}"
        for number, fact in enumerate(facts, start=1)
        if fact["current_price"] != closes.get(fact["timestamp"])
    ]


def _answer_problems(model: str, rows: Rows) -> list[str]:
    """Whether each decision is what the raw answer says."""
    name = f"{RESULTS}infer/{model}/decisions.jsonl"
    problems = []
    for number, row in enumerate(rows, start=1):
        expected = answered_twice(row)
        if (row["decision"], row["status"]) != expected:
            problems.append(
                f"{name}, line {number}: says {row['decision']} ({row['status']}), "
                f"its raw answer {expected[0]} ({expected[1]})"
            )
    return problems


def equal(found: Any, expected: Any) -> bool:
    """Equal but for rounding."""
    if isinstance(found, int | float) and isinstance(expected, int | float):
        return math.isclose(found, expected, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return found == expected


def moment(text: str) -> datetime:
    """A time as the bars write it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def table(blob: bytes, name: str) -> list[dict[str, str]]:
    """A CSV file's rows."""
    try:
        return list(csv.DictReader(io.StringIO(blob.decode("utf-8"))))
    except (UnicodeDecodeError, csv.Error):
        raise ArchiveError(f"{name}: no readable table") from None


def lines(files: Files, name: str) -> Rows:
    """A file of one JSON object a line."""
    found = []
    for number, line in enumerate(content(files, RESULTS + name).decode("utf-8", "replace").splitlines(), start=1):
        try:
            found.append(json.loads(line))
        except ValueError:
            raise ArchiveError(f"{RESULTS}{name}, line {number}: not JSON") from None
    if not found:
        raise ArchiveError(f"{RESULTS}{name}: empty")
    return found
