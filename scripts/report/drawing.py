"""Helpers for figures: a page with a headline, labels that keep apart, files that repeat.

Matplotlib through its objects, without pyplot: no global state, and half the start-up time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.text import Text

from common.files import written_whole
from report.theme import INK, LINE, MUTED
from trading.accounting import Floats

# The size of the picture's place on a slide (inches), so that nothing is rescaled there.
SIZE = (12.4, 5.5)
# Of a picture that shares its slide.
HALF, STRIP = (6.4, 4.6), (7.6, 3.7)
DPI = 160
STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 11,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 11,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6EAF0",
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "trading-evaluation",
    "path.simplify_threshold": 0.5,
}


def page(title: str, subtitle: str, size: tuple[float, float] = SIZE) -> Figure:
    """An empty figure with a headline; draw into it and save it within ``style()``."""
    figure = Figure(figsize=size, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    full = size == SIZE
    below = 0.972 - (0.33 if full else 0.29) / size[1]
    for text, at, looks in (
        (title, 0.972, {"fontsize": 15 if full else 13, "fontweight": "bold"}),
        (subtitle, below, {"fontsize": 10.5 if full else 9, "color": MUTED, "linespacing": 1.35}),
    ):
        fitted(figure.text(0.012, at, text, va="top", **looks), 0.97 * figure.bbox.width)
    return figure


def fitted(text: Text, room: float) -> None:
    """Shrink the letters of a text until it is no wider than `room` pixels."""
    while (wide := text.get_window_extent().width / room) > 1:
        text.set_fontsize(text.get_fontsize() / (1.01 * wide))


def legend_below(figure: Figure, handles: Sequence[Artist], columns: int = 2, title: str | None = None) -> None:
    """A legend along the bottom of the page, its letters small enough for the longest labels."""
    looks = {"loc": "lower left", "bbox_to_anchor": (0.02, 0.0), "ncols": columns, "handlelength": 1.8, "title": title}
    size = 9.0
    legend = figure.legend(handles=handles, fontsize=size, title_fontsize=size, alignment="left", **looks)
    wide = legend.get_window_extent().width / (0.97 * figure.bbox.width)
    if wide > 1:
        legend.remove()
        size /= 1.02 * wide
        figure.legend(handles=handles, fontsize=size, title_fontsize=size, alignment="left", **looks)


def style() -> matplotlib.rc_context:
    """The settings under which figures are drawn, whatever the user's own matplotlibrc says."""
    settings = {key: value for key, value in matplotlib.rcParamsDefault.items() if "backend" not in key}
    return matplotlib.rc_context(settings | STYLE)


def date_axis(axes: Axes) -> None:
    """Readable dates below `axes`."""
    locator = AutoDateLocator(minticks=4, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    formats = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%S.%f"]
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(
            locator,
            formats=formats,
            zero_formats=["", "%Y", *formats[2:3] * 2, *formats[4:]],
            show_offset=False,
        )
    )
    axes.margins(x=0)


def spread(centres: Sequence[float], gap: float, low: float, high: float) -> Floats:
    """Move positions apart to at least `gap`, within [low, high], each as near to its own as can be.

    Least-squares on a line with a smallest distance is isotonic regression of the positions less what the
    distances before them take up: pool neighbours that would overlap and put each pool at its mean.

    Parameters
    ----------
    centres
        Where the labels would like to be, in any order.

    Returns
    -------
    numpy.ndarray
        New positions in the order given; if they do not fit between the limits the gap is narrowed.
    """
    order = np.argsort(centres, kind="stable")
    count = len(order)
    gap = min(gap, (high - low) / max(count - 1, 1))
    offsets = gap * np.arange(count)
    pools: list[list[float]] = []  # [mean, size]
    for wish in np.asarray(centres, dtype=float)[order] - offsets:
        pools.append([wish, 1])
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            mean, size = pools.pop()
            before, number = pools[-1]
            pools[-1] = [(before * number + mean * size) / (number + size), number + size]
    level = np.concatenate([np.full(int(size), mean) for mean, size in pools])
    placed = np.empty(count)
    placed[order] = np.clip(level, low, high - offsets[-1]) + offsets
    return placed


def end_labels(axes: Axes, ends: Sequence[float], labels: Sequence[str], colours: Sequence[str]) -> None:
    """Write labels right of `axes`, at the heights `ends` (data) where the lines end, without overlap.

    Makes room on the right by moving the axes' right side; call it after the limits of y are final.
    """
    figure = axes.figure
    texts = [
        figure.text(0, 0, label, color=colour, fontsize=10.5, fontweight="bold", va="center", linespacing=1.25)
        for label, colour in zip(labels, colours, strict=True)
    ]
    boxes = [text.get_window_extent() for text in texts]
    pad = 26.0
    right = 1 - (max(box.width for box in boxes) + pad + 16) / figure.bbox.width
    for panel in figure.axes:
        place = panel.get_position()
        panel.set_position((place.x0, place.y0, right - place.x0, place.height))
    height = max(box.height for box in boxes)
    heights = axes.transData.transform([(0, end) for end in ends])[:, 1]
    bottom, top = axes.bbox.y0 + height / 2, axes.bbox.y1 - height / 2
    placed = spread(heights, 1.12 * height, bottom, top)
    edge = axes.bbox.x1
    to_figure = figure.transFigure.inverted()
    for text, wish, place, colour in zip(texts, heights, placed, colours, strict=True):
        text.set_position(to_figure.transform((edge + pad, place)))
        start, end = to_figure.transform([(edge + 2, wish), (edge + pad - 5, place)])
        line = matplotlib.lines.Line2D(*zip(start, end, strict=True), color=colour, linewidth=1, alpha=0.7)
        figure.add_artist(line)


def save(figure: Figure, png: Path, note: dict[str, str]) -> None:
    """Write the PNG and the SVG beside it, the same bytes every time.

    Both are titled by the file's name and carry `note`, so that an archive's figures cannot be swapped unseen.
    """
    with written_whole(png) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None, "Title": png.stem} | note)
    with written_whole(png.with_suffix(".svg")) as partial:
        said = "; ".join(f"{key}: {value}" for key, value in note.items())
        figure.savefig(partial, format="svg", metadata={"Date": None, "Title": png.stem, "Description": said})
