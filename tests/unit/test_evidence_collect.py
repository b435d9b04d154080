"""All tests together: special strategies, repeatability, and how often verdicts are wrong on planted traders."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trading.costs import Execution
from trading.evidence.case import Case, Settings
from trading.evidence.collect import collect
from trading.evidence.verdict import Thresholds

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from verdict_error_rates import MARKETS, UNSKILLED, rates, table

QUICK = Settings(permutations=500, bootstrap=300, reality_check=200)


def small(sides: np.ndarray | None = None, hours: int = 120, **changes: object) -> Case:
    rng = np.random.default_rng(0)
    close = 100 * np.cumprod(1 + rng.standard_t(6, hours + 40) * 0.006)
    sides = rng.choice([-1.0, 1.0], hours) if sides is None else sides
    base = rng.choice([-1.0, 1.0], hours)
    return replace(Case(close, 30, sides, base, 2.0, Execution(fee_bps=1), QUICK), **changes)


def test_each_test_has_its_statistic_p_value_or_interval_method_settings_seed_and_verdict() -> None:
    tests, _ = collect(small(variants={"other": small().base}), Thresholds())
    assert list(tests) == [
        "exposure_matched_null", "regression", "timing", "bootstrap", "sharpe", "reality_check", "base", "baselines",
        "sensitivity",
    ]  # fmt: skip
    for record in tests.values():
        assert {"statistic", "p_value", "interval", "method", "settings", "seed", "verdict"} <= record.keys()
        assert record["verdict"] in ("passed", "not passed")
        json.dumps(record, allow_nan=False)
    assert sum(tests["exposure_matched_null"]["histogram"]["permutations"]) == 500
    assert sum(tests["exposure_matched_null"]["histogram"]["shifts"]) == 119
    assert np.shape(tests["sensitivity"]["surface"]["total_return"]) == (13, 41)


def test_the_same_case_gives_the_same_evidence_to_the_last_digit() -> None:
    one, two = (json.dumps(collect(small(), Thresholds())[0]) for _ in range(2))
    assert one == two
    assert one != json.dumps(collect(small(settings=replace(QUICK, seed=1)), Thresholds())[0])


@pytest.mark.parametrize(
    ("side", "kind"), [(1.0, "constant_position"), (-1.0, "constant_position"), (0.0, "no_position")]
)
def test_a_strategy_that_never_changes_has_a_defined_result(side: float, kind: str) -> None:
    tests, verdict = collect(small(np.full(120, side)), Thresholds())
    json.dumps(tests, allow_nan=False)
    assert verdict.kind == kind
    assert tests["exposure_matched_null"]["p_value"] == 1.0
    assert tests["exposure_matched_null"]["verdict"] == "not applicable"
    assert (tests["sharpe"]["statistic"] is None) == (side == 0)
    assert tests["reality_check"]["verdict"] == "not applicable"


def test_variants_that_are_all_the_best_constant_position_have_nothing_to_test() -> None:
    short = np.full(120, -1.0)
    falling = small(short, close=np.geomspace(200, 100, 160) * np.resize([1.0, 1.001], 160))
    found = collect(replace(falling, variants={"other": short.copy()}), Thresholds())[0]["reality_check"]
    assert (found["benchmark_exposure"], found["verdict"]) == (-2.0, "not applicable")
    assert (found["p_value"], found["p_value_white"], found["statistic"], found["best"]) == (None, None, None, None)
    # One that differs is tested: the best of them is the constant position, which is no better than itself.
    found = collect(replace(falling, variants={"other": falling.base}), Thresholds())[0]["reality_check"]
    assert (found["p_value"], found["p_value_white"], found["verdict"]) == (1.0, 1.0, "not passed")
    assert (found["statistic"], found["best"]) == (0.0, "trained")


@pytest.mark.parametrize("move", [0.0, 0.001, -0.001])
def test_on_a_market_without_variance_nothing_is_better_than_chance(move: float) -> None:
    tests, verdict = collect(small(close=100 * (1 + move) ** np.arange(160.0), execution=Execution()), Thresholds())
    json.dumps(tests, allow_nan=False)
    assert tests["exposure_matched_null"]["p_value"] == 1.0
    assert tests["baselines"]["p_value"] == 1.0
    assert [tests[name]["verdict"] for name in ("regression", "timing")] == ["not applicable"] * 2
    assert not any(verdict.words.values())


def test_equal_series_have_p_value_one() -> None:
    case = small()
    tests, verdict = collect(replace(case, base=case.trained, variants={"same": case.trained}), Thresholds())
    assert (tests["base"]["p_value"], tests["base"]["p_value_hours"]) == (1.0, 1.0)
    assert tests["base"]["verdict"] == "not passed"
    assert "base" not in verdict.outperformed


@pytest.mark.parametrize(
    ("latency", "counts"),
    [
        # Up but for each fifth hour. Whoever knows it is right in these 24 hours, too, in which always long is wrong.
        (0, (24, 0)),
        # Filled an hour later he is short in the 23 hours that follow one of them, and as wrong in the 24 as the other.
        (1, (0, 23)),
    ],
)
def test_hour_by_hour_the_positions_that_were_held_are_compared(latency: int, counts: tuple[int, int]) -> None:
    market = np.where(np.arange(120) % 5 == 4, -0.01, 0.01)
    close = 100 * np.cumprod(np.append(np.ones(31), 1 + market))
    case = small(np.sign(market), base=np.ones(120), close=close, execution=Execution(latency=latency))
    found = collect(case, Thresholds())[0]["base"]
    assert (found["trained_only_right"], found["base_only_right"]) == counts
    assert (found["p_value_hours"] < 0.05) == (latency == 0)


def one_hour(usual: float, market: np.ndarray) -> tuple[dict, object]:
    """The tests of who held the usual side in all hours but one, and was right in that one."""
    close = 100 * np.cumprod(np.append(np.ones(31), 1 + market))
    sides = np.full(120, usual)
    sides[60] = usual + 1
    return collect(small(sides, close=close[: 120 + 31]), Thresholds())


def test_one_lucky_hour_passes_no_test_that_takes_hours_for_many() -> None:
    rng = np.random.default_rng(0)
    market = rng.normal(0, 0.004, 120)
    market[60] = 0.05
    # Flat but for the best hour: by its formula the probabilistic Sharpe ratio would be 0.977.
    tests, verdict = one_hour(0.0, market)
    assert (tests["sharpe"]["verdict"], tests["sharpe"]["deflated"]) == ("not applicable", None)
    assert {tests[name]["verdict"] for name in ("regression", "timing")} == {"not applicable"}
    # That one hour in 120 drawn at random is the best one has probability 0.008, whatever is normal.
    assert [name for name, test in tests.items() if test["verdict"] == "passed"] == ["baselines"]
    assert tests["baselines"]["p_value"] == pytest.approx(1 / 120, abs=0.01)
    assert not any(verdict.words.values())
    # Short but for that hour, which is most of what the market varies.
    tests, verdict = one_hour(-1.0, market)
    assert {tests[name]["verdict"] for name in ("regression", "timing")} == {"not applicable"}
    assert not any(verdict.words.values())


def test_an_account_that_is_wiped_out_has_a_defined_result() -> None:
    case = small(leverage=60.0)
    tests, verdict = collect(case, Thresholds())
    json.dumps(tests, allow_nan=False)
    assert case.total_return("trained") == -1
    assert verdict.kind == "wiped_out"
    assert verdict.sentences["chance"] == "The model lost all of its capital."


def test_an_account_that_is_liquidated_keeps_what_the_margin_left() -> None:
    case = small(leverage=30.0, execution=Execution(maintenance_margin=0.02))
    assert case.paths["trained"].liquidated.any()
    tests, verdict = collect(case, Thresholds())
    json.dumps(tests, allow_nan=False)
    assert not any(verdict.words.values())


def test_too_few_decisions_another_length_and_a_missing_close_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 30"):
        small(np.ones(29), hours=29)
    with pytest.raises(ValueError, match="base has 120 decisions, trained has 119"):
        small(np.ones(119))
    with pytest.raises(ValueError, match="other has 3 decisions"):
        small(variants={"other": np.ones(3)})
    with pytest.raises(ValueError, match="next close"):
        small(start=40)
    with pytest.raises(ValueError, match="closes must be finite"):
        small(close=np.full(160, np.nan))


def test_thirty_decisions_are_enough() -> None:
    tests, _ = collect(small(hours=30), Thresholds())
    json.dumps(tests, allow_nan=False)


def test_the_larger_of_declared_and_recorded_trials_counts() -> None:
    for declared, ledger, used in ((15, 3, 15), (1, 7, 7)):
        tests, verdict = collect(small(), Thresholds(), declared=declared, ledger=ledger)
        assert tests["sharpe"]["settings"]["trials"]["used"] == used
        assert f"best of {used} trials" in verdict.sentences["trials"]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "seeds", [pytest.param(6, marks=pytest.mark.slow), pytest.param(40, marks=pytest.mark.long)], ids=str
)
@pytest.mark.parametrize("market", list(MARKETS))
def test_how_often_the_verdict_is_wrong_on_planted_traders(
    capsys: pytest.CaptureFixture[str], market: str, seeds: int
) -> None:
    """Traders that know nothing, the luckiest of twenty such, and traders who are right more often than not."""
    found = rates(market, seeds)
    with capsys.disabled():
        print(f"\nclaims over {seeds} seeds, {table({market: found})}")
    # 5% is what the level allows; that so many of them come by chance has probability 0.003 at most.
    most = {6: 3, 40: 6}[seeds] / seeds
    random, declared, hidden = UNSKILLED
    assert found[random]["any"] <= most
    assert found[declared]["any"] <= most
    # The control: who hides his other trials is believed more often, so the correction does something.
    assert found[hidden]["any"] > found[declared]["any"]
    assert found["right in 58% of the hours"]["skill"] >= 0.8
    if seeds == 40:
        assert found["right in 56% of the hours"]["skill"] >= 0.6
