"""What several sections are made of: sections, tables, lists of values, and numbers that may be missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from report.theme import number
from tearsheet_page.markup import Markup, element
from trading.evidence.wording import probability

NOT_DEFINED = "not defined"
# Longer lists are curves: figures show them.
LONGEST_LIST = 6
# A key of a result file that must not be read as a claim.
NEUTRAL = {"alpha": "intercept"}


def section(name: str, title: str, *children: object) -> Markup:
    """A section that ``#name`` leads to."""
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, *children, id=name, aria_labelledby=f"{name}-title")


def table(caption: str, head: Sequence[object], rows: Iterable[Sequence[object]], class_: str | None = None) -> Markup:
    """A table whose first column names its rows, in a box that scrolls sideways where it is too wide."""
    top = element("tr", *(element("th", cell, scope="col") for cell in head))
    body = (
        element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in rest))
        for first, *rest in rows
    )
    inner = element("table", element("caption", caption), element("thead", top), element("tbody", *body), class_=class_)
    return element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def values(caption: str, pairs: Iterable[tuple[object, object]]) -> Markup:
    """A table of names and values."""
    return table(caption, ("Name", "Value"), pairs, "values")


def folded(summary: object, *children: object, **attributes: Any) -> Markup:
    """What opens on a click."""
    return element("details", element("summary", summary), *children, **attributes)


def paragraph(text: object, **attributes: Any) -> Markup:
    """One paragraph."""
    return element("p", text, **attributes)


def maybe(show: Callable[[Any], str], value: Any) -> str:
    """A number as `show` writes it, or that it is not defined."""
    return NOT_DEFINED if value is None else show(value)


def span(show: Callable[[Any], str], interval: Sequence[float] | None) -> str:
    """An interval."""
    return "none" if interval is None else f"{show(interval[0])} to {show(interval[1])}"


def p_value(value: float | None) -> str:
    """0.031, < 0.0001."""
    return "none" if value is None else probability(value).removeprefix("p ").removeprefix("= ")


def signed_dollars(amount: float) -> str:
    """Dollars and cents with their sign: +$432.76."""
    text = f"{abs(amount):,.2f}"
    sign = "" if float(text.replace(",", "")) == 0 else "+" if amount > 0 else "\N{MINUS SIGN}"
    return f"{sign}${text}"


def readable(name: str) -> str:
    """A key as words: p_value_white is "p value white"."""
    return " ".join(NEUTRAL.get(word, word) for word in name.split("_"))


def plain(value: Any) -> str:
    """A setting or a number of a result file as text."""
    if value is None:
        return NOT_DEFINED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, list):
        return ", ".join(map(plain, value)) or "none"
    return str(value)


def flat(value: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Names and values of an object and of those inside it, in their order; long lists are left out."""
    found = []
    for key, inner in value.items():
        name = f"{above}{readable(key)}"
        if isinstance(inner, Mapping):
            found += flat(inner, f"{name}: ")
        elif not isinstance(inner, list) or (
            len(inner) <= LONGEST_LIST and not any(isinstance(item, (list, dict)) for item in inner)
        ):
            found.append((name, plain(inner)))
    return found
