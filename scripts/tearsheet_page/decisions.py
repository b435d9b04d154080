"""The list of all decisions: what was said, what the hour then did, and what the decision earned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from common.files import read_jsonl
from report.theme import number, percent
from tearsheet_page.markup import Markup, element, join, printable
from tearsheet_page.parts import NOT_DEFINED, paragraph, signed_dollars
from trading.answers import STATUSES
from trading.decisions import Decisions
from trading.tables import Curves

# Characters of all answers together; a page much larger than this opens slowly.
TEXT_BUDGET = 2_000_000
LEAST_TEXT = 400
# Answers up to this length are shown at once; of longer ones the end, where the decision stands, and all on a click.
UNFOLDED = 320
TAIL = 200
ROWS = ("25", "50", "100", "250", "all")
CAPTION = "Decisions of the trained model"
HEAD = (
    "Time (UTC)",
    "Decision",
    "Status",
    "Position",
    "Price",
    "Market",
    "Earned",
    "Earned, share",
    "The model's words",
)
SORTS = (
    ("time", "earliest first"),
    ("-time", "latest first"),
    ("gain", "earned most, dollars"),
    ("loss", "lost most, dollars"),
    ("gain-share", "earned most, share of equity"),
    ("loss-share", "lost most, share of equity"),
)


@dataclass(frozen=True)
class Outcome:
    """What one decision led to, in the bar in which it was held; None for what was never filled.

    Attributes
    ----------
    price
        Close at which it was filled.
    position
        Signed exposure held, as a multiple of equity.
    market, share
        Change of the price, and of the equity after costs, as fractions.
    earned, cost
        Dollars; earned is after costs.
    """

    price: float
    position: float
    market: float
    earned: float
    share: float | None
    cost: float


def outcomes(curves: Curves, key: str, latency: int) -> list[Outcome | None]:
    """What each decision led to: filled `latency` bars after its own close, held to the close that follows.

    Returns
    -------
    list
        One a decision, as many as the bars of `curves` less one; None for those whose fill lies beyond the last bar.
    """
    book, price = curves.books[key], curves.price
    count = len(price) - 1
    market = price[1:] / price[:-1] - 1
    before = book.equity[:-1]
    share = np.divide(book.pnl[1:], before, out=np.full(count, np.nan), where=before > 0)
    columns = (price[:-1], book.position[:-1], market, book.pnl[1:], share, book.cost[1:])
    rows = zip(*(column[latency:].tolist() for column in columns), strict=True)
    found: list[Outcome | None] = [Outcome(p, q, m, e, s if s == s else None, c) for p, q, m, e, s, c in rows]
    return found + [None] * min(latency, count)


def read_words(path: Path) -> list[str]:
    """What the model wrote, one text a decision.

    Raises
    ------
    InputError
        If a line has no text.
    """
    found = []
    for line, row in enumerate(read_jsonl(path), start=1):
        if not isinstance(row.get("text"), str):
            raise InputError(f'{path}, line {line}: no text under "text". Run infer again.')
        second = row.get("finish")
        found.append(f"{row['text']}\n[cut here; second pass:]{second['text']}" if second else row["text"])
    return found


def decision_list(decisions: Decisions, words: Sequence[str], results: Sequence[Outcome | None]) -> Markup:
    """Filter, and a table of all decisions in time order; script shows a page of it at a time."""
    limit = longest(len(words))
    body = element("tbody", *_rows(decisions, words, results, limit), id="decision-rows")
    top = element("tr", *(element("th", cell, scope="col") for cell in HEAD))
    caption = element("caption", CAPTION)
    table = element("table", caption, element("thead", top), body, class_="decisions")
    return join(
        *_notes(words, limit),
        element("noscript", paragraph("Filter, sorting and paging need JavaScript. Without it all decisions follow.")),
        _filter(),
        paragraph("", id="count", role="status"),
        _pager("Decisions, pages"),
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label=CAPTION),
        _pager("Decisions, pages, below"),
    )


def longest(count: int) -> int:
    """How many characters of each of `count` answers the page holds."""
    return max(LEAST_TEXT, TEXT_BUDGET // count)


def shortened(text: str, limit: int) -> str:
    """`text`, or its beginning and its longer end with a note of what is left out between them."""
    if len(text) <= limit:
        return text
    head = limit // 3
    tail = limit - head
    return f"{text[:head]} […{len(text) - limit:,} characters left out…] {text[len(text) - tail :]}"


def _rows(
    decisions: Decisions, words: Sequence[str], results: Sequence[Outcome | None], limit: int
) -> Iterator[Markup]:
    columns = (decisions.ids, decisions.timestamps, decisions.decisions, decisions.statuses, words, results)
    for name, time, word, status, text, result in zip(*columns, strict=True):
        first = element("th", f"{time[:10]} {time[11:16]}", element("small", name), scope="row")
        said = _words(shortened(printable(text), limit))
        data: dict[str, Any] = {}
        if result is not None:
            data = {"data_earned": f"{result.earned:.10g}"}
            data |= {"data_share": f"{result.share:.10g}"} if result.share is not None else {}
        cells = (element("td", cell) for cell in (word, status, *_outcome(result)))
        yield element("tr", first, *cells, said, **data)


def _outcome(result: Outcome | None) -> tuple[object, ...]:
    if result is None:
        return ("not filled", *["none"] * 4)
    cost = element("small", f"costs ${result.cost:,.2f}") if result.cost else None
    return (
        _position(result.position),
        f"{result.price:,.2f}",
        percent(result.market, 3),
        join(signed_dollars(result.earned), cost),
        percent(result.share, 3) if result.share is not None else NOT_DEFINED,
    )


def _position(position: float) -> str:
    """Exposure with its side: long 2x."""
    if position == 0:
        return "flat"
    return f"{'long' if position > 0 else 'short'} {number(float(f'{abs(position):.4g}'))}x"


def _words(text: str) -> Markup:
    if not text.strip():
        return element("td", element("i", "nothing"))
    if len(text) <= UNFOLDED:
        return element("td", text)
    summary = element("summary", f"…{text[-TAIL:]}")
    return element("td", element("details", summary, element("div", text)))


def _notes(words: Sequence[str], limit: int) -> Iterator[Markup]:
    longer = sum(len(text) > limit for text in words)
    if longer:
        yield paragraph(
            f"Answers of more than {limit:,} characters are shortened in the middle ({longer:,} of {len(words):,}); "
            "infer/trained/decisions.jsonl holds them whole."
        )


def _filter() -> Markup:
    controls = (
        _choice("decision", "Decision", [("", "all"), *((word, word) for word in ("BUY", "SELL", "HOLD"))]),
        _choice("status", "Status", [("", "all"), *((word, word) for word in STATUSES)]),
        _choice("gain", "Result", [("", "all"), ("gain", "gain"), ("loss", "loss"), ("none", "neither")]),
        element("label", "Text, time or id", element("input", type="search", name="text", autocomplete="off")),
        _choice("sort", "Order", SORTS),
        _choice("rows", "Rows a page", [(rows, rows) for rows in ROWS], chosen="50"),
        element("button", "Reset", type="reset"),
    )
    return element("form", *controls, id="filter", hidden=True, aria_label="Filter of the decisions")


def _choice(name: str, label: str, options: Sequence[tuple[str, str]], chosen: str | None = None) -> Markup:
    made = (element("option", text, value=value or "", selected=value == chosen) for value, text in options)
    return element("label", label, element("select", *made, name=name))


def _pager(label: str) -> Markup:
    steps = (("first", "First"), ("previous", "Previous"), ("next", "Next"), ("last", "Last"))
    buttons = [element("button", text, type="button", data_step=step) for step, text in steps]
    where = element("span", class_="where")
    return element("nav", *buttons[:2], where, *buttons[2:], class_="pager", hidden=True, aria_label=label)
