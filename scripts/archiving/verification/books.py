"""The accounting once more, in plain Python: from a model's raw answers and the market's closes to its equity.

Written apart from ``trading.costs`` and in another manner, money instead of shares of equity, so that a mistake in
one of the two shows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

BASIS_POINT = 1e-4
# finished: cut by the token limit, then closed and answered in a second pass.
DECIDED = ("ok", "finished")
SIDE = {"BUY": 1, "SELL": -1, "HOLD": 0}
ANSWER = re.compile(r"<answer>\s*(buy|sell)\s*</answer>\s*\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Book:
    """What one strategy had at each close; `exposure` is held from that close to the next."""

    equity: list[float]
    exposure: list[float]
    paid: list[float]
    liquidated: int | None  # bar


def answered(text: str, cut: bool) -> tuple[str, str]:
    """Decision and status that a raw answer stands for: one answer, last, outside of at most one thinking block."""
    thought, closed, said = text.partition("</think>")
    if not closed:
        said = "" if "<think>" in text else text
    elif any(("<think>" in thought.lstrip().removeprefix("<think>"), "<think>" in said, "</think>" in said)):
        said = ""
    match = ANSWER.search(said)
    lower = said.lower()
    if match and lower.count("<answer>") == lower.count("</answer>") == 1:
        return match[1].upper(), "ok"
    return "HOLD", "truncated" if cut else "unparsable"


def answered_twice(row: Mapping[str, Any]) -> tuple[str, str]:
    """Decision and status of a row of decisions.jsonl; a second pass counts only where the first was cut."""
    found = answered(row["text"], row["finish_reason"] == "length")
    second = row.get("finish")
    if found[1] == "truncated" and second:
        word, status = answered(row["text"][: second["kept"]] + second["text"], False)
        if status == "ok":
            return word, "finished"
    return found


def sides(rows: Sequence[Mapping[str, Any]], invalid: str, keep: bool) -> list[int]:
    """Direction that each decision trades in: 1, -1 or 0."""
    found, before = [], 0
    for row in rows:
        side = SIDE[row["decision"] if row["status"] in DECIDED else invalid]
        before = before if keep and side == 0 else side
        found.append(before)
    return found


def keep_books(closes: Sequence[float], sides_: Sequence[int], leverage: float, capital: float, terms: Any) -> Book:
    """Trade bar after bar, with money and units of the traded good.

    Parameters
    ----------
    closes
        One more than decisions.
    terms
        As metrics.json records them.
    """
    rate = BASIS_POINT * (terms["fee_bps"] + terms["slippage_bps"])
    funding = {1: BASIS_POINT * terms["funding_long_bps"], -1: BASIS_POINT * terms["funding_short_bps"], 0: 0.0}
    late = [0] * terms["latency"] + list(sides_)
    equity, units, gone = capital, 0.0, None
    book = Book([capital], [], [0.0], None)
    for t, (price, following) in enumerate(pairwise(closes)):
        side = 0 if gone is not None or equity <= 0 else late[t]
        if side == 0:
            wanted = 0.0
        elif terms["sizing"] == "fixed" and t and side == late[t - 1]:
            wanted = units
        else:
            wanted = side * leverage * equity / price
        paid = rate * abs(wanted - units) * price + funding[side] * abs(wanted) * price
        after = equity + wanted * (following - price) - paid
        notional = abs(wanted) * following
        book.exposure.append(wanted * price / equity if equity > 0 else 0.0)
        if gone is None and after <= terms["maintenance_margin"] * notional:
            gone = t + 1
            left = max(after, 0.0)
            closing = min(rate * notional, left)
            after, paid, wanted = left - closing, min(paid, equity) + closing, 0.0
        book.equity.append(after)
        book.paid.append(paid)
        equity, units = after, wanted
    return Book(book.equity, [*book.exposure, 0.0], book.paid, gone)


def outcome(book: Book, closes: Sequence[float]) -> dict[str, float | int | None]:
    """What metrics.json says of a strategy, as far as it needs no clock."""
    equity = book.equity
    signs = [(x > 0) - (x < 0) for x in book.exposure[:-1]]
    peak, deepest = equity[0], 0.0
    for value in equity:
        peak = max(peak, value)
        deepest = min(deepest, value / peak - 1)
    held = [(s, b - a) for s, a, b in zip(signs, closes, closes[1:], strict=False) if s]
    return {
        "final_capital": equity[-1],
        "total_return": equity[-1] / equity[0] - 1,
        "max_drawdown": deepest,
        "trades": sum(s != 0 and (i == 0 or signs[i - 1] != s) for i, s in enumerate(signs)),
        "share_long": signs.count(1) / len(signs),
        "share_short": signs.count(-1) / len(signs),
        "share_flat": signs.count(0) / len(signs),
        "hit_rate": sum(s * move > 0 for s, move in held) / len(held) if held else None,
        "costs": math.fsum(book.paid),
    }
