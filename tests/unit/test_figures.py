"""Figures: what they show, labels that keep apart, files that repeat, and inputs that are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from report_inputs import FIGURES, Run, edit_json, edit_lines, run_program
from report_runs import with_evidence

import plot
from common.errors import InputError
from common.files import read_json, read_jsonl, sha256
from report.chance import fan_figure, null_figure
from report.drawing import DPI, SIZE, spread, style
from report.figures import decisions_figure, drawdown_figure, equity_figure, rolling_window
from report.sensitivity import cost_latency_figure, leverage_figure
from report.theme import EVIDENCE_KEY, METRICS_KEY
from report.training import smoothed, smoothing_window, training_figure
from trading.decisions import read_decisions
from trading.tables import read_equity


def drawn(run: Run) -> dict[str, Figure]:
    """The figures, not written."""
    evidence = read_json(run.folder / "leverage-2/evidence.json")
    curves = read_equity(run.folder / "leverage-2/equity.csv")
    metrics = read_json(run.folder / "leverage-2/metrics.json")
    decisions = read_decisions(run.folder / "infer/trained/decisions.jsonl")
    return {
        "equity_curve": equity_figure(curves, metrics),
        "drawdown": drawdown_figure(curves, metrics),
        "decisions": decisions_figure(curves, decisions.decisions, decisions.statuses, metrics),
        "training": training_figure(read_jsonl(run.folder / "train/metrics.jsonl"), metrics),
        "null_distribution": null_figure(evidence, metrics),
        "bootstrap_fan": fan_figure(evidence, metrics, curves),
        "cost_latency": cost_latency_figure(evidence, metrics),
        "leverage": leverage_figure(evidence, metrics),
    }


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return with_evidence(tmp_path)


@pytest.fixture(autouse=True)
def drawing_style() -> Iterator[None]:
    with style():
        yield


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_every_figure_of_a_synthetic_market_says_so(run: Run) -> None:
    for name, figure in drawn(run).items():
        assert any("SYNTHETIC MARKET" in text for text in texts(figure)), name


def test_no_figure_of_a_real_market_says_synthetic(tmp_path: Path) -> None:
    for name, figure in drawn(with_evidence(tmp_path, synthetic=False, source="csv", name="BTC-USD")).items():
        assert not any("synthetic" in text.lower() for text in texts(figure)), name
        assert any("Market: BTC-USD" in text for text in texts(figure)), name


def test_the_ends_of_the_lines_carry_the_final_values(run: Run) -> None:
    found = texts(drawn(run)["equity_curve"])
    for row in read_json(run.folder / "leverage-2/metrics.json")["strategies"]:
        label = next(text for text in found if text.startswith(row["label"]))
        assert f"${row['final_capital']:,.0f}" in label


@pytest.mark.parametrize("name", ["equity_curve", "drawdown"])
def test_labels_do_not_overlap_and_stay_on_the_page(tmp_path: Path, name: str) -> None:
    figure = drawn(with_evidence(tmp_path, model="A model whose name is far too long for a label"))[name]
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.texts]
    for number, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y0 >= 0
        assert box.y1 <= figure.bbox.height
        for other in boxes[:number]:
            assert not box.overlaps(other)
    assert sum("… (GRPO)" in text or "…(base)" in text or "… (base)" in text for text in texts(figure)) == 2


def test_labels_would_overlap_if_they_were_not_moved(run: Run) -> None:
    # The control: four lines that all end at the capital.
    curves = read_equity(run.folder / "leverage-2/equity.csv")
    for book in curves.books.values():
        book.equity[:] = 100_000.0
    figure = equity_figure(curves, read_json(run.folder / "leverage-2/metrics.json"))
    centres = sorted(text.get_window_extent().y0 for text in figure.texts[2:])
    assert np.diff(centres).min() > 30


@given(
    wishes=st.lists(st.floats(0, 100), min_size=1, max_size=8),
    gap=st.floats(1, 40),
)
def test_spread_keeps_the_order_the_gap_and_the_limits(wishes: list[float], gap: float) -> None:
    placed = spread(wishes, gap, 0, 100)
    gap = min(gap, 100 / max(len(wishes) - 1, 1))
    assert placed.min() >= -1e-9
    assert placed.max() <= 100 + 1e-9
    assert (np.diff(np.sort(placed)) >= gap - 1e-9).all()
    order = np.argsort(wishes, kind="stable")
    assert (np.diff(placed[order]) >= -1e-9).all()


def test_spread_leaves_alone_what_does_not_overlap() -> None:
    np.testing.assert_allclose(spread([80, 10, 40], 10, 0, 100), [80, 10, 40])
    np.testing.assert_allclose(spread([50, 50], 10, 0, 100), [45, 55])


def test_a_wide_range_of_equity_is_logarithmic_and_a_narrow_one_is_not(tmp_path: Path) -> None:
    run = with_evidence(tmp_path)
    curves = read_equity(run.folder / "leverage-2/equity.csv")
    metrics = read_json(run.folder / "leverage-2/metrics.json")
    assert equity_figure(curves, metrics).axes[0].get_yscale() == "linear"
    curves.books["trained"].equity[-1] = 900_000
    assert equity_figure(curves, metrics).axes[0].get_yscale() == "log"
    curves.books["always_buy"].equity[-5:] = 0  # a lost account has no logarithm
    figure = equity_figure(curves, metrics)
    figure.canvas.draw()
    assert figure.axes[0].get_ylim()[0] > 0


def test_every_decision_has_its_own_colour_on_the_strip(run: Run) -> None:
    decisions = read_decisions(run.folder / "infer/trained/decisions.jsonl")
    strip = drawn(run)["decisions"].axes[1].collections[0].get_array()
    assert strip.shape[:2] == (1, len(decisions))
    of = {}
    for word, status, colour in zip(decisions.decisions, decisions.statuses, strip[0], strict=True):
        of.setdefault((word, status == "ok"), set()).add(tuple(colour))
    assert all(len(colours) == 1 for colours in of.values())
    assert len(set.union(*of.values())) == 3


def test_spikes_are_marked_in_every_panel_of_the_training(run: Run) -> None:
    for axes in drawn(run)["training"].axes:
        dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
        assert [line.get_xdata()[0] for line in dashed] == [121, 334, 421]


def test_a_spike_that_is_not_known_is_said_to_be_so(run: Run) -> None:
    assert "not known" not in headings(run)
    edit_lines(
        run.folder / "train/metrics.jsonl", lambda rows: [*rows[:-2], *({**r, "spike": None} for r in rows[-2:])]
    )
    assert "loss spikes: 3, not known of 2" in headings(run)


def headings(run: Run) -> str:
    return " ".join(text.get_text() for text in drawn(run)["training"].texts)


def test_the_moving_average_is_centred_and_shorter_at_the_ends() -> None:
    np.testing.assert_allclose(smoothed(np.array([1.0, 2.0, 3.0, 10.0]), 3), [1.5, 2, 5, 6.5])
    np.testing.assert_allclose(smoothed(np.array([4.0, 6.0]), 1), [4, 6])


def test_an_unknown_number_is_left_out_of_the_moving_average() -> None:
    nan = np.nan
    np.testing.assert_allclose(smoothed(np.array([1.0, nan, 3.0, 10.0, 5.0]), 3), [1, 2, 6.5, 6, 7.5])
    np.testing.assert_allclose(smoothed(np.array([nan, nan, nan, 2.0]), 3), [nan, nan, 2, 2])


def test_a_number_that_training_did_not_learn_is_a_gap(run: Run) -> None:
    path = run.folder / "train/metrics.jsonl"
    edit_lines(path, lambda rows: [{**r, "reward": None if i == 7 else r["reward"]} for i, r in enumerate(rows)])
    run_program(plot.main, run.plot)
    faint, smooth = drawn(run)["training"].axes[0].lines[:2]
    assert np.flatnonzero(np.isnan(faint.get_ydata())).tolist() == [7]
    assert np.isfinite(smooth.get_ydata()).all()


def test_a_curve_of_which_nothing_is_known_has_no_panel(run: Run) -> None:
    edit_lines(run.folder / "train/metrics.jsonl", lambda rows: [{**row, "kl": None} for row in rows])
    run_program(plot.main, run.plot)
    axes = drawn(run)["training"].axes
    assert [one.get_title("left").split()[0] for one in axes] == ["Reward", "Entropy", "Invalid"]
    assert [one.get_xlabel() for one in axes] == ["", "Iteration", "Iteration"]


def test_windows_fit_the_shortest_runs() -> None:
    assert [rolling_window(hours) for hours in (1, 60, 1706)] == [1, 10, 48]
    assert [smoothing_window(iterations) for iterations in (1, 20, 500)] == [1, 1, 25]


def test_as_few_hours_as_can_be_tested_and_one_iteration_can_be_drawn(tmp_path: Path) -> None:
    run = with_evidence(tmp_path, hours=30)
    edit_lines(run.folder / "train/metrics.jsonl", lambda rows: rows[:1])
    run_program(plot.main, run.plot)


def test_pictures_are_written_as_png_and_svg_and_repeat_to_the_byte(run: Run) -> None:
    run_program(plot.main, run.plot)
    folder = run.folder / "leverage-2"
    files = [folder / f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")]
    first = [file.read_bytes() for file in files]
    with Image.open(folder / "equity_curve.png") as image:
        assert image.size == (round(SIZE[0] * DPI), round(SIZE[1] * DPI))
        assert image.info[METRICS_KEY] == sha256(folder / "metrics.json")
        assert "Software" not in image.info
        assert EVIDENCE_KEY not in image.info
    for name in FIGURES[4:]:
        with Image.open(folder / f"{name}.png") as image:
            assert image.info[METRICS_KEY] == sha256(folder / "metrics.json")
            assert image.info[EVIDENCE_KEY] == sha256(folder / "evidence.json")
    # In a new process, since a process may remember what it drew.
    command = [sys.executable, plot.__file__, *map(str, run.plot)]
    subprocess.run(command, check=True)
    assert [file.read_bytes() for file in files] == first


def test_pyplot_is_not_imported() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import plot; print(*sys.modules)"
    command = [sys.executable, "-c", code, str(Path(plot.__file__).parent)]
    modules = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert "matplotlib.figure" in modules
    assert not {"matplotlib.pyplot", "pandas", "scipy"} & set(modules)


def refused(run: Run) -> str:
    with pytest.raises(InputError) as error:
        run_program(plot.main, run.plot)
    assert not list((run.folder / "leverage-2").glob("*.png"))
    return str(error.value)


def test_an_equity_table_of_another_simulation_is_refused(run: Run) -> None:
    path = run.folder / "leverage-2/metrics.json"
    rows = json.loads(path.read_text())["strategies"]
    rows[0]["final_capital"] += 1
    edit_json(path, strategies=rows)
    assert "is not of the same simulation as" in refused(run)


def test_decisions_of_another_run_are_refused(run: Run) -> None:
    edit_lines(run.folder / "infer/trained/decisions.jsonl", lambda rows: [{**r, "seed": 5} for r in rows])
    assert "was computed from another trained file" in refused(run)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kl": "0.1"}, 'line 2: no number under "kl"'),
        ({"iteration": None}, 'line 2: no number under "iteration"'),
        ({"spike": 1}, 'line 2: no true, false or null under "spike"'),
    ],
)
def test_a_training_log_without_a_curve_is_refused(run: Run, change: dict, words: str) -> None:
    edit_lines(run.folder / "train/metrics.jsonl", lambda rows: [rows[0], {**rows[1], **change}])
    assert words in refused(run)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fee_bps": None}, 'NoneType, not int or float, under "terms.fee_bps"'),
        ({"latency": "1"}, 'str, not int, under "terms.latency"'),
        ([], 'list, not dict, under "terms"'),
    ],
)
def test_terms_of_trade_that_are_none_are_refused(run: Run, given: Any, words: str) -> None:
    edit_json(run.folder / "leverage-2/metrics.json", terms=given)
    assert f"metrics.json: {words}. Run simulate again." in refused(run)


@pytest.mark.parametrize("file", ["metrics", "evidence"])
def test_a_file_without_its_fields_is_refused_by_name(run: Run, file: str) -> None:
    (run.folder / f"leverage-2/{file}.json").write_text("{}\n")
    message = refused(run)
    assert f'{file}.json: no "leverage". Run' in message


def test_evidence_of_another_simulation_is_refused(run: Run) -> None:
    edit_json(run.folder / "leverage-2/evidence.json", inputs={"metrics": "0", "equity": "0"})
    assert "was computed from another metrics file" in refused(run)
