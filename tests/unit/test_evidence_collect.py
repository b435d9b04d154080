"""All tests together: special strategies, repeatability, and how often verdicts are wrong on planted traders."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from trading.costs import Execution
from trading.evidence.case import Case, Settings
from trading.evidence.collect import collect
from trading.evidence.trials import record_variants, split_digest, variant_digest
from trading.evidence.verdict import Thresholds, Verdict
from trading.synthetic import Calibration, synthetic_bars
from trading.synthetic import Settings as MarketSettings

QUICK = Settings(permutations=500, bootstrap=300, reality_check=200)
START, HOURS = 794, 1706
SEEDS = 40


def small(sides: np.ndarray | None = None, hours: int = 120, **changes: object) -> Case:
    rng = np.random.default_rng(0)
    close = 100 * np.cumprod(1 + rng.standard_t(6, hours + 40) * 0.006)
    sides = rng.choice([-1.0, 1.0], hours) if sides is None else sides
    base = rng.choice([-1.0, 1.0], hours)
    return replace(Case(close, 30, sides, base, 2.0, Execution(fee_bps=1), QUICK), **changes)


def market(seed: int) -> np.ndarray:
    """Closes without anything to learn, whose constant positions end as published."""
    nothing = MarketSettings(seed=seed, bars=2501, momentum=0, trend=0, slow_drift=0)
    return synthetic_bars(nothing, Calibration())[0].close


def random_trader(rng: np.random.Generator) -> np.ndarray:
    """Positions held for about three hours, short two thirds of the time, that know nothing."""
    sides = rng.choice([1.0, -1.0], HOURS, p=[1 / 3, 2 / 3])
    return sides[np.cumsum(rng.random(HOURS) < 1 / 3)]


def skilled_trader(rng: np.random.Generator, returns: np.ndarray, right: float) -> np.ndarray:
    """Right in this share of the hours, whichever way they go."""
    return np.where(rng.random(HOURS) < right, np.sign(returns), -np.sign(returns))


def judged(close: np.ndarray, sides: np.ndarray, base: np.ndarray, trials: int = 1) -> Verdict:
    return collect(Case(close, START, sides, base, 2.0, Execution(), QUICK), Thresholds(), declared=trials)[1]


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


def test_the_ledger_counts_different_decisions_on_a_split_once_and_for_ever(tmp_path) -> None:
    split = split_digest("2025-01-01T00:00:00Z", [1.0, 2.0])
    one, two = np.array([1.0, -1.0]), np.array([1.0, 1.0])
    assert record_variants(tmp_path, split, [("trained", one)]) == 1
    assert record_variants(tmp_path, split, [("trained", one), ("again", one)]) == 1
    assert record_variants(tmp_path, split, [("seed 2", two)]) == 2
    assert record_variants(tmp_path, split, []) == 2
    other = split_digest("2025-01-01T01:00:00Z", [1.0, 2.0])
    assert record_variants(tmp_path, other, [("trained", one)]) == 1
    assert variant_digest(one) == variant_digest(one.astype(int)) != variant_digest(two)


def test_the_larger_of_declared_and_recorded_trials_counts() -> None:
    for declared, ledger, used in ((15, 3, 15), (1, 7, 7)):
        tests, verdict = collect(small(), Thresholds(), declared=declared, ledger=ledger)
        assert tests["sharpe"]["settings"]["trials"]["used"] == used
        assert f"best of {used} trials" in verdict.sentences["trials"]


@pytest.mark.long
def test_how_often_the_verdict_is_wrong_on_planted_traders(capsys: pytest.CaptureFixture[str]) -> None:
    """Traders that know nothing, the luckiest of twenty such, and traders who are right more often than not."""
    kinds = (
        "random",
        "luckiest of 20, declared",
        "luckiest of 20, hidden",
        "right in 53%",
        "right in 56%",
        "right in 58%",
    )
    claims = {kind: Counter() for kind in kinds}
    started = time.process_time()
    for seed in range(SEEDS):
        rng, close = np.random.default_rng([99, seed]), market(seed)
        returns = np.diff(close[START : START + HOURS + 1]) / close[START : START + HOURS]
        traders = [random_trader(rng) for _ in range(20)]
        luckiest = max(traders, key=lambda sides: np.log1p(2 * sides * returns).sum())
        base = traders[0]
        found = {
            "random": judged(close, traders[1], base),
            "luckiest of 20, declared": judged(close, luckiest, base, trials=20),
            "luckiest of 20, hidden": judged(close, luckiest, base),
        }
        found |= {
            f"right in {right:.0%}": judged(close, skilled_trader(rng, returns, right), base)
            for right in (0.53, 0.56, 0.58)
        }
        for kind, verdict in found.items():
            claims[kind].update(word for word, allowed in verdict.words.items() if allowed)
            claims[kind]["any"] += any(verdict.words.values())
    with capsys.disabled():
        print(f"\nclaims over {SEEDS} seeds each, {time.process_time() - started:.0f} s:")
        for kind, counts in claims.items():
            rates = ", ".join(
                f"{word} {counts[word] / SEEDS:.0%}" for word in ("any", "skill", "alpha", "edge", "outperform")
            )
            print(f"  {kind}: {rates}")
    # 5% of 40 is 2; that 7 or more come by chance has probability 0.003.
    assert claims["random"]["any"] <= 6
    assert claims["luckiest of 20, declared"]["any"] <= 6
    assert claims["luckiest of 20, hidden"]["any"] > claims["luckiest of 20, declared"]["any"]
    assert claims["right in 58%"]["skill"] >= 0.9 * SEEDS
    assert claims["right in 56%"]["skill"] >= 0.6 * SEEDS
