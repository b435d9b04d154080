"""How often the verdict is wrong, on traders planted with and without skill, on two kinds of market.

    python benchmarks/verdict_error_rates.py --seeds 40 --output benchmarks/results/verdict-error-rates.json

Nothing is trained: the traders are made, so that it is known whether they have skill. "False" counts claims for those
who have none, "missed" silence about those who do.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from common.files import write_json
from common.progress import Progress
from common.provenance import record
from trading.costs import Execution
from trading.evidence.case import Case, Settings
from trading.evidence.collect import collect
from trading.evidence.verdict import Thresholds, Verdict
from trading.synthetic import Calibration, synthetic_bars
from trading.synthetic import Settings as MarketSettings

Floats = NDArray[np.float64]

HOURS, BEFORE, LEVERAGE, LUCKY = 1706, 794, 2.0, 20
# As in the workflow, compact prompts, but with fewer draws: the rates are of many seeds.
QUICK = Settings(permutations=500, bootstrap=300, reality_check=200)
LOOK_BACK = 120
MARKETS = {
    "with a planted signal": {},
    "with nothing to learn": {"momentum": 0.0, "trend": 0.0, "slow_drift": 0.0},
}
UNSKILLED = ("random", f"luckiest of {LUCKY}, declared", f"luckiest of {LUCKY}, not declared")
# Rules of the past, which have no skill where there is nothing to learn; with a planted signal they may have.
FOLLOWER, FADER = (f"{verb} the mean of {LOOK_BACK} hours" for verb in ("follows", "fades"))
SKILLED = {"right in 53% of the hours": 0.53, "right in 56% of the hours": 0.56, "right in 58% of the hours": 0.58}
WORDS = ("skill", "alpha", "edge", "outperform")


def random_trader(rng: np.random.Generator) -> Floats:
    """Positions held for about three hours, short two thirds of the time, that know nothing. Shape (HOURS,)."""
    sides = rng.choice([1.0, -1.0], HOURS, p=[1 / 3, 2 / 3])
    return sides[np.cumsum(rng.random(HOURS) < 1 / 3)]


def skilled_trader(rng: np.random.Generator, returns: Floats, right: float) -> Floats:
    """Right in this share of the hours, whichever way they go. Shape (HOURS,)."""
    return np.where(rng.random(HOURS) < right, np.sign(returns), -np.sign(returns))


def trend(close: Floats) -> Floats:
    """1 where the close before each decision is above its mean over the look-back, else -1. Shape (HOURS,)."""
    total = np.cumsum(np.append(0.0, close))
    last = np.arange(BEFORE + 1, BEFORE + HOURS + 1)
    mean = (total[last] - total[last - LOOK_BACK]) / LOOK_BACK
    return np.where(close[BEFORE : BEFORE + HOURS] > mean, 1.0, -1.0)


def judged(close: Floats, sides: Floats, base: Floats, trials: int = 1) -> Verdict:
    """The verdict on one trader."""
    case = Case(close, BEFORE, sides, base, LEVERAGE, Execution(), QUICK, look_back=LOOK_BACK)
    return collect(case, Thresholds(), declared=trials)[1]


def claims(market: str, seed: int) -> dict[str, dict[str, bool]]:
    """Trader to the words that the slides might say of it, on one seed's market."""
    settings = MarketSettings(seed=seed, bars=BEFORE + HOURS + 1, **MARKETS[market])
    close = synthetic_bars(settings, Calibration())[0].close
    rng = np.random.default_rng([99, seed])
    returns = np.diff(close[BEFORE : BEFORE + HOURS + 1]) / close[BEFORE : BEFORE + HOURS]
    traders = [random_trader(rng) for _ in range(LUCKY)]
    luckiest = max(traders, key=lambda sides: np.log1p(LEVERAGE * sides * returns).sum())
    base = traders[0]
    random, declared, hidden = UNSKILLED
    found = {
        random: judged(close, traders[1], base),
        declared: judged(close, luckiest, base, trials=LUCKY),
        hidden: judged(close, luckiest, base),
        FOLLOWER: judged(close, trend(close), base),
        FADER: judged(close, -trend(close), base),
    }
    found |= {name: judged(close, skilled_trader(rng, returns, right), base) for name, right in SKILLED.items()}
    return {name: verdict.words for name, verdict in found.items()}


def rates(market: str, seeds: int) -> dict[str, dict[str, float]]:
    """Trader to the share of the seeds in which each word, and any of them, might be said."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in (*UNSKILLED, FOLLOWER, FADER, *SKILLED)}
    progress = Progress(seeds, f"market {market}, seed")
    for seed in range(seeds):
        for name, words in claims(market, seed).items():
            counts[name].update(word for word, allowed in words.items() if allowed)
            counts[name]["any"] += any(words.values())
        progress.update(seed + 1)
    return {name: {word: count[word] / seeds for word in ("any", *WORDS)} for name, count in counts.items()}


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """The rates as lines of text."""
    lines = []
    for market, traders in found.items():
        lines.append(f"market {market}:")
        lines += [
            f"  {name}: " + ", ".join(f"{word} {rate:.0%}" for word, rate in words.items())
            for name, words in traders.items()
        ]
    return "\n".join(lines)


def main() -> None:
    """Judge, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=40, help="markets of each kind")
    parser.add_argument("--output", type=Path, required=True, help="JSON")
    args = parser.parse_args()
    found = {market: rates(market, args.seeds) for market in MARKETS}
    result: dict[str, Any] = {
        "what": f"share of {args.seeds} seeds in which the verdict allows a word, by market and planted trader",
        "hours": HOURS,
        "leverage": LEVERAGE,
        "settings": asdict(QUICK) | {"look_back": LOOK_BACK},
        "versions": record(argparse.Namespace(), {}, ["numpy", "arch"])["versions"],
        "rates": found,
    }
    write_json(args.output, result)
    print(table(found))


if __name__ == "__main__":
    main()
