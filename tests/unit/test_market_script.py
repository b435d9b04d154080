"""scripts/market.py as a program: its files, and one line instead of a traceback for what it cannot use."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from trading.bars import read_bars

SCRIPT = Path(__file__).parents[2] / "scripts" / "market.py"
GOOD = "timestamp,close\n2025-01-01T00:00:00Z,100\n2025-01-01T01:00:00Z,101.5\n2025-01-01T02:00:00Z,99\n"


def run(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    outputs = ["--output-bars", str(folder / "bars.csv"), "--output-summary", str(folder / "summary.json")]
    return subprocess.run(
        [sys.executable, str(SCRIPT), "--name", "X", *flags, *outputs],
        capture_output=True,
        text=True,
        timeout=60,
    )


def csv(folder: Path, text: str, *flags: str) -> subprocess.CompletedProcess[str]:
    (folder / "in.csv").write_text(text)
    return run(folder, "--source", "csv", "--csv-path", str(folder / "in.csv"), *flags)


def test_the_synthetic_market_and_its_summary(tmp_path: Path) -> None:
    done = run(tmp_path, "--source", "synthetic", "--synthetic-seed", "5", "--synthetic-bars", "2500")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("market: X, 2500 bars, 2025-01-01T00:00:00Z to 2025-04-15T03:00:00Z, ")
    summary = json.loads((tmp_path / "summary.json").read_text())
    bars = read_bars(tmp_path / "bars.csv")
    assert summary["synthetic"] is True
    assert summary["bars"] == len(bars) == 2500
    assert summary["total_return"] == bars.close[-1] / bars.close[0] - 1
    assert summary["calibration"]["sell_capital_reached"] == 149632.0
    assert summary["parameters"]["synthetic_seed"] == 5
    assert not [name for name in summary["parameters"] if name.startswith(("csv", "download"))]
    assert str(tmp_path) not in (tmp_path / "summary.json").read_text()

    first = [(tmp_path / name).read_bytes() for name in ("bars.csv", "summary.json")]
    run(tmp_path, "--source", "synthetic", "--synthetic-seed", "5", "--synthetic-bars", "2500")
    assert [(tmp_path / name).read_bytes() for name in ("bars.csv", "summary.json")] == first


def test_a_csv_and_its_summary(tmp_path: Path) -> None:
    sha256 = hashlib.sha256(GOOD.encode()).hexdigest()
    done = csv(tmp_path, GOOD, "--csv-sha256", sha256)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (tmp_path / "bars.csv").read_text().splitlines()[1] == "2025-01-01T00:00:00Z,100.0"
    assert summary["inputs"] == {"csv": sha256}
    assert summary["synthetic"] is False
    assert "calibration" not in summary
    assert summary["parameters"] == {"csv_sha256": sha256, "gaps": "refuse", "name": "X", "source": "csv"}


BAD = {
    "column": (GOOD.replace("close", "Close"), [], "in.csv, line 1: column close is missing"),
    "gap": (GOOD.replace("02:00", "03:00") + "2025-01-01T04:00:00Z,1\n", [], "in.csv, line 4: a gap"),
    "price": (GOOD.replace("101.5", "-1"), [], "in.csv, line 3: close is -1"),
    "hash": (GOOD, ["--csv-sha256", "0" * 64], "in.csv: SHA-256 is"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_line_exit_code_1_and_leaves_what_was_there(tmp_path: Path, case: str) -> None:
    text, flags, words = BAD[case]
    for name in ("bars.csv", "summary.json"):
        (tmp_path / name).write_text("of an earlier run")
    done = csv(tmp_path, text, *flags)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("market: error: ")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bars.csv", "in.csv", "summary.json"]
    assert (tmp_path / "bars.csv").read_text() == (tmp_path / "summary.json").read_text() == "of an earlier run"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--source", "csv"], "market.csv.path: is missing"),
        (["--source", "csv", "--csv-path", "/nowhere/x.csv"], "/nowhere/x.csv: no such file"),
        (
            ["--source", "download", "--download-url", "http://127.0.0.1/x"],
            "market.download.sha256: is missing",
        ),
        (["--source", "synthetic", "--synthetic-bars", "100"], "market.synthetic.bars: is 100, too few"),
    ],
)
def test_a_source_that_cannot_be_used_is_one_line_and_writes_nothing(
    tmp_path: Path, flags: list[str], words: str
) -> None:
    done = run(tmp_path, *flags)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_not_there_is_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refuses, and nobody else can take it
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x"
        done = run(tmp_path, "--source", "download", "--download-url", url, "--download-sha256", "0" * 64)
    assert done.returncode == 1
    assert f"{url}: cannot be reached" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
