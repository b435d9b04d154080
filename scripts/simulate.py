"""Trade the decisions of the trained and the base model, and two constant positions, on the market's bars."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import InputError, run
from common.files import read_json, write_json
from common.options import add_setting, add_settings
from common.provenance import record
from trading.accounting import Account, Floats, Terms, account
from trading.bars import format_times, read_bars
from trading.costs import Execution, kept
from trading.decisions import Decisions, check_same_questions, first_bar, read_decisions
from trading.metrics import summary, total_return, trades
from trading.tables import write_equity, write_trades

# What helps against invalid answers, beside more room for them.
REMEDY = {"trained": "train longer", "base": "lower infer.base.temperature"}


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=Path, required=True, help="market/bars.csv")
    parser.add_argument("--market", type=Path, required=True, help="market/summary.json")
    parser.add_argument("--trained", type=Path, required=True, help="decisions of the trained model")
    parser.add_argument("--base", type=Path, required=True, help="decisions of the base model")
    parser.add_argument("--trained-summary", type=Path, required=True, help="infer/trained/summary.json")
    add = parser.add_argument
    add_setting(parser, "--leverage", "simulate.leverage[]", required=True, meaning="Exposure.")
    add_settings(parser, "simulate", leave_out=["leverage"])
    add("--output-equity", type=Path, required=True, help="equity.csv")
    add("--output-trades", type=Path, required=True, help="trades.csv")
    add("--output-metrics", type=Path, required=True, help="metrics.json")
    return parser.parse_args()


def main() -> None:
    """Read, check, trade, write."""
    args = arguments()
    market = read_json(args.market)
    inference = read_json(args.trained_summary)
    # Whether gaps are allowed was decided where the market was made; its bars are taken as they are.
    bars = read_bars(args.bars, gaps="allow")
    times = format_times(bars.time)
    check_market(market, times, args)
    trained, base = read_decisions(args.trained), read_decisions(args.base)
    check_same_questions(trained, base)
    check_counts(trained, inference, args.trained_summary)
    start = first_bar(trained, times, args.bars)
    for variant, decisions in (("trained", trained), ("base", base)):
        check_invalid_share(decisions, variant, args.max_invalid_share)
        report_invalid(decisions, variant, args.invalid)

    span = slice(start, start + len(trained) + 1)
    prices, hours, times = bars.close[span], bars.time[span], times[span]
    execution = terms_of_trade(args)
    terms = Terms(leverage=args.leverage, capital=args.capital, execution=execution)
    books = trade(prices, *(directions(decisions, args) for decisions in (trained, base)), terms)
    write_equity(args.output_equity, times, prices, books)
    write_trades(args.output_trades, times, prices, {key: trades(book) for key, book in books.items()})
    result = {
        "leverage": args.leverage,
        "capital": args.capital,
        "sizing": args.sizing,
        "terms": asdict(execution) | {"hold": args.hold},
        "market": {
            "name": market["name"],
            "synthetic": market["synthetic"],
            "return": float(total_return(prices)),
            "first": times[0],
            "last": times[-1],
            "hours": len(trained),
        },
        "strategies": ranking(books, prices, hours, inference["model"], {"trained": trained, "base": base}),
    }
    inputs = {
        "bars": args.bars,
        "market": args.market,
        "trained": args.trained,
        "base": args.base,
        "trained_summary": args.trained_summary,
    }
    write_json(args.output_metrics, result | record(args, inputs, ["numpy"]))


def terms_of_trade(args: argparse.Namespace) -> Execution:
    """Costs, latency, margin and sizing, as the command line gives them."""
    return Execution(**{field.name: getattr(args, field.name) for field in fields(Execution)})


def directions(decisions: Decisions, args: argparse.Namespace) -> Floats:
    """What is traded on the answers: an invalid one as the policy says, HOLD flat or as the position before it."""
    sides = decisions.directions(args.invalid)
    return kept(sides) if args.hold == "keep" else sides


def trade(prices: Floats, trained: Floats, base: Floats, terms: Terms) -> dict[str, Account]:
    """Books of the four strategies on the same bars."""
    always = np.ones_like(trained)
    directions = {"always_buy": always, "always_sell": -always, "trained": trained, "base": base}
    return {key: account(prices, direction, terms) for key, direction in directions.items()}


def ranking(
    books: dict[str, Account],
    prices: Floats,
    hours: NDArray[np.datetime64],
    model: str,
    decisions: dict[str, Decisions],
) -> list[dict[str, Any]]:
    """What metrics.json says of each strategy, highest final capital first."""
    labels = {
        "always_buy": "Always Buy",
        "always_sell": "Always Sell",
        "trained": f"{model} (GRPO)",
        "base": f"{model} (base)",
    }
    rows = []
    for key, book in books.items():
        row = {"key": key, "label": labels[key], **summary(book, prices, hours)}
        for status in ("finished", "truncated", "unparsable"):
            row[status] = decisions[key].count(status) if key in decisions else 0
        rows.append(row)
    return sorted(rows, key=lambda row: -row["final_capital"])


def check_market(market: dict[str, Any], times: list[str], args: argparse.Namespace) -> None:
    """Refuse a summary of another market: its name and whether it is synthetic stand on every slide."""
    found = {"bars": len(times), "first": times[0], "last": times[-1]}
    for name, value in found.items():
        if market.get(name) != value:
            raise InputError(
                f"{args.market}: says {name} {market.get(name)}, but {args.bars} has {value}. Run market again."
            )
    for name, kind in (("name", str), ("synthetic", bool)):
        if not isinstance(market.get(name), kind):
            raise InputError(f'{args.market}: no "{name}". Run market again.')


def check_counts(decisions: Decisions, inference: dict[str, Any], path: Path) -> None:
    """Refuse a summary of inference that does not describe these decisions."""
    if inference.get("variant") != "trained" or not isinstance(inference.get("model"), str):
        raise InputError(f"{path}: is not the summary of a trained model. Give infer/trained/summary.json.")
    counts = {
        "samples": len(decisions),
        "buy": decisions.decisions.count("BUY"),
        "sell": decisions.decisions.count("SELL"),
        "finished": decisions.count("finished"),
        "truncated": decisions.count("truncated"),
        "unparsable": decisions.count("unparsable"),
    }
    for name, count in counts.items():
        if inference.get(name) != count:
            raise InputError(
                f"{path}: says {name} {inference.get(name)}, but {decisions.path} has {count}. Run infer again."
            )


def check_invalid_share(decisions: Decisions, variant: str, most: float) -> None:
    """Stop where too many answers gave no decision: what is traded would be the policy, not the model."""
    share = decisions.invalid / len(decisions)
    if share > most:
        raise InputError(
            f"{decisions.path}: {decisions.invalid} of the {variant} model's {len(decisions)} answers ({share:.1%}) "
            f"are invalid ({decisions.count('truncated')} truncated, {decisions.count('unparsable')} unparsable), "
            f"more than the {most:.1%} that max_invalid_share allows. The raw answers are kept in that file: read "
            f"a few, then give infer more max_new_tokens or finish, {REMEDY[variant]}, or allow a larger share."
        )


def report_invalid(decisions: Decisions, variant: str, policy: str) -> None:
    """Say in the log how many answers trade as the policy says, and how many decided in a second pass only."""
    if decisions.count("finished"):
        print(
            f"{variant}: {decisions.count('finished')} of {len(decisions)} answers were cut, and finished in a second "
            "pass.",
            file=sys.stderr,
        )
    if decisions.invalid:
        print(
            f"{variant}: {decisions.invalid} of {len(decisions)} answers are invalid "
            f"({decisions.count('truncated')} truncated, {decisions.count('unparsable')} unparsable) "
            f"and trade as {policy}.",
            file=sys.stderr,
        )


if __name__ == "__main__":
    run(main)
