"""What is examined: one strategy's decisions among others on the same bars, and how the tests are run."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trading.costs import Execution, Path, simulate
from trading.evidence.baselines import momentum, moving_average_crossover

Floats = NDArray[np.float64]

LEAST_BARS = 30
# Normal approximations say nothing of fewer hours: one hour that gained has a probabilistic Sharpe ratio of 0.977, and
# whoever was long but for the worst hour of a crash any t value.
LEAST_HOURS = 10
RULES = ("momentum", "crossover")
CONSTANTS = ("always_buy", "always_sell")
# Each test draws from its own stream, so that a change of one leaves the others' numbers.
STREAMS = {"exposure_matched_null": 1, "bootstrap": 2, "random": 3, "reality_check": 4}


@dataclass(frozen=True)
class Settings:
    """How the tests are run.

    Attributes
    ----------
    permutations, bootstrap, reality_check
        Draws of each.
    confidence
        Of all intervals.
    momentum, fast, slow
        Windows of the simple rules, in bars.
    """

    seed: int = 0
    permutations: int = 10_000
    bootstrap: int = 10_000
    reality_check: int = 2_000
    confidence: float = 0.95
    momentum: int = 24
    fast: int = 5
    slow: int = 20

    def generator(self, test: str) -> np.random.Generator:
        """The random numbers of one test."""
        return np.random.default_rng([self.seed, STREAMS[test]])


@dataclass(frozen=True)
class Case:
    """One strategy, its rivals and its market.

    Attributes
    ----------
    close
        All closes, shape (bars,), those before the first decision included.
    start
        Bar of the first decision.
    trained, base
        Decisions: 1 long, -1 short, 0 flat, shape (count,).
    label, base_label
        Names for sentences.
    variants
        Name to decisions of the other variants that were run on the same bars.
    look_back
        Bars before its own that a decision depends on.
    bars_per_year
        For annual figures: of elapsed time, 8760 for hours.

    Raises
    ------
    ValueError
        If there are fewer than 30 decisions, lengths differ, or a close is not finite.
    """

    close: Floats
    start: int
    trained: Floats
    base: Floats
    leverage: float
    execution: Execution
    settings: Settings
    label: str = "The model"
    base_label: str = "the base model"
    variants: dict[str, Floats] = field(default_factory=dict)
    look_back: int = 0
    bars_per_year: float = 8760.0

    def __post_init__(self) -> None:
        if self.trained.size < LEAST_BARS:
            raise ValueError(f"{self.trained.size} decisions are too few to test anything: at least {LEAST_BARS}")
        for name, directions in {"base": self.base, **self.variants}.items():
            if directions.shape != self.trained.shape:
                raise ValueError(
                    f"{name} has {directions.size} decisions, trained has {self.trained.size}: they must answer "
                    "the same samples"
                )
        if self.start < 0 or self.start + self.trained.size >= self.close.size:
            raise ValueError("the last decision needs a next close to be settled at")
        if not (np.isfinite(self.close).all() and (self.close > 0).all()):
            raise ValueError("closes must be finite and above 0")

    @property
    def bars(self) -> int:
        """How many decisions."""
        return self.trained.size

    @cached_property
    def returns(self) -> Floats:
        """The market's simple returns over the decisions, shape (count,)."""
        close = self.close[self.start : self.start + self.bars + 1]
        return close[1:] / close[:-1] - 1

    @cached_property
    def sides(self) -> dict[str, Floats]:
        """Directions by key: the strategy itself first, then all it is compared with."""
        settings, always = self.settings, np.ones(self.bars)
        span = (self.start, self.bars)
        return {
            "trained": self.trained,
            "base": self.base,
            "always_buy": always,
            "always_sell": -always,
            "momentum": momentum(self.close, *span, settings.momentum),
            "crossover": moving_average_crossover(self.close, *span, settings.fast, settings.slow),
        }

    @cached_property
    def labels(self) -> dict[str, str]:
        """Names by key, as sentences use them."""
        settings = self.settings
        return {
            "trained": self.label,
            "base": self.base_label,
            "always_buy": "Always Buy",
            "always_sell": "Always Sell",
            "momentum": f"momentum over {settings.momentum} hours",
            "crossover": f"the {settings.fast}/{settings.slow} hour crossover",
        }

    @cached_property
    def paths(self) -> dict[str, Path]:
        """What each of ``sides`` earned, bar after bar."""
        together = simulate(self.returns, np.array(list(self.sides.values())), self.leverage, self.execution)
        return {key: Path(*(array[row] for array in together)) for row, key in enumerate(self.sides)}

    @cached_property
    def variant_paths(self) -> dict[str, Path]:
        """What each variant earned, the examined one under "trained" first."""
        names = ["trained", *self.variants]
        sides = np.array([self.trained, *self.variants.values()])
        together = simulate(self.returns, sides, self.leverage, self.execution)
        return {name: Path(*(array[row] for array in together)) for row, name in enumerate(names)}

    @cached_property
    def active(self) -> int:
        """Hours in which the strategy earned, lost or paid something."""
        return int(np.count_nonzero(self.paths["trained"].growth != 1))

    @cached_property
    def unusual(self) -> int:
        """Hours in which it held another side than in most."""
        _, counts = np.unique(np.sign(self.paths["trained"].position), return_counts=True)
        return self.bars - int(counts.max())

    def total_return(self, key: str) -> float:
        """Of one of ``sides``, as a fraction."""
        return float(self.paths[key].growth.prod() - 1)

    @property
    def constant(self) -> str | None:
        """long, short or flat if the decisions never change; else None."""
        sides = np.unique(self.trained)
        return {1: "long", -1: "short", 0: "flat"}[int(sides[0])] if sides.size == 1 else None
