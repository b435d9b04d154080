"""From evidence to a verdict and to the sentences that the slides may use. Pure functions.

The comparison with exposure-matched chance is the gate: unless it passes, none of the other tests can bring a
claim, so that a trader without any timing is credited with something at most as often as the level says, however
many tests follow. Behind the gate stands the deflated Sharpe ratio, and behind both each word's own test:

    skill        none
    alpha        the intercept of the regression on the market
    outperform   the bootstrap of the lead, corrected for the number of comparisons
    edge         a break-even cost above what trading costs
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any

from trading.evidence.sharpe import adjusted
from trading.evidence.wording import sentences

WORDS = ("alpha", "edge", "skill", "outperform")

KINDS = {
    "no_position": "never held a position",
    "constant_position": "a constant position",
    "wiped_out": "lost everything",
    "worse_than_chance": "worse than chance",
    "chance": "cannot be told from chance",
    "chance_after_trials": "cannot be told from chance, given the number of trials",
    "better_than_chance": "better than chance, but not after deflating its Sharpe ratio",
    "skill": "better than chance, also after deflating its Sharpe ratio",
}


@dataclass(frozen=True)
class Thresholds:
    """What a test has to reach. Each one's reason is part of the result."""

    level: float = field(
        default=0.05,
        metadata={
            "reason": "The customary level, of every test and after the number of trials. A trader whose positions "
            "know nothing of the past passes the first test so often; one who fades it passes somewhat more often, "
            "so that no claim rests on that test alone."
        },
    )
    deflated_sharpe: float = field(
        default=0.95,
        metadata={"reason": "The confidence that Bailey and Lopez de Prado ask for: 1 - 0.05."},
    )
    break_even_bps: float = field(
        default=5.0,
        metadata={
            "reason": "A taker pays 2 to 5 basis points a side on large crypto futures exchanges, and about 1 of "
            "spread: what dies below 5 cannot be traded."
        },
    )

    def __post_init__(self) -> None:
        for name in ("level", "deflated_sharpe"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if not self.break_even_bps >= 0:
            raise ValueError(f"break_even_bps must be at least 0, got {self.break_even_bps}")

    def record(self) -> dict[str, Any]:
        """Value and reason of each, for evidence.json."""
        return {f.name: {"value": getattr(self, f.name), "reason": self._reason(f)} for f in fields(self)}

    def _reason(self, threshold: Field[float]) -> str:
        if getattr(self, threshold.name) == threshold.default:
            return threshold.metadata["reason"]
        return f"Chosen in the configuration; {threshold.default:g} is what this project gives a reason for."


@dataclass(frozen=True)
class Rival:
    """Another strategy on the same hours.

    Attributes
    ----------
    kind
        "constant", "rule" (momentum, crossover) or "base" (the model before training).
    p_value
        One-sided, of the bootstrap of the model's lead.
    """

    key: str
    label: str
    kind: str
    total_return: float
    p_value: float


@dataclass(frozen=True)
class Findings:
    """What the verdict depends on, and nothing else.

    Attributes
    ----------
    constant
        "long", "short" or "flat" if the model never changed sides.
    null_p, null_p_worse
        Of the exposure-matched null, the larger of its two families' p-values, before the correction for trials.
    percentile, draws, percentile_shifts, shifts
        Share of the permutations and of the shifts that did worse, and how many there were.
    alpha, alpha_interval, alpha_p
        Of the regression on the market, a bar; None where it is not defined.
    deflated_sharpe
        None for a record without variance.
    break_even_bps
        None if the model still earns at any cost that was tried.
    ahead_at_cost
        Whether, at the cost that the thresholds name, it earns more than nothing, than both constant positions and
        than the median shift: else a drift of the market would pass for an edge.
    snooping_p
        Hansen's test of all variants against the best constant position; None if only one variant was run, or if
        each of them is that position.
    """

    label: str
    hours: int
    leverage: float
    total_return: float
    constant: str | None
    null_p: float
    null_p_worse: float
    percentile: float
    draws: int
    percentile_shifts: float
    shifts: int
    trials: int
    alpha: float | None
    alpha_interval: tuple[float, float] | None
    alpha_p: float | None
    deflated_sharpe: float | None
    break_even_bps: float | None
    ahead_at_cost: bool
    rivals: tuple[Rival, ...]
    snooping_p: float | None
    truncated: int
    unparsable: int
    invalid_as: str
    finished: int = 0

    @property
    def wiped_out(self) -> bool:
        """Whether nothing was left."""
        return self.total_return <= -1


@dataclass(frozen=True)
class Verdict:
    """What may be said.

    Attributes
    ----------
    kind
        One of ``KINDS``.
    words
        Which of ``WORDS`` may appear.
    outperformed
        Keys of the rivals for which "outperform" may be said.
    null_p_adjusted
        P-value of the first test, given the number of trials.
    sentences
        Key to sentence, in the order of the slides.
    """

    kind: str
    words: dict[str, bool]
    outperformed: tuple[str, ...]
    null_p_adjusted: float
    sentences: dict[str, str]

    def record(self) -> dict[str, Any]:
        """For evidence.json."""
        return {
            "kind": self.kind,
            "summary": KINDS[self.kind],
            "words": self.words,
            "outperformed": list(self.outperformed),
            "p_value_adjusted": self.null_p_adjusted,
            "sentences": self.sentences,
        }


def verdict(findings: Findings, thresholds: Thresholds) -> Verdict:
    """Decide what the evidence bears."""
    adjusted_p = adjusted(findings.null_p, findings.trials)
    trades = findings.constant is None and not findings.wiped_out
    gate = trades and adjusted_p <= thresholds.level
    deflated = findings.deflated_sharpe is not None and findings.deflated_sharpe >= thresholds.deflated_sharpe
    skill = gate and deflated
    # The first test is a little too easy for who fades the past: each word needs the deflated Sharpe ratio, too.
    outperformed = outperforms(findings, thresholds) if skill else ()
    words = {
        "alpha": skill and has_alpha(findings, thresholds),
        "edge": skill and earns_after_costs(findings, thresholds),
        "skill": skill,
        "outperform": bool(outperformed),
    }
    kind = _kind(findings, thresholds, gate=gate, skill=skill)
    return Verdict(
        kind=kind,
        words=words,
        outperformed=outperformed,
        null_p_adjusted=adjusted_p,
        sentences=sentences(findings, thresholds, kind, words, outperformed, adjusted_p, corrected_p_values(findings)),
    )


def has_alpha(findings: Findings, thresholds: Thresholds) -> bool:
    """Whether more was earned than the exposure to the market explains, given the number of trials."""
    if findings.alpha is None or findings.alpha_p is None or findings.alpha <= 0:
        return False
    return adjusted(findings.alpha_p, findings.trials) <= thresholds.level


def earns_after_costs(findings: Findings, thresholds: Thresholds) -> bool:
    """Whether it would earn at what trading costs, and more there than the market's drift gives anyone."""
    bears = findings.break_even_bps is None or findings.break_even_bps >= thresholds.break_even_bps
    return bears and findings.ahead_at_cost


def outperforms(findings: Findings, thresholds: Thresholds) -> tuple[str, ...]:
    """Rivals whose lag is more than chance: Holm's correction over all of them, and the number of trials.

    Of several variants the best one was shown: then a constant position counts as beaten only if Hansen's test
    over all variants passes, too.
    """
    corrected = corrected_p_values(findings)
    snooped = findings.snooping_p is not None and findings.snooping_p > thresholds.level
    return tuple(
        rival.key
        for rival in findings.rivals
        if findings.total_return > rival.total_return
        and corrected[rival.key] <= thresholds.level
        and not (snooped and rival.kind == "constant")
    )


def corrected_p_values(findings: Findings) -> dict[str, float]:
    """P-value of each rival's lag after the number of trials and, by Holm (1979), the number of rivals."""
    ordered = sorted(findings.rivals, key=lambda rival: rival.p_value)
    found, largest = {}, 0.0
    for rank, rival in enumerate(ordered):
        largest = max(largest, min(1.0, adjusted(rival.p_value, findings.trials) * (len(ordered) - rank)))
        found[rival.key] = largest
    return found


def _kind(findings: Findings, thresholds: Thresholds, *, gate: bool, skill: bool) -> str:
    if findings.constant is not None:
        return "no_position" if findings.constant == "flat" else "constant_position"
    if findings.wiped_out:
        return "wiped_out"
    if gate:
        return "skill" if skill else "better_than_chance"
    if findings.null_p <= thresholds.level:
        return "chance_after_trials"
    return "worse_than_chance" if findings.null_p_worse <= thresholds.level else "chance"
