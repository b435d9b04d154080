"""HTML that cannot be broken by what it shows: whatever is not markup made here is escaped."""

from __future__ import annotations

import html
import re
from typing import Any

VOID = frozenset({"img", "input", "link", "meta"})
# Half characters, which UTF-8 does not have, and control characters, which HTML forbids.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML already. Joined or formatted it becomes plain text again, and is escaped."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: Any) -> Markup:
    """One element.

    Parameters
    ----------
    children
        ``Markup`` stays as it is, anything else is escaped; None is left out.
    attributes
        Values are escaped; None and False are left out, True stands without a value. An underscore in a name is
        written as a hyphen, one at its end is left out (``class_``).
    """
    given = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in VOID:
        return Markup(f"<{tag}{given}>")
    return Markup(f"<{tag}{given}>{join(*children)}</{tag}>")


def join(*children: object) -> Markup:
    """Several pieces after one another."""
    return Markup("".join(child if isinstance(child, Markup) else escape(child) for child in children if child))


def escape(value: object) -> str:
    """Text as HTML shows it, in content and between quotes."""
    return html.escape(printable(str(value)))


def printable(text: str) -> str:
    """`text` with a replacement sign for what no page can hold; line ends and tabs stay."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\r", "\n"))


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    name = name.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(value)}"'
