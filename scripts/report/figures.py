"""The figures of a simulation: equity, drawdown, decisions over price. Training has its own module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, PercentFormatter
from numpy.typing import NDArray

from report import terms
from report.drawing import date_axis, end_labels, page
from report.theme import (
    DECISION,
    INK,
    MUTED,
    STRATEGY,
    clipped,
    day,
    dollars,
    market_heading,
    percent,
    share,
    short_dollars,
    times,
)
from trading.accounting import Floats
from trading.answers import DECIDED
from trading.metrics import drawdown
from trading.tables import Curves

# Beyond this ratio of the highest to the lowest equity a linear axis squeezes the losers into a line.
LOG_FROM = 3.5
LONGEST_LABEL = 30


def equity_figure(curves: Curves, metrics: Mapping[str, Any]) -> Figure:
    """Equity of all strategies with their final values, and the market's price below as context."""
    figure = page(f"Equity at {times(metrics['leverage'])} leverage", market_line(metrics))
    grid = figure.add_gridspec(2, 1, height_ratios=[4.6, 1], left=0.07, right=0.8, top=0.85, bottom=0.07, hspace=0.12)
    axes = figure.add_subplot(grid[0])
    price = figure.add_subplot(grid[1], sharex=axes)

    rows = metrics["strategies"]
    values = np.array([curves.books[row["key"]].equity for row in rows])
    logarithmic = values.max() / max(values.min(), 1e-12) > LOG_FROM
    if logarithmic:
        axes.set_yscale("log")
        wide = values.max() / max(values.min(), 1e-12) > 10
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if wide else (1, 1.5, 2, 3, 5, 7)))
        axes.minorticks_off()
    # A lost account has no place on a logarithmic axis: it leaves through the bottom.
    floor = metrics["capital"] / 100 if logarithmic else 0.0
    drawn = np.maximum(values, floor)
    draw_strategies(axes, curves, rows, drawn)
    axes.axhline(metrics["capital"], color=MUTED, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
    axes.yaxis.set_major_formatter(FuncFormatter(short_dollars))
    axes.set_ylabel("Equity, logarithmic" if logarithmic else "Equity")
    axes.tick_params(labelbottom=False)
    draw_price(price, curves)
    labels = [f"{short_label(row)}\n{dollars(row['final_capital'])}  {percent(row['total_return'])}" for row in rows]
    axes.set_ylim(*axes.get_ylim())
    end_labels(axes, drawn[:, -1], labels, [STRATEGY[row["key"]] for row in rows])
    return figure


def drawdown_figure(curves: Curves, metrics: Mapping[str, Any]) -> Figure:
    """How far each strategy is below its highest equity so far."""
    figure = page(f"Drawdown at {times(metrics['leverage'])} leverage", market_line(metrics))
    axes = figure.add_subplot(figure.add_gridspec(1, 1, left=0.07, right=0.8, top=0.85, bottom=0.07)[0])
    rows = metrics["strategies"]
    depths = np.array([drawdown(curves.books[row["key"]].equity) for row in rows])
    draw_strategies(axes, curves, rows, depths)
    trained = next((number for number, row in enumerate(rows) if row["key"] == "trained"), None)
    if trained is not None:
        axes.fill_between(curves.times, depths[trained], 0, color=STRATEGY["trained"], alpha=0.12, linewidth=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel("Below the highest equity so far")
    axes.set_ylim(min(depths.min() * 1.05, -0.01), 0)
    labels = [f"{short_label(row)}\ndeepest {percent(row['max_drawdown'], 1)}" for row in rows]
    date_axis(axes)
    end_labels(axes, depths[:, -1], labels, [STRATEGY[row["key"]] for row in rows])
    return figure


def decisions_figure(
    curves: Curves, decisions: Sequence[str], statuses: Sequence[str], metrics: Mapping[str, Any]
) -> Figure:
    """Price, every decision as a strip of colour, and the rolling share of Buy.

    Parameters
    ----------
    decisions, statuses
        BUY, SELL or HOLD and one of `trading.answers.STATUSES`, one for each bar but the last.
    """
    row = next(row for row in metrics["strategies"] if row["key"] == "trained")
    label = clipped(row["label"], 2 * LONGEST_LABEL, tail=7)
    figure = page(f"Decisions of {label}", market_line(metrics))
    grid = figure.add_gridspec(
        3, 1, height_ratios=[3, 0.55, 1.5], left=0.07, right=0.985, top=0.855, bottom=0.07, hspace=0.16
    )
    price = figure.add_subplot(grid[0])
    strip = figure.add_subplot(grid[1], sharex=price)
    rolling = figure.add_subplot(grid[2], sharex=price)

    draw_price(price, curves, width=1.3)
    price.tick_params(labelbottom=False)
    decided = [status in DECIDED for status in statuses]
    colours = np.array(
        [to_rgb(DECISION[word] if valid else INK) for word, valid in zip(decisions, decided, strict=True)]
    )
    edges = date2num(curves.times)
    strip.pcolormesh(edges, [0, 1], colours[np.newaxis], rasterized=True)
    strip.set_yticks([])
    strip.set_ylabel("Each\nhour", rotation=0, ha="right", va="center")
    strip.grid(False)
    strip.tick_params(labelbottom=False, bottom=False)
    draw_rolling(rolling, curves, *(np.array([word == side for word in decisions]) for side in ("BUY", "SELL")))
    legend = [
        Patch(color=DECISION["BUY"], label=f"Buy {share(list(decisions).count('BUY') / len(decisions))}"),
        Patch(color=DECISION["SELL"], label=f"Sell {share(list(decisions).count('SELL') / len(decisions))}"),
        Patch(color=INK, label=f"invalid {decided.count(False):,} of {len(decided):,}"),
    ]
    figure.legend(handles=legend, loc="upper right", bbox_to_anchor=(0.99, 0.985), ncols=3, handlelength=1.2)
    return figure


def short_label(row: Mapping[str, Any]) -> str:
    """A strategy's label; of a long model name the end stays, which tells trained from base."""
    return clipped(row["label"], LONGEST_LABEL, tail=7)


def market_line(metrics: Mapping[str, Any]) -> str:
    """What market a figure shows, synthetic or not, over which time, at which cost."""
    market = metrics["market"]
    span = f"{market['hours']:,} hours, {day(market['first'])} to {day(market['last'])}"
    return f"{market_heading(market)}  |  {span}  |  {terms.short(metrics)}"


def short_market_lines(metrics: Mapping[str, Any]) -> str:
    """The same for a picture that shares its slide: without the time, on two lines if the terms need them."""
    market, on_terms = market_heading(metrics["market"], 40), terms.short(metrics)
    return f"{market}{'  |  ' if len(on_terms) < 30 else chr(10)}{on_terms}"


def draw_strategies(axes: Axes, curves: Curves, rows: Sequence[Mapping[str, Any]], values: Floats) -> None:
    """One line a strategy, the trained model's on top and thicker."""
    for row, line in zip(rows, values, strict=True):
        trained = row["key"] == "trained"
        axes.plot(
            curves.times, line, color=STRATEGY[row["key"]],
            linewidth=1.9 if trained else 1.1, zorder=4 if trained else 3, solid_joinstyle="round",
        )  # fmt: skip
    date_axis(axes)


def draw_price(axes: Axes, curves: Curves, width: float = 1.0) -> None:
    """The market's closes as a thin line."""
    axes.plot(curves.times, curves.price, color=MUTED, linewidth=width)
    axes.set_ylabel("Price")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda price, _: short_dollars(price).lstrip("$")))
    axes.locator_params(axis="y", nbins=3 if width == 1.0 else 5)
    date_axis(axes)


def draw_rolling(axes: Axes, curves: Curves, buy: NDArray[np.bool_], sell: NDArray[np.bool_]) -> None:
    """Share of Buy among the sides taken over the last hours, filled towards its half; a gap where none was taken."""
    window = rolling_window(buy.size)

    def counted(chosen: NDArray[np.bool_]) -> Floats:
        total = np.concatenate([[0.0], np.cumsum(chosen)])
        return total[window:] - total[:-window]

    taken = counted(buy | sell)
    level = np.divide(counted(buy), taken, out=np.full(taken.size, np.nan), where=taken > 0)
    at = curves.times[window - 1 : -1]
    for side, colour in ((level >= 0.5, DECISION["BUY"]), (level <= 0.5, DECISION["SELL"])):
        axes.fill_between(at, level, 0.5, where=side, interpolate=True, color=colour, alpha=0.45, linewidth=0)
    axes.plot(at, level, color=INK, linewidth=0.9)
    axes.axhline(0.5, color=MUTED, linewidth=0.8)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylabel(f"Buy, last {window} h")
    date_axis(axes)


def rolling_window(hours: int) -> int:
    """Hours to average decisions over: two days, or less on a short test."""
    return max(1, min(48, hours // 6))
