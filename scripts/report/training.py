"""The figure of a training: reward, KL to the base model, entropy, invalid answers, loss spikes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from report.drawing import page
from report.theme import BLUE, GREEN, MUTED, ORANGE, PURPLE, VERMILLION, market_heading
from trading.accounting import Floats

PANELS = (
    ("reward", "Reward per answer (mean)", BLUE),
    ("kl", "KL divergence from the base model", PURPLE),
    ("entropy", "Entropy of the answers (nats a token)", GREEN),
    ("invalid", "Invalid answers", VERMILLION),
)

DASHES = (0, (3, 2))


def training_figure(rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]) -> Figure:
    """Four curves over the iterations: each as it was, faint, and its moving average.

    Where a number is not known there is a gap, and no panel where none is.

    Parameters
    ----------
    rows
        The objects of train/metrics.jsonl in order.
    metrics
        metrics.json of the simulation, for the names of model and market.
    """
    iterations = np.array([row["iteration"] for row in rows])
    spikes = iterations[np.array([row["spike"] is True for row in rows])]
    unknown = sum(row["spike"] is None for row in rows)
    window = smoothing_window(iterations.size)
    curves = {name: np.array([row[name] for row in rows], dtype=np.float64) for name, _, _ in PANELS}  # null: NaN
    panels = [panel for panel in PANELS if np.isfinite(curves[panel[0]]).any()]
    figure = page(
        f"Training with GRPO, {iterations.size:,} iterations",
        f"{market_heading(metrics['market'])}  |  faint: each iteration, solid: average of {window}  |  "
        f"loss spikes: {spikes.size or 'none'}{f', not known of {unknown:,}' if unknown else ''}",
    )
    grid = figure.add_gridspec(2, 2, left=0.06, right=0.985, top=0.815, bottom=0.09, hspace=0.42, wspace=0.14)
    for number, (name, title, colour) in enumerate(panels):
        axes = figure.add_subplot(grid[number // 2, number % 2])
        draw_panel(axes, iterations, curves[name], window, colour)
        axes.set_title(title)
        if name == "invalid":
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
            axes.set_ylim(bottom=0)
        if name == "reward":
            draw_validation(axes, rows)
        for spike in spikes:
            axes.axvline(spike, color=ORANGE, linewidth=1.2, linestyle=DASHES, zorder=1)
        if number + 2 >= len(panels):
            axes.set_xlabel("Iteration")
    marks = [Line2D([], [], color=MUTED, linestyle="", marker="D", markersize=4.5, label="validation samples")]
    if spikes.size:
        marks.append(Line2D([], [], color=ORANGE, linewidth=1.2, linestyle=DASHES, label="loss spike"))
    if not any(row.get("validation") for row in rows):
        del marks[0]
    if marks:
        figure.legend(handles=marks, loc="upper right", bbox_to_anchor=(0.99, 0.985), ncols=2)
    return figure


def draw_panel(axes: Axes, iterations: np.ndarray, values: Floats, window: int, colour: str) -> None:
    """One curve, as it was and smoothed."""
    axes.plot(iterations, values, color=colour, linewidth=0.8, alpha=0.3)
    axes.plot(iterations, smoothed(values, window), color=colour, linewidth=2)
    axes.set_xlim(iterations[0], max(iterations[-1], iterations[0] + 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.locator_params(axis="y", nbins=5)


def draw_validation(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """The reward on the validation samples, where it was taken."""
    points = [(row["iteration"], row["validation"]["reward"]) for row in rows if row.get("validation")]
    if points:
        at, reward = zip(*points, strict=True)
        axes.plot(at, reward, "D", color=MUTED, markersize=4.5, zorder=5)


def smoothed(values: Floats, window: int) -> Floats:
    """Centred moving average of what is known, shorter at both ends; shape of `values`, NaN where nothing is known."""
    known = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    index = np.arange(values.size)
    low = np.maximum(index - window // 2, 0)
    high = np.minimum(index + (window + 1) // 2, values.size)
    number = count[high] - count[low]
    return np.where(number > 0, (total[high] - total[low]) / np.maximum(number, 1), np.nan)


def smoothing_window(iterations: int) -> int:
    """Iterations to average over: a twentieth of them, an odd number."""
    return max(1, iterations // 20) | 1
