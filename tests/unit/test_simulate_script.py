"""simulate.py on a small run: what it writes, that it repeats, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from report_inputs import Run, edit_json, edit_lines, make_run, run_program

import simulate
from common.errors import InputError
from common.files import read_jsonl, sha256

OUTPUTS = ("equity.csv", "trades.csv", "metrics.json")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path)


def metrics(run: Run) -> dict[str, Any]:
    return json.loads((run.folder / "leverage-2/metrics.json").read_text())


def refused(run: Run, *more: Any) -> str:
    """The message with which simulate stops; nothing is written then."""
    with pytest.raises(InputError) as error:
        run_program(simulate.main, run.simulate, *more)
    assert not (run.folder / "leverage-2").exists()
    return str(error.value)


def test_the_calibrated_market_gives_the_published_figures_to_the_dollar(tmp_path: Path) -> None:
    run = make_run(tmp_path, hours=1706)
    run_program(simulate.main, run.simulate)
    rows = {row["key"]: row for row in metrics(run)["strategies"]}
    assert round(rows["always_sell"]["final_capital"]) == 149_632
    assert round(rows["always_buy"]["final_capital"]) == 52_437
    assert metrics(run)["market"]["return"] == pytest.approx(-0.254, abs=2e-3)
    with open(run.folder / "leverage-2/equity.csv") as handle:
        assert len(list(csv.DictReader(handle))) == 4 * 1707


def test_the_metrics_have_the_agreed_form(run: Run) -> None:
    run_program(simulate.main, run.simulate)
    found = metrics(run)
    assert list(found) == [
        "leverage", "capital", "sizing", "terms", "market", "strategies", "parameters", "inputs", "versions",
    ]  # fmt: skip
    assert (found["leverage"], found["capital"], found["sizing"]) == (2, 100_000, "rebalanced")
    assert list(found["market"]) == ["name", "synthetic", "return", "first", "last", "hours"]
    assert found["market"]["hours"] == 60
    finals = [row["final_capital"] for row in found["strategies"]]
    assert finals == sorted(finals, reverse=True)
    labels = {row["key"]: row["label"] for row in found["strategies"]}
    assert labels == {
        "always_buy": "Always Buy",
        "always_sell": "Always Sell",
        "trained": "Tiny-Qwen3 (GRPO)",
        "base": "Tiny-Qwen3 (base)",
    }
    assert found["inputs"]["trained"] == sha256(run.folder / "infer/trained/decisions.jsonl")
    assert found["parameters"]["invalid"] == "HOLD"


def test_the_same_inputs_give_the_same_bytes(run: Run) -> None:
    run_program(simulate.main, run.simulate)
    first = {name: (run.folder / "leverage-2" / name).read_bytes() for name in OUTPUTS}
    run_program(simulate.main, run.simulate)
    assert first == {name: (run.folder / "leverage-2" / name).read_bytes() for name in OUTPUTS}


def test_invalid_answers_are_counted_and_trade_as_configured(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run_program(simulate.main, run.simulate)
    rows = {row["key"]: row for row in metrics(run)["strategies"]}
    assert (rows["trained"]["truncated"], rows["trained"]["unparsable"]) == (2, 1)
    assert (rows["base"]["truncated"], rows["base"]["unparsable"]) == (3, 2)
    assert rows["trained"]["share_flat"] == pytest.approx(3 / 60)
    assert "3 of 60 answers are invalid (2 truncated, 1 unparsable) and trade as HOLD" in capsys.readouterr().err
    run_program(simulate.main, run.simulate, "--invalid", "BUY")
    rows = {row["key"]: row for row in metrics(run)["strategies"]}
    assert rows["trained"]["share_flat"] == 0


def finish_one(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first truncated answer finished by a second pass, with Buy."""
    first = next(number for number, row in enumerate(rows) if row["status"] == "truncated")
    return [row | {"decision": "BUY", "status": "finished"} if n == first else row for n, row in enumerate(rows)]


def test_finished_answers_trade_and_are_counted_apart(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    edit_lines(run.folder / "infer/trained/decisions.jsonl", finish_one)
    assert "says buy" in refused(run)  # the summary was counted before
    buys = sum(row["decision"] == "BUY" for row in read_jsonl(run.folder / "infer/trained/decisions.jsonl"))
    edit_json(run.folder / "infer/trained/summary.json", buy=buys, truncated=1)
    assert "says finished 0, but" in refused(run)
    edit_json(run.folder / "infer/trained/summary.json", finished=1)
    run_program(simulate.main, run.simulate)
    rows = {row["key"]: row for row in metrics(run)["strategies"]}
    assert [rows["trained"][name] for name in ("finished", "truncated", "unparsable")] == [1, 1, 1]
    assert rows["trained"]["share_flat"] == pytest.approx(2 / 60)
    assert "1 of 60 answers were cut, and finished in a second pass" in capsys.readouterr().err


def test_too_many_invalid_answers_of_either_model_stop_the_run(run: Run) -> None:
    message = refused(run, "--max-invalid-share", "0.04")
    assert "3 of the trained model's 60 answers (5.0%) are invalid (2 truncated, 1 unparsable), more than" in message
    assert "the 4.0% that max_invalid_share allows" in message
    assert str(run.folder / "infer/trained/decisions.jsonl") in message
    assert "The raw answers are kept in that file" in message
    assert "5 of the base model's 60 answers (8.3%)" in refused(run, "--max-invalid-share", "0.08")
    run_program(simulate.main, run.simulate, "--max-invalid-share", "0.09")


def test_costs_lower_every_account_and_stand_in_its_books(run: Run) -> None:
    run_program(simulate.main, run.simulate)
    free = {row["key"]: row["final_capital"] for row in metrics(run)["strategies"]}
    run_program(simulate.main, run.simulate, "--fee-bps", "4", "--slippage-bps", "1", "--funding-long-bps", "0.5")
    found = metrics(run)
    assert found["terms"] == {
        "fee_bps": 4, "slippage_bps": 1, "funding_long_bps": 0.5, "funding_short_bps": 0, "latency": 0,
        "maintenance_margin": 0, "sizing": "rebalanced", "hold": "flat",
    }  # fmt: skip
    assert all(row["final_capital"] < free[row["key"]] for row in found["strategies"])
    with open(run.folder / "leverage-2/equity.csv") as handle:
        first = next(row for row in list(csv.DictReader(handle))[1:] if row["strategy"] == "always_buy")
    # Bought for 200,000 dollars: 5 basis points of it at once, and half a basis point for the hour.
    assert float(first["cost"]) == pytest.approx(200_000 * 5.5e-4)


def test_hold_may_keep_the_position_before_it(run: Run) -> None:
    run_program(simulate.main, run.simulate, "--hold", "keep")
    shares = {row["key"]: row["share_flat"] for row in metrics(run)["strategies"]}
    assert shares["trained"] < 3 / 60


def test_latency_trades_an_hour_later(run: Run) -> None:
    run_program(simulate.main, run.simulate, "--latency", "1")
    with open(run.folder / "leverage-2/equity.csv") as handle:
        rows = [row for row in csv.DictReader(handle) if row["strategy"] == "always_buy"]
    assert [float(row["position"]) for row in rows[:3]] == [0, 2, 2]


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--fee-bps", "-1"), ("--latency", "-1"), ("--maintenance-margin", "1"), ("--slippage-bps", "nan")],
)
def test_terms_of_trade_that_make_no_sense_are_refused_by_name(run: Run, flag: str, value: str) -> None:
    assert refused(run, f"{flag}={value}").startswith(f"{flag}: given {value!r}; allowed: a ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: [rows[0], *rows], "a second decision for test-000000"),
        (lambda rows: [*rows[:5], *rows[6:]], "expected test-000005, found test-000006: a decision is missing"),
        (lambda rows: [{**r, "timestamp": r["timestamp"].replace("2025", "2031")} for r in rows], "does not have"),
        (lambda rows: rows[:-1], "says samples 60, but"),
        (lambda rows: [{**r, "decision": "BUY"} if r["status"] == "ok" else r for r in rows], "says buy"),
    ],
)
def test_decisions_that_do_not_fit_are_refused(run: Run, change: Any, words: str) -> None:
    for variant in ("trained", "base"):
        edit_lines(run.folder / f"infer/{variant}/decisions.jsonl", change)
    assert words in refused(run)


def test_bars_that_end_with_the_last_decision_are_refused(run: Run) -> None:
    bars = run.folder / "market/bars.csv"
    lines = bars.read_text().splitlines()[:-1]
    bars.write_text("\n".join(lines) + "\n")
    last = lines[-1].split(",")[0]
    edit_json(run.folder / "market/summary.json", bars=len(lines) - 1, last=last)
    assert f"is for {last}, the last bar of {bars}: there is no next close" in refused(run)


def test_a_summary_of_another_market_is_refused(run: Run) -> None:
    edit_json(run.folder / "market/summary.json", bars=3)
    assert "says bars 3, but" in refused(run)


def test_a_summary_of_the_base_model_is_not_taken_for_the_trained_one(run: Run) -> None:
    message = refused(run, "--trained-summary", run.folder / "infer/base/summary.json")
    assert "is not the summary of a trained model" in message


@pytest.mark.parametrize(
    ("flag", "value"), [("--leverage", "0"), ("--leverage", "nan"), ("--capital", "-5"), ("--max-invalid-share", "2")]
)
def test_settings_out_of_range_are_refused(run: Run, flag: str, value: str) -> None:
    assert refused(run, flag, value).startswith(flag)


def test_a_model_that_always_holds_is_flat_and_keeps_its_capital(run: Run) -> None:
    path = run.folder / "infer/trained/decisions.jsonl"
    edit_lines(path, lambda rows: [{**r, "decision": "HOLD", "status": "unparsable"} for r in rows])
    edit_json(run.folder / "infer/trained/summary.json", buy=0, sell=0, truncated=0, unparsable=60)
    run_program(simulate.main, run.simulate, "--max-invalid-share", "1")
    row = next(row for row in metrics(run)["strategies"] if row["key"] == "trained")
    assert (row["final_capital"], row["trades"], row["share_flat"], row["hit_rate"]) == (100_000, 0, 1, None)
