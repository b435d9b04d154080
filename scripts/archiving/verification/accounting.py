"""The run's own equity, trades and metrics against the books kept once more."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from archiving.verification.books import Book, answered_twice, keep_books, outcome, sides
from archiving.verification.container import ArchiveError, Files, content
from archiving.verification.ledger import RESULTS, WITHHELD
from archiving.verification.performance import of_trades, performance, trades_of

STATUSES = ("finished", "truncated", "unparsable")  # that are counted
# Two ways to add up the same thousands of hours differ by rounding only.
RELATIVE, ABSOLUTE = 1e-9, 1e-6
STRATEGIES = ("trained", "base")  # the models that trade; the decisions of others only take part in the tests
Rows = list[dict[str, Any]]


def check_accounting(files: Files, bars: bytes) -> tuple[list[str], int]:
    """Problems, one line each, and how many closes of how many strategies were computed again."""
    problems: list[str] = []
    closes = {row["timestamp"]: float(row["close"]) for row in table(bars, "market/bars.csv")}
    answers = {model: lines(files, f"infer/{model}/decisions.jsonl") for model in STRATEGIES}
    asked = [name for name in files.names() if re.fullmatch(rf"{RESULTS}infer/[^/]+/decisions\.jsonl", name)]
    others = [name.split("/")[3] for name in asked if name.split("/")[3] not in answers]
    for model, rows in [*answers.items(), *((m, lines(files, f"infer/{m}/decisions.jsonl")) for m in others)]:
        problems += _answer_problems(model, rows) + _summary_problems(files, model, rows)
    problems += _sample_problems(files, answers["trained"], closes) + _market_problems(files, closes)
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
    for name, value in terms.items():
        if metrics["parameters"].get(name, value) != value:
            asked = metrics["parameters"][name]
            return [f"{place}/metrics.json: terms.{name} is {value}, it was computed with {asked}"], 0
    traded = {key: sides(rows, policy, terms["hold"] == "keep") for key, rows in answers.items()}
    traded |= {"always_buy": [1] * (len(span) - 1), "always_sell": [-1] * (len(span) - 1)}
    rows = {row["key"]: row for row in metrics["strategies"]}
    curves, trades = (_rows_of(files, f"{place}/{name}", set(traded)) for name in ("equity.csv", "trades.csv"))
    if set(rows) != set(traded) or not set(trades) <= set(curves) == set(traded):
        return [f"{place}: other strategies than {', '.join(sorted(traded))}"], 0
    problems: list[str] = []
    for key, directions in traded.items():
        book = keep_books(prices, directions, metrics["leverage"], metrics["capital"], terms)
        wrong = _curve_problems(place, key, curves[key], span, prices, book) if curves[key] else []
        if curves[key] and not wrong:
            # Equal to the books but for rounding, which decides whether a close is as high as an earlier one.
            book = replace(book, equity=[float(row["equity"]) for row in curves[key]])
        made = trades_of(book.equity, book.exposure, prices, span)
        wrong = wrong or _trade_problems(place, key, trades, made)
        problems += wrong + _metrics_problems(place, rows[key], book, prices, span, made, answers.get(key))
    change = prices[-1] / prices[0] - 1
    facts = {"return": change, "first": span[0], "last": span[-1], "hours": len(span) - 1}
    for name, value in facts.items():
        if not equal(metrics["market"].get(name), value):
            said = metrics["market"].get(name)
            problems.append(f"{place}/metrics.json: market.{name} is {said}, the bars give {value}")
    return problems, len(span) * len(traded)


def _rows_of(files: Files, name: str, strategies: set[str]) -> dict[str, Rows]:
    """Rows of a table by strategy; no rows where it was left out of the archive for the prices in it."""
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


def _trade_problems(place: str, key: str, found: dict[str, Rows], made: Rows) -> list[str]:
    name = f"{place}/trades.csv"
    rows = found.get(key, [])
    if not rows and key in found:
        return []  # left out for the prices in it
    if len(rows) != len(made):
        return [f"{name}: {len(rows)} trades of {key}, the decisions give {len(made)}"]
    for number, (row, expected) in enumerate(zip(rows, made, strict=True), start=1):
        for field_, value in expected.items():
            said_ = row[field_] if isinstance(value, str) else float(row[field_])
            if not equal(said_, value):
                return [f"{name}: trade {number} of {key} has {field_} {row[field_]}, the decisions give {value!r}"]
    return []


def _metrics_problems(
    place: str,
    row: dict[str, Any],
    book: Book,
    prices: Sequence[float],
    times: Sequence[str],
    made: Rows,
    answers: Rows | None,
) -> list[str]:
    hours = [(moment(time) - moment(times[0])).total_seconds() / 3600 for time in times]
    expected: dict[str, Any] = outcome(book, prices)
    expected |= performance(book.equity, book.exposure, prices, hours, book.liquidated)
    expected |= of_trades(made, dict(zip(times, hours, strict=True)))
    closed = [t for t, value in enumerate(book.equity) if value <= 0 or t == book.liquidated]
    expected["liquidated"] = times[closed[0]] if closed else None
    expected |= {s: sum(answer["status"] == s for answer in answers or ()) for s in STATUSES}
    return [
        f"{place}/metrics.json: strategies.{row['key']}.{name} is {row.get(name, 'missing')}, the decisions and prices "
        f"give {value}"
        for name, value in expected.items()
        if name not in row or not equal(row[name], value)
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


def _market_problems(files: Files, closes: dict[str, float]) -> list[str]:
    """Whether the market's summary is of the bars."""
    name = f"{RESULTS}market/summary.json"
    summary = json.loads(content(files, name))
    times, prices = list(closes), list(closes.values())
    expected = {"bars": len(times), "first": times[0], "last": times[-1], "total_return": prices[-1] / prices[0] - 1}
    return [
        f"{name}: {key} is {summary.get(key, 'missing')}, the bars give {value}"
        for key, value in expected.items()
        if not equal(summary.get(key), value)
    ]


def _summary_problems(files: Files, model: str, rows: Rows) -> list[str]:
    """Whether a model's summary counts its answers."""
    name = f"{RESULTS}infer/{model}/summary.json"
    if name not in files.names():
        return [f"{name}: missing"]
    summary = json.loads(content(files, name))
    expected: dict[str, float] = {"samples": len(rows)}
    expected |= {word.lower(): sum(row["decision"] == word for row in rows) for word in ("BUY", "SELL")}
    expected |= {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    expected["mean_tokens"] = round(sum(len(row["output_ids"]) for row in rows) / len(rows), 3)
    return [
        f"{name}: {key} is {summary.get(key, 'missing')}, the answers give {value}"
        for key, value in expected.items()
        if summary.get(key) != value
    ]


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
