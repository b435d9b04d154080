"""An archive that may not hold the market's prices: none of its files gives them back."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_inputs import CONFIGURATION, make_finished, make_project, pack, read
from scipy.spatial import KDTree

from archiving.reading import readable
from archiving.verification.program import verify
from common.errors import InputError
from trading.bars import read_bars

NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
LENGTH = 6  # hours in a row by which a curve is known again
NEAR = 5e-4  # in angles
RESULTS = "data/results/"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a finished run, long enough that evidence.json holds every fourth hour only."""
    folder = make_project(tmp_path_factory.mktemp("prices") / "project")
    make_finished(folder, hours=480)
    return folder


def shape(values: np.ndarray, stride: int = 1) -> np.ndarray:
    """What scaling and shifting leave of a series: ratios of neighbouring steps, LENGTH a row, as angles."""
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = values[stride:] - values[:-stride]
        angles = np.arctan(steps[stride:] / steps[:-stride])
    angles[(steps[stride:] == 0) | (steps[:-stride] == 0)] = np.nan  # pauses look the same everywhere
    if len(angles) < LENGTH * stride:
        return np.empty((0, LENGTH))
    rows = np.lib.stride_tricks.sliding_window_view(angles, (LENGTH - 1) * stride + 1)[:, ::stride]
    return rows[np.isfinite(rows).all(axis=1) & (np.ptp(rows, axis=1) > 0.5)]


def curves(project: Path) -> KDTree:
    """The prices, each strategy's equity and how far it is below its highest, all on both kinds of axes."""
    results = project / "results/made"
    of: dict[str, list[float]] = {}
    for line in (results / "leverage-2/equity.csv").read_text().splitlines()[1:]:
        _, strategy, _, _, equity, *_ = line.split(",")
        of.setdefault(strategy, []).append(float(equity))
    equities = [np.array(equity) for equity in of.values()]
    assert len(equities) == 4
    found = [read_bars(results / "market/bars.csv").close, *equities]
    found += [equity / np.maximum.accumulate(equity) for equity in equities if (equity > 0).all()]
    found += [np.log(curve) for curve in found if (curve > 0).all()]
    return KDTree(np.concatenate([shape(curve) for curve in found]))


def holding(files: Mapping[str, bytes], known: KDTree) -> set[str]:
    """The files from which hours of a curve can be read back; of a deck each part is looked through."""
    found = set()
    for name, content in files.items():
        for _, text in readable(name, content):
            rows = [len(NUMBER.findall(line)) for line in text.splitlines()[1:]]
            # Numbers from one hour to the next: of a list, of a path's x and y, of a table's or a file of JSON's lines.
            strides = {1, 2, max(set(rows), key=rows.count, default=1) or 1}
            numbers = np.array(NUMBER.findall(text), dtype=float)  # digits of a SHA-256 may be 1e999
            shapes = np.concatenate([shape(numbers, stride) for stride in strides])
            if len(shapes) and np.isfinite(known.query(shapes, distance_upper_bound=NEAR)[0]).sum() >= LENGTH:
                found.add(name)
    return found


def test_no_file_gives_prices_back_where_they_may_not_be_published(project: Path) -> None:
    known = curves(project)
    all_of_it = holding(read(pack(project)), known)
    # The control: what is found where prices may be in it.
    figures = {f"leverage-2/{name}.svg" for name in ("equity_curve", "drawdown", "decisions")}
    tables = {"market/bars.csv", "samples/test.jsonl", "leverage-2/equity.csv", "leverage-2/trades.csv"}
    assert {name.removeprefix(RESULTS) for name in all_of_it} == figures | tables | {"leverage-2/tearsheet.html"}
    files = read(pack(project, "--no-market-data"))
    assert holding(files, known) == set()
    assert {f"{RESULTS}leverage-2/{name}" for name in ("equity_curve.png", "metrics.json", "deck.pptx")} <= set(files)
    assert not any(name.endswith((".svg", ".html", "trades.csv")) for name in files)


def test_where_prices_may_not_be_published_the_bars_can_be_given(project: Path, tmp_path: Path) -> None:
    place = pack(project, "--no-market-data")
    fine, found = verify(place)
    assert found == []
    assert any(line.startswith("NOT CHECKED: the accounting") for line in fine)
    bars = project / "results/made/market/bars.csv"
    fine, found = verify(place, bars)
    assert found == []
    assert any("1,924 closes" in line for line in fine)
    other = tmp_path / "other.csv"
    other.write_text(bars.read_text().replace("2025-01-01", "2025-01-02", 1))
    assert "is not the file that the run used" in verify(place, other)[1][0]


@pytest.mark.parametrize("where", ["samples", "variants, seed-2"])
def test_answers_that_may_quote_prices_are_packed_only_if_allowed(project: Path, where: str) -> None:
    settings: dict[str, Any] = copy.deepcopy(CONFIGURATION)
    shown = {"name": "seed-2", "prompt": None, "mask": False}
    settings |= {"samples": {"prompt": "report", "mask": False}} if where == "samples" else {"variants": [shown]}
    with pytest.raises(InputError, match=f"^{where}: mask is false, .* archive.unmasked_answers: true"):
        pack(project, "--no-market-data", configuration=settings)
    assert pack(project, "--no-market-data", "--unmasked-answers", configuration=settings).exists()
    assert pack(project, configuration=settings).exists()
    compact = settings | {"samples": {"prompt": "compact", "mask": False}}
    assert pack(project, "--no-market-data", configuration=compact).exists()
