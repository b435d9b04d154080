"""evaluate.py on a small run: what it writes, that it repeats, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_inputs import Run, edit_json, edit_lines, make_run, run_program

import evaluate
import simulate
from common.errors import InputError
from common.files import write_jsonl


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = make_run(tmp_path, hours=90, hits=0.8)
    run_program(simulate.main, run.simulate)
    return run


def evidence(run: Run, *more: Any) -> dict[str, Any]:
    run_program(evaluate.main, run.evaluate, *more)
    return json.loads((run.folder / "leverage-2/evidence.json").read_text())


def refused(run: Run, *more: Any) -> str:
    with pytest.raises(InputError) as error:
        run_program(evaluate.main, run.evaluate, *more)
    assert not (run.folder / "leverage-2/evidence.json").exists()
    return str(error.value)


def test_splits_that_share_a_bar_stop_the_run(run: Run) -> None:
    assert evidence(run)["tests"]["leakage"]["free_bars"] == {"train to test": 4}
    (run.folder / "leverage-2/evidence.json").unlink()
    bars = (run.folder / "market/bars.csv").read_text().splitlines()
    write_jsonl(run.folder / "samples/train.jsonl", [{"metadata": {"timestamp": bars[7].split(",")[0]}}])
    assert "the test samples look back on 2 bars of the train samples" in refused(run)


def test_decisions_on_other_hours_than_the_samples_are_refused(run: Run) -> None:
    edit_lines(run.folder / "samples/test.jsonl", lambda rows: rows[1:])
    assert "are other hours than those of" in refused(run)


def test_the_evidence_has_the_agreed_form(run: Run) -> None:
    found = evidence(run)
    assert list(found) == [
        "leverage", "terms", "market", "strategy", "verdict", "thresholds", "tests", "parameters", "inputs", "versions",
    ]  # fmt: skip
    metrics = json.loads((run.folder / "leverage-2/metrics.json").read_text())
    rows = {row["key"]: row for row in metrics["strategies"]}
    assert found["strategy"]["total_return"] == pytest.approx(rows["trained"]["total_return"])
    assert found["tests"]["exposure_matched_null"]["statistic"] == pytest.approx(rows["trained"]["total_return"])
    assert found["tests"]["bootstrap"]["max_drawdown"]["statistic"] == pytest.approx(rows["trained"]["max_drawdown"])
    assert "3 of 90 answers gave no decision" in found["verdict"]["sentences"]["invalid"]
    assert found["parameters"]["variants"] == []
    assert str(run.folder) not in json.dumps(found)


def test_the_same_inputs_give_the_same_bytes_and_count_one_trial(run: Run) -> None:
    evidence(run)
    file = run.folder / "leverage-2/evidence.json"
    first = file.read_bytes()
    assert evidence(run)["tests"]["sharpe"]["settings"]["trials"]["used"] == 1
    assert file.read_bytes() == first


def test_variants_are_tested_together_and_remembered(run: Run) -> None:
    other = run.folder / "infer/base/decisions.jsonl"
    found = evidence(run, "--variants", f"seed-2={other}")
    assert found["tests"]["reality_check"]["settings"]["variants"] == 2
    assert list(found["tests"]["base"]["variants"]["total_return"]) == ["trained", "seed-2"]
    assert found["parameters"]["variants"] == ["seed-2"]
    assert evidence(run)["tests"]["sharpe"]["settings"]["trials"]["ledger"] == 2
    run_again = evidence(run, "--trials", 9)
    assert run_again["tests"]["sharpe"]["settings"]["trials"]["used"] == 9


def test_another_leverage_another_file_and_another_curve_are_refused(run: Run) -> None:
    assert "is for leverage 2.0, not 3" in refused(run, "--leverage", 3)
    equity = run.folder / "leverage-2/equity.csv"
    kept = equity.read_text()
    lines = kept.splitlines()
    assert "is not on the same bars" in changed(equity, lines[:-1], run)
    assert "not a time, a strategy and five numbers" in changed(
        equity, [*lines[:5], lines[5].replace(",2.0,", ",nan,")], run
    )
    cells = lines[20].split(",")
    cells[4] = str(float(cells[4]) * 1.01)
    assert "another equity at bar 19" in changed(equity, [*lines[:20], ",".join(cells), *lines[21:]], run)
    equity.write_text(kept)
    edit_json(run.folder / "market/summary.json", name="Another")
    assert "computed from another market file" in refused(run)


@pytest.mark.parametrize("row", [{"key": []}, {"key": "trained", "label": 3}, None])
def test_a_strategy_without_a_name_is_refused(run: Run, row: Any) -> None:
    edit_json(run.folder / "leverage-2/metrics.json", strategies=[row])
    assert "metrics.json: a strategy has no label. Run simulate again." in refused(run)


@pytest.mark.parametrize("invalid", [None, [], "FLAT"])
def test_an_unknown_way_to_trade_invalid_answers_is_refused(run: Run, invalid: Any) -> None:
    edit_json(run.folder / "leverage-2/metrics.json", parameters={"invalid": invalid})
    assert f"metrics.json: parameters.invalid is {invalid!r}, none of " in refused(run)


def changed(equity: Path, lines: list[str], run: Run) -> str:
    equity.write_text("\n".join(lines) + "\n")
    return refused(run)


def test_a_doubled_decision_and_one_for_an_unknown_time_are_refused(run: Run) -> None:
    file = run.folder / "infer/trained/decisions.jsonl"
    rows = file.read_text()
    for change, words in (
        (lambda rows: [*rows[:3], rows[2], *rows[3:]], "a second decision for test-000002"),
        (lambda rows: [{**rows[0], "timestamp": "2031-01-01T00:00:00Z"}, *rows[1:]], "2031-01-01"),
    ):
        edit_lines(file, change)
        repair(run)
        assert words in refused(run)
        file.write_text(rows)


def repair(run: Run) -> None:
    """Let metrics.json be of the files that are there, so that the next check is reached."""
    from common.files import sha256

    metrics = run.folder / "leverage-2/metrics.json"
    inputs = json.loads(metrics.read_text())["inputs"]
    inputs |= {name: sha256(run.folder / f"infer/{name}/decisions.jsonl") for name in ("trained", "base")}
    edit_json(metrics, inputs=inputs)


def test_a_variant_of_another_length_or_a_name_twice_is_refused(run: Run) -> None:
    short = run.folder / "short.jsonl"
    short.write_text(
        "".join(f"{line}\n" for line in (run.folder / "infer/base/decisions.jsonl").read_text().splitlines()[:50])
    )
    assert "50 decisions, but" in refused(run, "--variants", f"short={short}")
    assert "the name trained is taken" in refused(run, "--variants", f"trained={short}")


def test_fewer_than_thirty_decisions_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, hours=29)
    run_program(simulate.main, run.simulate)
    assert "29 decisions are too few to test anything" in refused(run)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--trials", 0), ("--permutations", 0), ("--fast", 20), ("--seed", -1), ("--confidence", 1), ("--level", 0),
        ("--leverage", 0),
    ],
)  # fmt: skip
def test_numbers_that_make_no_sense_are_refused(run: Run, option: str, value: float) -> None:
    assert option.lstrip("-") in refused(run, option, value)
