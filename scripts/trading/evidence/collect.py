"""All tests on one case, and the verdict on them: what evidence.json holds."""

from __future__ import annotations

from typing import Any

from trading.evidence import comparisons, records
from trading.evidence.case import CONSTANTS, RULES, Case
from trading.evidence.sharpe import adjusted
from trading.evidence.verdict import (
    Findings,
    Rival,
    Thresholds,
    Verdict,
    corrected_p_values,
    earns_after_costs,
    has_alpha,
    verdict,
)

Record = dict[str, Any]

# Tests of the one strategy that is shown: as the best of several trials each has to reach more.
ADJUSTED = ("exposure_matched_null", "regression", "timing", "bootstrap", "baselines")


def collect(
    case: Case,
    thresholds: Thresholds,
    *,
    declared: int = 1,
    ledger: int = 0,
    finished: int = 0,
    truncated: int = 0,
    unparsable: int = 0,
    invalid_as: str = "HOLD",
) -> tuple[Record, Verdict]:
    """Run the tests.

    Parameters
    ----------
    declared, ledger
        Trials that were declared, and those that the ledger knows.
    finished
        Answers with a decision of a second pass only.
    truncated, unparsable, invalid_as
        Answers without a decision, and how they trade.

    Returns
    -------
    tuple
        Name of each test to its JSON object, each with a verdict of its own; and the verdict on all of them.
    """
    bootstrap, leads = records.bootstrap_record(case)
    tests: Record = {
        "exposure_matched_null": records.null_record(case),
        "regression": records.regression_record(case),
        "timing": records.timing_record(case),
        "bootstrap": bootstrap,
        "sharpe": records.sharpe_record(case, declared, ledger),
        "reality_check": comparisons.reality_record(case, bootstrap["settings"]["block"]),
        "base": comparisons.base_record(case, bootstrap["differences"]),
        "baselines": comparisons.baselines_record(case),
        "sensitivity": comparisons.sensitivity_record(case, thresholds.break_even_bps),
    }
    findings = findings_of(case, tests, leads, truncated, unparsable, invalid_as, finished)
    for key, value in corrected_p_values(findings).items():
        bootstrap["differences"][key]["p_value_corrected"] = value
    for name in ADJUSTED:
        tests[name]["p_value_adjusted"] = adjusted(tests[name]["p_value"], findings.trials)
    decided = verdict(findings, thresholds)
    for name, passed in passes(findings, tests, decided, thresholds).items():
        tests[name]["verdict"] = "not applicable" if passed is None else "passed" if passed else "not passed"
    return tests, decided


def findings_of(
    case: Case, tests: Record, leads: dict[str, float], truncated: int, unparsable: int, invalid_as: str, finished: int
) -> Findings:
    """What the verdict needs of the tests."""
    null, regression = tests["exposure_matched_null"], tests["regression"]
    kinds = dict.fromkeys(CONSTANTS, "constant") | dict.fromkeys(RULES, "rule") | {"base": "base"}
    reality = tests["reality_check"]
    return Findings(
        label=case.label,
        hours=case.bars,
        leverage=case.leverage,
        total_return=case.total_return("trained"),
        constant=case.constant,
        null_p=null["p_value"],
        null_p_worse=null["p_value_worse"],
        percentile=null["percentile"],
        draws=null["settings"]["permutations"],
        percentile_shifts=null["percentile_shifts"],
        shifts=null["settings"]["shifts"],
        trials=tests["sharpe"]["settings"]["trials"]["used"],
        alpha=regression["statistic"],
        alpha_interval=tuple(regression["interval"]) if regression["interval"] else None,
        alpha_p=regression["p_value"],
        deflated_sharpe=tests["sharpe"]["deflated"],
        break_even_bps=tests["sensitivity"]["break_even_bps"],
        ahead_at_cost=tests["sensitivity"]["at_cost"]["ahead"],
        rivals=tuple(
            Rival(key, case.labels[key], kind, case.total_return(key), leads[key]) for key, kind in kinds.items()
        ),
        snooping_p=reality["p_value"],
        truncated=truncated,
        unparsable=unparsable,
        invalid_as=invalid_as,
        finished=finished,
    )


def passes(findings: Findings, tests: Record, decided: Verdict, thresholds: Thresholds) -> dict[str, bool | None]:
    """Whether each test by itself reaches its threshold, given the number of trials; claims need the gate, too.

    None where there is nothing to test: positions that never change, a single variant, variants that are all the best
    constant position, too few hours for tests that rest on large samples.
    """
    level = thresholds.level
    deflated, snooping = findings.deflated_sharpe, findings.snooping_p
    moves, timed = findings.constant is None, tests["timing"]["statistic"] is not None
    corrected = corrected_p_values(findings)
    return {
        "exposure_matched_null": decided.null_p_adjusted <= level if moves else None,
        "regression": has_alpha(findings, thresholds) if moves and findings.alpha is not None else None,
        "timing": tests["timing"]["p_value_adjusted"] <= level if moves and timed else None,
        "bootstrap": tests["bootstrap"]["p_value_adjusted"] <= level,
        "sharpe": deflated >= thresholds.deflated_sharpe if deflated is not None else None,
        "reality_check": snooping <= level if snooping is not None else None,
        "base": corrected["base"] <= level,
        "baselines": tests["baselines"]["p_value_adjusted"] <= level if moves else None,
        "sensitivity": earns_after_costs(findings, thresholds) if moves else None,
    }
