"""The figures of chance: the null distribution with the model in it, and the bootstrap fan of its equity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, PercentFormatter

from report import growth
from report.drawing import HALF, STRIP, date_axis, end_labels, legend_below, page
from report.figures import LOG_FROM, short_label, short_market_lines
from report.theme import BLUE, INK, MUTED, ORANGE, STRATEGY, dollars, percent, short_dollars, times
from trading.accounting import Floats
from trading.evidence.wording import probability
from trading.tables import Curves

PERMUTED = "#B9C3D2"
PERMUTATIONS, SHIFTS = "permutations of its runs", "circular shifts"
OUTER = 0.004  # share of a family's draws that the chart may leave out at either end
LOST_WIDTH = 0.15  # of the bar of those that lost as good as all
SHOWN = ("trained", "always_buy", "always_sell")


def null_figure(evidence: Mapping[str, Any], metrics: Mapping[str, Any]) -> Figure:
    """What rearrangements of the model's own positions earned, and where it and the constant positions stand.

    Parameters
    ----------
    evidence
        evidence.json of the same simulation as `metrics`.
    """
    test = evidence["tests"]["exposure_matched_null"]
    settings = test["settings"]
    figure = page(
        f"Total return against chance, {times(metrics['leverage'])} leverage",
        f"{short_market_lines(metrics)}\n"
        f"{settings['permutations']:,} permutations and {settings['shifts']:,} shifts of the model's own positions: "
        "its exposure, another timing",
        HALF,
    )
    axes = figure.add_axes((0.13, 0.3, 0.85, 0.49))
    histogram = test["histogram"]
    edges = growth.height(histogram["edges"])
    lost = int((edges[1:] <= growth.FLOOR).sum())
    constant = evidence["strategy"]["constant"]
    if constant and not lost:  # all draws in one bin, which then stands around the model
        full = int(np.argmax(histogram["permutations"]))
        edges = edges + growth.height(test["statistic"]) - (edges[full] + edges[full + 1]) / 2
    draw_draws(axes, edges, lost, histogram["permutations"], histogram["shifts"])
    rows = {row["key"]: row for row in metrics["strategies"]}
    for key in SHOWN:
        model = key == "trained"
        axes.axvline(
            growth.height(rows[key]["total_return"]), color=STRATEGY[key], linewidth=2.4 if model else 1.6,
            linestyle="-" if model else (0, (4, 2)), zorder=4 if model else 5,
            label=f"{short_label(rows[key])} {percent(rows[key]['total_return'])}"
            + (f", {probability(test['p_value'])}" if model and not constant else ""),
        )  # fmt: skip
    marks = growth.height([rows[key]["total_return"] for key in SHOWN])
    low, high = growth.limits(central(edges, histogram), marks, least=0.2)
    axes.set_xlim(low, high)
    growth.return_axis(axes.xaxis, low, high, most=8)
    axes.set_xlabel(f"Total return, logarithmic{beyond(edges, histogram, low, high)}")
    axes.set_ylabel("Share of the draws")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.locator_params(axis="y", nbins=5)
    axes.set_ylim(0, 1.08 * axes.dataLim.y1)
    if constant:
        axes.text(
            0.5, 0.5, "One position throughout:\nevery rearrangement is the same, nothing to test",
            transform=axes.transAxes, ha="center", va="center", color=MUTED, zorder=6,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85},
        )  # fmt: skip
    legend_below(figure, axes.get_legend_handles_labels()[0])
    return figure


def draw_draws(axes: Axes, edges: Floats, lost: int, permutations: Sequence[int], shifts: Sequence[int]) -> None:
    """Both families as shares of their draws: bars, and an outline over them.

    Parameters
    ----------
    edges
        Of the bins, heights on the axis of returns.
    lost
        How many of the lowest bins lie at or below the floor: they share one bar around it.
    """
    if lost:
        edges = np.maximum(edges[lost:], growth.FLOOR + LOST_WIDTH / 2)
        edges = np.concatenate([[growth.FLOOR - LOST_WIDTH / 2], edges])
    for counts, looks in (
        (permutations, {"fill": True, "color": PERMUTED, "label": PERMUTATIONS}),
        (shifts, {"color": ORANGE, "linewidth": 1.4, "label": SHIFTS, "zorder": 3}),
    ):
        shares = np.asarray(counts, dtype=np.float64) / max(sum(counts), 1)
        if lost:
            shares = np.concatenate([[shares[:lost].sum()], shares[lost:]])
        axes.stairs(shares, edges, **looks)


def central(edges: Floats, histogram: Mapping[str, Any]) -> Floats:
    """Heights between which all but a few draws of either family lie: a lone lucky one must not squeeze the rest."""
    kept = []
    for name in ("permutations", "shifts"):
        below = np.cumsum(histogram[name]) / max(sum(histogram[name]), 1)
        first, last = np.searchsorted(below, [OUTER, 1 - OUTER])
        kept += [edges[first], edges[min(last + 1, len(edges) - 1)]]
    return np.array(kept)


def beyond(edges: Floats, histogram: Mapping[str, Any], low: float, high: float) -> str:
    """How many draws lie outside of the chart, if any."""
    outside = (edges[:-1] >= high) | (edges[1:] <= low)
    count = sum(int(np.asarray(histogram[name])[outside].sum()) for name in ("permutations", "shifts"))
    return f"; {count:,} draws lie outside of the chart" if count else ""


def fan_figure(evidence: Mapping[str, Any], metrics: Mapping[str, Any], curves: Curves) -> Figure:
    """Percentiles of the equity over bootstrap paths of the model's hours, and the equity as it was."""
    test = evidence["tests"]["bootstrap"]
    fan, settings = test["fan"], test["settings"]
    figure = page(
        f"How far luck could have moved the equity, {times(metrics['leverage'])} leverage",
        f"{short_market_lines(metrics)}\n"
        f"{settings['paths']:,} bootstrap paths of the model's own hours, in blocks of about {settings['block']:,}",
        STRIP,
    )
    axes = figure.add_axes((0.12, 0.105, 0.685, 0.645))
    capital = metrics["capital"]
    at = curves.times[np.concatenate([[0], fan["bars"]])]
    values = capital * np.insert(np.array(fan["value"], dtype=np.float64), 0, 1.0, axis=1)
    observed = capital * np.insert(np.array(fan["observed"], dtype=np.float64), 0, 1.0)
    everything = np.concatenate([values.ravel(), observed])
    logarithmic = everything.max() / max(everything.min(), 1e-12) > LOG_FROM
    # A lost account has no place on a logarithmic axis.
    floor = capital / 100 if logarithmic else 0.0
    ends = [observed[-1], values[0, -1], values[len(values) // 2, -1], values[-1, -1]]
    values, observed = np.maximum(values, floor), np.maximum(observed, floor)
    count = len(values)
    for low in range(count // 2):
        high = count - 1 - low
        axes.fill_between(at, values[low], values[high], color=BLUE, alpha=0.14 + 0.1 * low, linewidth=0)
    axes.plot(at, values[count // 2], color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.plot(at, observed, color=STRATEGY["trained"], linewidth=1.9, zorder=4)
    axes.axhline(capital, color=INK, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
    if logarithmic:
        axes.set_yscale("log")
        wide = everything.max() / max(everything.min(), floor) > 10
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if wide else (1, 1.5, 2, 3, 5, 7)))
        axes.minorticks_off()
    elif np.ptp(everything) < 0.01 * capital:
        axes.set_ylim(0.95 * capital, 1.05 * capital)
    axes.yaxis.set_major_formatter(FuncFormatter(short_dollars))
    axes.set_ylabel("Equity, logarithmic" if logarithmic else "Equity")
    date_axis(axes)
    axes.set_ylim(*axes.get_ylim())
    lowest, highest = (f"{fan['percentiles'][end]:g}% end below" for end in (0, -1))
    names = ("the run", lowest, "median path", highest)
    labels = [
        f"{name}\n{short_dollars(end) if end >= 1e6 else dollars(end)}" for name, end in zip(names, ends, strict=True)
    ]
    end_labels(axes, np.maximum(ends, floor).tolist(), labels, [STRATEGY["trained"], MUTED, MUTED, MUTED])
    return figure
