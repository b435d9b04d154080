"""The figures of sensitivity: total return over cost and latency, and over leverage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from report import growth, terms
from report.drawing import HALF, legend_below, page
from report.figures import short_label, short_market_lines
from report.theme import BLUE, INK, MUTED, STRATEGY, VERMILLION, WHITE, market_heading, number, percent, times
from trading.accounting import Floats

# Blue gains, red loses, white is neither: the same distance for half and for double.
DIVERGING = LinearSegmentedColormap.from_list("loss and gain", [VERMILLION, "#F6D9C9", WHITE, "#C9DFEE", BLUE])
# Beyond a tenth or ten times the capital the colour stays.
WIDEST = float(np.log(10))


def cost_latency_figure(evidence: Mapping[str, Any], metrics: Mapping[str, Any]) -> Figure:
    """Heat map of the model's total return, the line on which it is zero, and where this run stands."""
    surface = evidence["tests"]["sensitivity"]["surface"]
    costs, latencies = (np.array(surface[name], dtype=np.float64) for name in ("cost_bps", "latency"))
    values = growth.height(surface["total_return"])
    figure = page(
        f"Total return over costs and latency, {times(metrics['leverage'])} leverage",
        f"{market_heading(metrics['market'], 40)}\n"
        f"The same decisions of {clipped_label(metrics)}, filled later and at other costs",
        HALF,
    )
    axes = figure.add_axes((0.1, 0.205, 0.72, 0.6))
    reach = min(max(float(np.abs(values).max()), 0.05), WIDEST)
    mesh = axes.pcolormesh(costs, latencies, values, cmap=DIVERGING, vmin=-reach, vmax=reach, rasterized=True)
    axes.grid(False)
    border = border_of_gain(costs, latencies, values)
    axes.add_collection(LineCollection(border, colors=INK, linewidths=1.6, capstyle="projecting"), autolim=False)
    if not values.any():
        axes.text(0.5, 0.5, "nothing earned, nothing lost", transform=axes.transAxes, ha="center", color=MUTED)
    axes.set_xlabel("Fee and slippage, basis points a side")
    axes.set_ylabel("Hours from decision to fill")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    low, high = (-reach, reach)
    beyond = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    bar = figure.colorbar(
        mesh, cax=figure.add_axes((0.85, 0.205, 0.025, 0.6)),
        extend=beyond[bool(values.min() < low), bool(values.max() > high)],
    )  # fmt: skip
    growth.return_axis(bar.ax.yaxis, low, high, most=9)
    bar.outline.set_visible(False)
    mark = mark_run(axes, metrics, costs, latencies)
    handles = [mark]
    if border:
        handles.append(Line2D([], [], color=INK, linewidth=1.6, label="between gain and loss"))
    legend_below(figure, handles)
    return figure


def border_of_gain(costs: Floats, latencies: Floats, values: Floats) -> list[list[tuple[float, float]]]:
    """The lines between cells of the map that gain and neighbours that do not, each as two points."""
    gains = values > 0
    x, y = (
        np.concatenate([[1.5 * at[0] - 0.5 * at[1]], (at[1:] + at[:-1]) / 2, [1.5 * at[-1] - 0.5 * at[-2]]])
        for at in (costs, latencies)
    )
    upright = np.argwhere(np.diff(gains, axis=1))
    level = np.argwhere(np.diff(gains, axis=0))
    return [
        *([(x[j + 1], y[i]), (x[j + 1], y[i + 1])] for i, j in upright),
        *([(x[j], y[i + 1]), (x[j + 1], y[i + 1])] for i, j in level),
    ]


def clipped_label(metrics: Mapping[str, Any]) -> str:
    """The trained model's label."""
    return short_label(next(row for row in metrics["strategies"] if row["key"] == "trained"))


def mark_run(axes: Axes, metrics: Mapping[str, Any], costs: np.ndarray, latencies: np.ndarray) -> Line2D:
    """A point at the run's own cost and latency, at the margin if they lie beyond the map; gives its legend entry."""
    own = terms.terms_of(metrics)
    cost, latency = terms.side_cost(own), own["latency"]
    row = next(row for row in metrics["strategies"] if row["key"] == "trained")
    at = (min(max(cost, costs[0]), costs[-1]), min(max(latency, latencies[0]), latencies[-1]))
    inside = at == (cost, latency)
    look: dict[str, Any] = {
        "marker": "o" if inside else ">", "markersize": 9, "linestyle": "",
        "markerfacecolor": WHITE, "markeredgecolor": INK, "markeredgewidth": 2,
    }  # fmt: skip
    axes.plot(*at, **look, clip_on=False, zorder=6)
    place = "" if inside else f" at {number(cost)} bp and {latency} h, beyond the map"
    return Line2D([], [], **look, label=f"this run{place}: {percent(row['total_return'])}")


def leverage_figure(evidence: Mapping[str, Any], metrics: Mapping[str, Any]) -> Figure:
    """Total return of model, base model and constant positions over leverage."""
    test = evidence["tests"]["sensitivity"]
    leverages = np.array(test["leverage"]["values"], dtype=np.float64)
    rows = {row["key"]: row for row in metrics["strategies"]}
    curves = {key: growth.height(values) for key, values in test["leverage"]["total_return"].items()}
    run = metrics["leverage"]
    end = shown_until(leverages, np.array(list(curves.values())), run)
    figure = page(
        "Total return (logarithmic) over leverage",
        f"{short_market_lines(metrics)}\n{liquidation_line(evidence, metrics, end)}",
        HALF,
    )
    axes = figure.add_axes((0.135, 0.285, 0.84, 0.45))
    shown = leverages <= end
    for key, row in rows.items():
        trained = key == "trained"
        axes.plot(
            leverages[shown], curves[key][shown], color=STRATEGY[key], linewidth=2.1 if trained else 1.4,
            zorder=4 if trained else 3, label=f"{short_label(row)} {percent(row['total_return'])}",
        )  # fmt: skip
        if run <= end:
            axes.plot(run, growth.height(row["total_return"]), "o", color=STRATEGY[key], markersize=6, zorder=5)
    low, high = growth.limits(*(curve[shown] for curve in curves.values()))
    axes.set_ylim(low, high)
    axes.set_xlim(0, end)
    growth.return_axis(axes.yaxis, low, high, most=8)
    axes.axhline(0, color=MUTED, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
    axes.set_xlabel("Leverage")
    mark_leverage(axes, run, end, f"this run, {times(run)}", INK)
    liquidated = test["liquidation_leverage"]
    if liquidated is not None and liquidated <= end:
        axes.axvline(liquidated, color=STRATEGY["trained"], linewidth=1.2, linestyle=(0, (1, 2)))
    legend_below(figure, axes.get_legend_handles_labels()[0], title=f"Total return at {times(run)}:")
    return figure


def mark_leverage(axes: Axes, run: float, end: float, text: str, ink: str) -> None:
    """A line at the run's leverage with its name; a note at the margin if it lies beyond the chart."""
    if run > end:
        text += ", beyond the chart"
    else:
        axes.axvline(run, color=ink, linewidth=1.2, linestyle=(0, (4, 2)), zorder=2)
    left = run < 0.7 * end
    axes.text(
        min(run, end), 1.015, text, transform=axes.get_xaxis_transform(), ha="left" if left else "right", va="bottom",
        color=ink, fontsize=9.5,
    )  # fmt: skip


def liquidation_line(evidence: Mapping[str, Any], metrics: Mapping[str, Any], end: float) -> str:
    """From which leverage on the model loses its account, which a dotted line marks on a chart that reaches there."""
    test = evidence["tests"]["sensitivity"]
    at = test["liquidation_leverage"]
    name = clipped_label(metrics)
    if at is None:
        return f"{name} is never liquidated, up to {times(test['settings']['most_leverage'])}"
    return f"{name} is liquidated from {leverage_number(at)} on{' (dotted)' if at <= end else ', beyond the chart'}"


def leverage_number(value: float) -> str:
    """A leverage that was searched for, to three digits."""
    return f"{value:.3g}x"


def shown_until(leverages: np.ndarray, heights: np.ndarray, run: float) -> float:
    """Where the chart ends: a little after the last strategy has lost all, but not before the run's leverage."""
    alive = (heights > growth.FLOOR).any(axis=0)
    last = float(leverages[alive][-1]) if alive.any() else float(leverages[0])
    wanted = max(1.05 * last, 1.5 * run)
    return float(leverages[-1]) if wanted >= leverages[-1] else wanted
