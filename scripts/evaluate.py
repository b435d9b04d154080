"""Test what the trained model earned, and decide what the slides may say about it."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError, run
from common.files import read_json, write_json
from common.options import add_setting, add_settings
from common.provenance import check_input, record
from trading.bars import Bars, format_times, read_bars
from trading.costs import HOLDS, Execution, kept
from trading.decisions import DIRECTION, Decisions, check_same_questions, first_bar, read_decisions
from trading.evidence.case import LEAST_BARS, Case, Settings
from trading.evidence.collect import collect
from trading.evidence.leakage import leakage_record, probe_summary, read_times
from trading.evidence.trials import record_variants, window_of
from trading.evidence.verdict import Thresholds
from trading.performance import bars_per_year
from trading.prompts import LOOK_BACK
from trading.tables import read_equity

SAMPLES = ("train_samples", "validation_samples", "test_samples")


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--bars", type=Path, required=True, help="market/bars.csv")
    add("--market", type=Path, required=True, help="market/summary.json")
    add("--equity", type=Path, required=True, help="equity.csv of this leverage")
    add("--metrics", type=Path, required=True, help="metrics.json of this leverage; the terms of trade are its own")
    add("--trained", type=Path, required=True, help="decisions of the trained model")
    add("--base", type=Path, required=True, help="decisions of the base model")
    add("--train-samples", type=Path, required=True, help="samples/train.jsonl")
    add("--validation-samples", type=Path, required=True, help="samples/validation.jsonl")
    add("--test-samples", type=Path, required=True, help="samples/test.jsonl")
    what = "Style of the prompts, which says how far they look back."
    add_setting(parser, "--prompt", "samples.prompt", required=True, meaning=what)
    add("--probe", type=Path, help="infer/probe.json, where the leakage probe ran")
    add("--variants", type=named, nargs="*", default=[], metavar="NAME=FILE", help="decisions of other variants")
    add("--ledger", type=Path, help="folder that remembers each variant ever evaluated on these hours")
    add("--run", default="", help="whose variants they are, in the ledger")
    add_setting(parser, "--leverage", "simulate.leverage[]", required=True, meaning="Of this simulation.")
    add_settings(parser, "evaluate", leave_out=["variants"])
    add("--output", type=Path, required=True, help="evidence.json")
    return parser.parse_args()


def main() -> None:
    """Read, check, test, write."""
    args = arguments()
    if args.fast >= args.slow:
        raise InputError(f"--fast {args.fast}: must be shorter than --slow {args.slow}.")
    thresholds = Thresholds(args.level, args.deflated_sharpe, args.break_even_bps)
    market, metrics = read_json(args.market), read_json(args.metrics)
    check_inputs(metrics, market, args)
    bars = read_bars(args.bars, gaps="allow")
    trained, base = read_decisions(args.trained), read_decisions(args.base)
    variants = read_variants(args.variants)
    for other in (base, *variants.values()):
        check_times(trained, other)
    check_same_questions(trained, base)
    times = format_times(bars.time)
    start = first_bar(trained, times, args.bars)
    leakage = check_leakage(times, trained, args)
    case = make_case(bars, start, trained, base, variants, metrics, args)
    check_equity(case, bars, args)
    ledger = 0
    if args.ledger:
        span = slice(start, start + case.bars + 1)
        hours = window_of(bars.time[span].astype(np.int64).tolist(), bars.close[span].tolist())
        tried = [("trained", case.trained), *case.variants.items()]
        ledger = len(record_variants(args.ledger, hours, args.run, tried))
    tests, verdict = collect(
        case,
        thresholds,
        declared=args.trials,
        ledger=ledger,
        finished=trained.count("finished"),
        truncated=trained.count("truncated"),
        unparsable=trained.count("unparsable"),
        invalid_as=metrics["parameters"]["invalid"],
    )
    tests["base"]["variants"]["invalid"] = {"trained": trained.invalid} | {n: v.invalid for n, v in variants.items()}
    tests["leakage"] = leakage
    result = {
        "leverage": args.leverage,
        "terms": metrics["terms"],
        "market": metrics["market"],
        "strategy": {"label": case.label, "total_return": case.total_return("trained"), "constant": case.constant},
        "verdict": verdict.record(),
        "thresholds": thresholds.record(),
        "tests": tests,
    }
    roles = ("bars", "market", "equity", "metrics", "trained", "base", *SAMPLES, "probe")
    inputs = {role: getattr(args, role) for role in roles if getattr(args, role)}
    inputs |= {f"variant {name}": other.path for name, other in variants.items()}
    named = argparse.Namespace(**{**vars(args), "variants": sorted(variants)})
    write_json(args.output, result | record(named, inputs, ["numpy", "arch"]))
    print("\n".join(verdict.sentences.values()))


def check_inputs(metrics: dict[str, Any], market: dict[str, Any], args: argparse.Namespace) -> None:
    """Refuse the metrics of another leverage, or of other files."""
    for name, kind in (("market", dict), ("terms", dict), ("strategies", list), ("parameters", dict)):
        if not isinstance(metrics.get(name), kind):
            raise InputError(f'{args.metrics}: no "{name}". Run simulate again.')
    if metrics.get("leverage") != args.leverage:
        raise InputError(
            f"{args.metrics}: is for leverage {metrics.get('leverage')}, not {args.leverage:g}. Give the file of "
            "this leverage, or run simulate for it."
        )
    for role in ("bars", "market", "trained", "base"):
        check_input(metrics, args.metrics, role, getattr(args, role))
    if market.get("name") != metrics["market"].get("name"):
        raise InputError(f"{args.metrics}: is of another market than {args.market}. Run simulate again.")
    try:
        execution_of(metrics["terms"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{args.metrics}: its terms of trade cannot be used: {error}. Run simulate again.") from None


def check_leakage(times: list[str], trained: Decisions, args: argparse.Namespace) -> dict[str, Any]:
    """Refuse splits that share a bar, and decisions on other hours than the test samples'."""
    splits = {role.removesuffix("_samples"): read_times(getattr(args, role)) for role in SAMPLES}
    if splits["test"] != trained.timestamps:
        raise InputError(f"{args.test_samples}: are other hours than those of {args.trained}. Run infer again.")
    probe = read_json(args.probe) if args.probe else None
    if probe:
        check_input(probe, args.probe, "samples", args.test_samples)
        check_input(probe, args.probe, "decisions", args.trained)
    try:
        return leakage_record(times, splits, LOOK_BACK[args.prompt], probe and probe_summary(probe))
    except ValueError as error:
        raise InputError(f"{args.test_samples}: {error}. Run samples again.") from None


def check_times(one: Decisions, other: Decisions) -> None:
    """Refuse a variant that did not answer the same hours; its prompts may differ."""
    if len(one) != len(other):
        raise InputError(
            f"{other.path}: {len(other)} decisions, but {one.path} has {len(one)}. Run infer again on the same samples."
        )
    for number, (a, b) in enumerate(zip(one.timestamps, other.timestamps, strict=True), start=1):
        if a != b:
            raise InputError(f"{other.path}, line {number}: is for {b}, {one.path} for {a}. Run infer again.")


def check_equity(case: Case, bars: Bars, args: argparse.Namespace) -> None:
    """Refuse an equity curve that these decisions do not earn: what is tested has to be what is shown."""
    curves = read_equity(args.equity)
    again = f"{args.equity}: {{}} than {args.trained} and {args.bars} give. Run simulate again."
    span = slice(case.start, case.start + case.bars + 1)
    if len(curves.times) != case.bars + 1 or not np.array_equal(curves.times, bars.time[span]):
        raise InputError(again.format("has other bars"))
    for key in ("trained", "base", "always_buy", "always_sell"):
        if key not in curves.books:
            raise InputError(f"{args.equity}: has no strategy {key}. Run simulate again.")
        equity = curves.books[key].equity
        if not equity[0] > 0:
            raise InputError(again.format(f"{key} has another first equity"))
        value = np.append(1.0, np.cumprod(case.paths[key].growth))
        if not np.allclose(equity / equity[0], value, rtol=1e-9, atol=1e-12):
            bar = int(np.argmax(~np.isclose(equity / equity[0], value, rtol=1e-9, atol=1e-12)))
            raise InputError(
                again.format(f"{key} has another equity at bar {bar} ({format_times(bars.time[span])[bar]})")
            )


def make_case(
    bars: Bars,
    start: int,
    trained: Decisions,
    base: Decisions,
    variants: dict[str, Decisions],
    metrics: dict[str, Any],
    args: argparse.Namespace,
) -> Case:
    """What is tested, traded on the terms that metrics.json says."""
    if len(trained) < LEAST_BARS:
        raise InputError(
            f"{args.trained}: {len(trained)} decisions are too few to test anything, at least {LEAST_BARS} are needed. "
            "Raise samples.test."
        )
    labels = {str(row.get("key")): row.get("label") for row in metrics["strategies"] if isinstance(row, dict)}
    if not all(isinstance(labels.get(key), str) for key in ("trained", "base")):
        raise InputError(f"{args.metrics}: a strategy has no label. Run simulate again.")
    span = bars.time[start : start + len(trained) + 1]
    return Case(
        close=bars.close,
        start=start,
        trained=directions(trained, metrics),
        base=directions(base, metrics),
        leverage=args.leverage,
        execution=execution_of(metrics["terms"]),
        settings=Settings(
            seed=args.seed,
            permutations=args.permutations,
            bootstrap=args.bootstrap,
            reality_check=args.reality_check,
            confidence=args.confidence,
            momentum=args.momentum,
            fast=args.fast,
            slow=args.slow,
        ),
        label=labels["trained"],
        base_label=labels["base"],
        variants={name: directions(other, metrics) for name, other in variants.items()},
        look_back=LOOK_BACK[args.prompt],
        bars_per_year=bars_per_year(span),
    )


def directions(decisions: Decisions, metrics: dict[str, Any]) -> np.ndarray:
    """Directions as simulate traded them."""
    policy = metrics["parameters"].get("invalid")
    if not isinstance(policy, str) or policy not in DIRECTION:
        raise InputError(
            f"metrics.json: parameters.invalid is {policy!r}, none of {', '.join(DIRECTION)}. Run simulate again."
        )
    sides = decisions.directions(policy)
    return kept(sides) if metrics["terms"]["hold"] == "keep" else sides


def execution_of(terms: dict[str, Any]) -> Execution:
    """Costs, latency, margin and sizing, from the terms that metrics.json records."""
    if terms["hold"] not in HOLDS:
        raise ValueError(f"hold must be one of {', '.join(HOLDS)}, got {terms['hold']}")
    return Execution(**{field.name: terms[field.name] for field in fields(Execution)})


def named(text: str) -> tuple[str, Path]:
    """NAME=FILE of the command line."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE")
    return name, Path(path)


def read_variants(given: list[tuple[str, Path]]) -> dict[str, Decisions]:
    """Decisions by name; a name may stand for one variant only."""
    found: dict[str, Decisions] = {}
    for name, path in given:
        if name in ("trained", "base") or name in found:
            raise InputError(
                f"--variants {name}={path}: the name {name} is taken. Give each variant a name of its own."
            )
        found[name] = read_decisions(path)
    return found


if __name__ == "__main__":
    run(main)
