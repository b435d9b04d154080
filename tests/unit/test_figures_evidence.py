"""The figures of the tests: what they mark, that nothing leaves the page, and every kind of extreme trader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report_inputs import Run
from report_runs import KINDS, with_evidence

from common.files import read_json
from report import growth
from report.chance import LOST_WIDTH, central, draw_draws, fan_figure, null_figure
from report.drawing import HALF, page, style
from report.sensitivity import border_of_gain, cost_latency_figure, leverage_figure, shown_until
from report.theme import STRATEGY
from trading.tables import read_equity


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    return {kind: with_evidence(folder / kind.replace(" ", "-"), **changes) for kind, changes in KINDS.items()}


@pytest.fixture(autouse=True)
def drawing_style() -> Iterator[None]:
    with style():
        yield


def read(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Evidence and metrics."""
    return tuple(read_json(run.folder / f"leverage-2/{name}.json") for name in ("evidence", "metrics"))


def drawn(run: Run) -> dict[str, Figure]:
    evidence, metrics = read(run)
    return {
        "null": null_figure(evidence, metrics),
        "fan": fan_figure(evidence, metrics, read_equity(run.folder / "leverage-2/equity.csv")),
        "costs": cost_latency_figure(evidence, metrics),
        "leverage": leverage_figure(evidence, metrics),
    }


def row_of(metrics: dict[str, Any], key: str) -> dict[str, Any]:
    return next(row for row in metrics["strategies"] if row["key"] == key)


def outside(figure: Figure) -> list[str]:
    """Texts that leave the page."""
    figure.canvas.draw()
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        texts += [axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            texts += [tick.label2 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    found = []
    for text in texts:
        box = text.get_window_extent()
        if (
            text.get_visible()
            and text.get_text()
            and not (
                box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.width + 1 and box.y1 <= figure.bbox.height + 1
            )
        ):
            found.append(text.get_text())
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_leaves_the_page(runs: dict[str, Run], kind: str) -> None:
    for name, figure in drawn(runs[kind]).items():
        assert outside(figure) == [], name


def test_the_control_finds_a_text_that_leaves_the_page() -> None:
    figure = page("Title", "subtitle", HALF)
    assert outside(figure) == []
    figure.text(0.9, 0.5, "a text that begins near the right margin")
    assert len(outside(figure)) == 1


def test_a_long_subtitle_is_made_to_fit() -> None:
    figure = page("Title", "a subtitle that goes on " * 8, HALF)
    assert outside(figure) == []
    assert figure.texts[1].get_fontsize() < 9


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_says_what_market_it_is_of(runs: dict[str, Run], kind: str) -> None:
    synthetic = KINDS[kind].get("synthetic", True)
    for name, figure in drawn(runs[kind]).items():
        said = " ".join(text.get_text() for text in figure.texts)
        assert ("SYNTHETIC MARKET" in said) == synthetic, name
        assert synthetic or "Market: BTC-USD" in said, name


# Null distribution ---------------------------------------------------------------------------------------


def vertical_lines(axes: Axes) -> dict[str, float]:
    """Colour to place."""
    return {line.get_color(): float(line.get_xdata()[0]) for line in axes.lines if len(set(line.get_xdata())) == 1}


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_and_the_constant_positions_are_marked_at_their_returns(runs: dict[str, Run], kind: str) -> None:
    evidence, metrics = read(runs[kind])
    axes = null_figure(evidence, metrics).axes[0]
    marks = vertical_lines(axes)
    for key in ("trained", "always_buy", "always_sell"):
        expected = float(growth.height(row_of(metrics, key)["total_return"]))
        assert marks[STRATEGY[key]] == pytest.approx(expected)
        assert axes.get_xlim()[0] < expected < axes.get_xlim()[1]


def test_the_p_value_stands_beside_the_model_unless_there_was_nothing_to_test(runs: dict[str, Run]) -> None:
    for kind, expected in (("chance", True), ("strong", True), ("constant", False), ("no position", False)):
        legend = null_figure(*read(runs[kind])).legends[0]
        own = next(text.get_text() for text in legend.get_texts() if "(GRPO)" in text.get_text())
        assert ("p = " in own or "p < " in own) == expected, kind


def test_draws_are_shares_and_those_that_lost_all_share_one_bar() -> None:
    figure = page("", "", HALF)
    axes = figure.add_subplot()
    returns = np.array([-0.999999, -0.9999, -0.99, -0.5, 1.0])
    draw_draws(axes, growth.height(returns), 2, [5, 3, 1, 1], [0, 0, 1, 1])
    permutations, shifts = axes.patches
    assert permutations.get_data().values.tolist() == [0.8, 0.1, 0.1]
    assert shifts.get_data().values.tolist() == [0, 0.5, 0.5]
    edges = permutations.get_data().edges
    assert edges[:2] == pytest.approx([growth.FLOOR - LOST_WIDTH / 2, growth.FLOOR + LOST_WIDTH / 2])
    assert edges[2:] == pytest.approx(np.log([0.5, 2.0]))


def test_a_lone_lucky_draw_does_not_squeeze_the_rest() -> None:
    edges = np.linspace(-1, 9, 11)
    counts = [500, 499, 0, 0, 0, 0, 0, 0, 0, 1]
    low, high = central(edges, {"permutations": counts, "shifts": counts}).reshape(2, 2)[0]
    assert (low, high) == (-1, 1)


# Bootstrap fan -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_fan_starts_at_the_capital_and_ends_at_the_runs(runs: dict[str, Run], kind: str) -> None:
    evidence, metrics = read(runs[kind])
    figure = fan_figure(evidence, metrics, read_equity(runs[kind].folder / "leverage-2/equity.csv"))
    line = next(line for line in figure.axes[0].lines if line.get_color() == STRATEGY["trained"])
    final = row_of(metrics, "trained")["final_capital"]
    assert line.get_ydata()[0] == metrics["capital"]
    assert line.get_ydata()[-1] == pytest.approx(max(final, metrics["capital"] / 100), abs=1e-6)
    assert any(text.get_text() == f"the run\n${final:,.0f}" for text in figure.texts)


# Costs, latency, leverage --------------------------------------------------------------------------------


def test_the_run_is_marked_at_its_own_costs_and_latency(runs: dict[str, Run]) -> None:
    for kind, expected in (("planted", (0, 0)), ("costly", (5.5, 2))):
        axes = cost_latency_figure(*read(runs[kind])).axes[0]
        assert [tuple(line.get_xydata()[0]) for line in axes.lines] == [expected]


def test_a_run_beyond_the_map_is_marked_at_its_margin_and_named(runs: dict[str, Run]) -> None:
    evidence, metrics = read(runs["costly"])
    metrics["terms"] |= {"fee_bps": 50.0, "latency": 30}
    figure = cost_latency_figure(evidence, metrics)
    assert tuple(figure.axes[0].lines[0].get_xydata()[0]) == (20, 12)
    assert "this run at 51.5 bp and 30 h, beyond the map" in figure.legends[0].get_texts()[0].get_text()


def test_the_border_of_gain_follows_the_cells() -> None:
    # Only the cell at cost 0, latency 0 gains: a step right of it and one above it.
    border = border_of_gain(np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([[0.2, -0.1], [-0.1, 0.0]]))
    assert sorted(border) == [[(-0.5, 0.5), (0.5, 0.5)], [(0.5, -0.5), (0.5, 0.5)]]


@given(gains=st.lists(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=3, max_size=3), min_size=2, max_size=4))
def test_the_border_has_a_piece_for_each_pair_of_unlike_neighbours(gains: list[list[float]]) -> None:
    values = np.array(gains)
    rows, columns = values.shape
    expected = sum(
        (values[i, j] > 0) != (values[i + a, j + b] > 0)
        for i in range(rows) for j in range(columns) for a, b in ((0, 1), (1, 0)) if i + a < rows and j + b < columns
    )  # fmt: skip
    assert len(border_of_gain(np.arange(3.0), np.arange(float(rows)), values)) == expected


def test_no_gain_and_no_loss_is_as_white_as_the_middle_of_the_scale(runs: dict[str, Run]) -> None:
    mesh = cost_latency_figure(*read(runs["no position"])).axes[0].collections[0]
    assert mesh.norm.vmin == -mesh.norm.vmax
    assert mesh.cmap(mesh.norm(0.0))[:3] == pytest.approx((1, 1, 1), abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_leverage_marks_the_run_on_every_curve_or_says_that_it_lies_beyond(runs: dict[str, Run], kind: str) -> None:
    evidence, metrics = read(runs[kind])
    figure = leverage_figure(evidence, metrics)
    axes, run = figure.axes[0], metrics["leverage"]
    dots = {line.get_color(): line.get_xydata()[0] for line in axes.lines if line.get_marker() == "o"}
    said = " ".join(text.get_text() for text in [*axes.texts, *figure.texts])
    if run > axes.get_xlim()[1]:
        assert not dots
        assert f"this run, {run:g}x, beyond the chart" in said
        return
    assert f"this run, {run:g}x" in said
    for row in metrics["strategies"]:
        assert dots[STRATEGY[row["key"]]] == pytest.approx((run, float(growth.height(row["total_return"]))))


def test_the_liquidation_leverage_is_named_and_marked_where_it_shows(runs: dict[str, Run]) -> None:
    evidence, metrics = read(runs["planted"])
    test = evidence["tests"]["sensitivity"]
    for at, words, lines in ((6.5, "is liquidated from 6.5x on (dotted)", 1), (None, "is never liquidated, up to", 0)):
        test["liquidation_leverage"] = at
        figure = leverage_figure(evidence, metrics)
        assert any(words in text.get_text() for text in figure.texts)
        assert sum(list(line.get_xdata()) == [6.5, 6.5] for line in figure.axes[0].lines) == lines


def test_the_chart_ends_where_everything_is_lost_but_not_before_the_run() -> None:
    leverages = np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    heights = np.where(leverages <= 3, 0.0, growth.FLOOR)[np.newaxis]
    assert shown_until(leverages, heights, 1.0) == pytest.approx(3.15)
    assert shown_until(leverages, heights, 4.0) == 6
    assert shown_until(leverages, np.zeros((1, 11)), 2.0) == 10


# The axis of returns -------------------------------------------------------------------------------------


def test_doubling_is_as_far_as_halving_and_a_total_loss_is_the_floor() -> None:
    double, half, lost, nothing = growth.height([1.0, -0.5, -1.0, 0.0])
    assert double == pytest.approx(-half)
    assert lost == growth.FLOOR
    assert nothing == 0


def test_end_capitals_are_labelled_as_returns() -> None:
    minus = "\N{MINUS SIGN}"
    assert [growth.label(v) for v in (1.0, 1.5, 0.1, 1.005, 100.0)] == ["0%", "+50%", f"{minus}90%", "+0.5%", "+9,900%"]
    assert growth.label(5000.0) == "5,000x"


@given(low=st.floats(-4.6, 3), high=st.floats(-4.6, 12), most=st.integers(4, 10))
def test_ticks_lie_within_the_limits_and_are_not_too_many(low: float, high: float, most: int) -> None:
    assume(high - low > 0.02)
    found = growth.ticks(low, high, most)
    assert 1 <= len(found) <= most
    assert found == sorted(found)
    assert found == [1.0] or ((np.log(found) >= low - 1e-6).all() and (np.log(found) <= high + 1e-6).all())


def test_figures_of_the_same_evidence_are_the_same(tmp_path: Path) -> None:
    run = with_evidence(tmp_path)
    first = {name: np.asarray(figure.canvas.buffer_rgba()).copy() for name, figure in painted(run).items()}
    again = painted(run)
    assert all((np.asarray(again[name].canvas.buffer_rgba()) == pixels).all() for name, pixels in first.items())


def painted(run: Run) -> dict[str, Figure]:
    figures = drawn(run)
    for figure in figures.values():
        figure.canvas.draw()
    return figures
