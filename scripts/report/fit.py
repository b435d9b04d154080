"""How much room text takes, without the font at hand: an upper estimate from Helvetica's letter widths.

A deck is opened with whatever sans-serif font its reader has. The widths are Helvetica's (Arial's and
Liberation Sans's are the same) times what DejaVu Sans, the widest usual substitute, needs more.
"""

from __future__ import annotations

import math

WIDEST = 1.17
LINE_HEIGHT = 1.22  # of the font size
BOLD = 1.08

# Widths in thousandths of the font size; what is not listed counts as 556 (digits, most small letters).
_WIDTHS = {
    **dict.fromkeys("ijl'|", 222),
    **dict.fromkeys(" .,:;!/\\ftI[]-", 278),
    **dict.fromkeys('r()*`"', 350),
    **dict.fromkeys("cksvxyzJ", 500),
    **dict.fromkeys("+=<>~\N{MINUS SIGN}", 584),
    **dict.fromkeys("FTZL", 611),
    **dict.fromkeys("ABEKPSVXY&", 667),
    **dict.fromkeys("CDHNRUw", 722),
    **dict.fromkeys("GOQ", 778),
    **dict.fromkeys("mM", 833),
    **dict.fromkeys("W%@", 950),
}


def width(text: str, size: float, bold: bool = False) -> float:
    """Inches that one line of `text` takes at `size` points."""
    units = sum(_WIDTHS.get(letter, 556 if ord(letter) < 0x2E80 else 1000) for letter in text)
    return units / 1000 * size / 72 * WIDEST * (BOLD if bold else 1)


def lines(text: str, size: float, room: float, bold: bool = False) -> int:
    """Lines that `text` takes, broken between words, in `room` inches; a longer word is broken anywhere."""
    count = 0
    for paragraph in text.split("\n"):
        count += 1
        used = 0.0
        for word in paragraph.split(" "):
            long = width(word, size, bold)
            space = width(" ", size, bold) if used else 0.0
            if used and used + space + long > room:
                count, used, space = count + 1, 0.0, 0.0
            more = max(0, math.ceil(long / room) - 1)
            count += more
            used += space + long - more * room
    return count


def height(text: str, size: float, room: float, bold: bool = False) -> float:
    """Inches from the top of the first line of `text` to the bottom of the last."""
    return lines(text, size, room, bold) * size / 72 * LINE_HEIGHT


def largest(text: str, sizes: tuple[float, ...], room: float, tall: float, bold: bool = False) -> float:
    """The largest of `sizes` (falling) at which `text` fits into `room` x `tall` inches; else the smallest."""
    return next((size for size in sizes if height(text, size, room, bold) <= tall), sizes[-1])
