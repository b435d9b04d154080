"""The sentences of a verdict. The words alpha, edge, skill and outperform stand only behind their own condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trading.evidence.sharpe import adjusted

if TYPE_CHECKING:
    from trading.evidence.verdict import Findings, Rival, Thresholds


def sentences(
    findings: Findings,
    thresholds: Thresholds,
    kind: str,
    words: dict[str, bool],
    outperformed: Sequence[str],
    adjusted_p: float,
    corrected: Mapping[str, float],
) -> dict[str, str]:
    """Key to sentence, in the order of the slides; empty ones left out.

    Parameters
    ----------
    kind, words, outperformed, adjusted_p
        As in ``Verdict``.
    corrected
        Key of each rival to the p-value of its lag, after the number of trials and rivals.
    """
    found = {
        "chance": chance(findings, thresholds, kind, adjusted_p),
        "skill": skill(findings, thresholds, kind, words),
        "constants": constants(findings),
        "outperform": lead(findings, outperformed, corrected),
        "market": market(findings, words),
        "costs": costs(findings, thresholds, words),
        "trials": trials(findings),
        "invalid": invalid(findings),
    }
    return {key: text for key, text in found.items() if text}


def chance(findings: Findings, thresholds: Thresholds, kind: str, adjusted_p: float) -> str:
    """Where the result falls among rearrangements of the model's own positions."""
    if kind == "no_position":
        return f"{findings.label} never held a position: there is nothing to test."
    if kind == "constant_position":
        return (
            f"{findings.label} was {findings.constant} in every hour: a constant position, whose timing cannot be "
            "tested because there is none."
        )
    if kind == "wiped_out":
        return f"{findings.label} lost all of its capital."
    level = f"the {percentage(thresholds.level)} level"
    p_value = f"larger {probability(findings.null_p)}"
    after = f"{probability(adjusted_p)} after {findings.trials:,} trials"
    if kind == "chance":
        return f"{findings.label} cannot be told from chance: it beat {drawn(findings)} ({p_value})."
    if kind == "worse_than_chance":
        return (
            f"{findings.label} did worse than chance: it beat {drawn(findings)} "
            f"({probability(findings.null_p_worse)} for so little)."
        )
    if kind == "chance_after_trials":
        return (
            f"{findings.label} cannot be told from chance: it beat {drawn(findings)} ({p_value}), but the best of "
            f"{findings.trials:,} trials would ({after})."
        )
    values = p_value if findings.trials == 1 else f"{p_value}; {after}"
    return f"{findings.label} beat {drawn(findings)} ({values}): its timing differs from chance at {level}."


def skill(findings: Findings, thresholds: Thresholds, kind: str, words: dict[str, bool]) -> str:
    """What the deflated Sharpe ratio adds."""
    if kind in ("no_position", "constant_position", "wiped_out"):
        return ""
    if findings.deflated_sharpe is None:
        few = "It earned or lost in too few hours for its Sharpe ratio to be tested, which a larger claim needs."
        return few if kind == "better_than_chance" else ""
    ratio = f"deflated Sharpe ratio {findings.deflated_sharpe:.3f}, {thresholds.deflated_sharpe:g} asked for"
    if words["skill"]:
        return f"The tests support skill on these hours ({ratio})."
    if kind == "better_than_chance":
        return f"Its gain is too uncertain for a larger claim ({ratio})."
    return f"The {ratio}."


def constants(findings: Findings) -> str:
    """The constant positions that ended with more, by name."""
    # To the digits that are shown: the crumbs of two lost accounts are equal.
    shown = round(findings.total_return, 4)
    better = [r for r in findings.rivals if r.kind == "constant" and round(r.total_return, 4) > shown]
    better.sort(key=lambda rival: -rival.total_return)
    if not better:
        return "No constant position at this leverage ended with more."
    noun = "A constant position" if len(better) == 1 else "Constant positions"
    return f"{noun} ended with more: {returns(better)}, against {percentage(findings.total_return, signed=True)}."


def lead(findings: Findings, outperformed: Sequence[str], corrected: Mapping[str, float]) -> str:
    """Which leads are more than chance and which are not."""
    behind = [rival for rival in findings.rivals if rival.total_return < findings.total_return]
    texts = []
    for text, group in (
        ("It outperformed {}.", [rival for rival in behind if rival.key in outperformed]),
        ("That it ended above {} is not enough for a claim.", [r for r in behind if r.key not in outperformed]),
    ):
        if group:
            texts.append(text.format(listed([f"{r.label} ({probability(corrected[r.key])})" for r in group])))
    return " ".join(texts)


def market(findings: Findings, words: dict[str, bool]) -> str:
    """What the exposure to the market does not explain."""
    if findings.alpha is None or findings.alpha_interval is None or findings.alpha_p is None or findings.constant:
        return ""
    low, high = (1e4 * bound for bound in findings.alpha_interval)
    size = f"{1e4 * findings.alpha:+.2f} basis points an hour (interval {low:+.2f} to {high:+.2f}, "
    size += probability(adjusted(findings.alpha_p, findings.trials))
    size += f" after {findings.trials:,} trials)" if findings.trials > 1 else ")"
    if words["alpha"]:
        return f"Alpha, beyond its exposure to the market: {size}."
    return f"Beyond its exposure to the market it earned {size}: not enough for a claim."


def costs(findings: Findings, thresholds: Thresholds, words: dict[str, bool]) -> str:
    """The cost at which nothing is left."""
    if findings.constant == "flat":
        return ""
    about = f"trading costs about {thresholds.break_even_bps:g}"
    if findings.break_even_bps == 0:
        return "It did not earn even without trading costs."
    if findings.break_even_bps is None:
        text = "It would earn at any cost that was tried"
        return f"{text}: its edge is larger than costs." if words["edge"] else f"{text}."
    size = f"{findings.break_even_bps:.2f} basis points a side"
    if words["edge"]:
        return f"Its edge bears trading costs up to {size}; {about}."
    return f"Trading costs of {size} leave nothing of its gain; {about}."


def trials(findings: Findings) -> str:
    """How many were tried."""
    if findings.trials == 1:
        return "Counted as the only trial on these hours."
    return f"Counted as the best of {findings.trials:,} trials on these hours."


def invalid(findings: Findings) -> str:
    """Answers without a decision, beside the result they are part of."""
    count = findings.truncated + findings.unparsable
    text = f"{count:,} of {findings.hours:,} answers gave no decision"
    if count:
        text += f" ({findings.truncated:,} truncated, {findings.unparsable:,} unparsable) and trade as "
        text += findings.invalid_as
    if findings.finished:
        text += f"; {findings.finished:,} more were cut and finished in a second pass"
    return f"{text}."


def drawn(findings: Findings) -> str:
    """How much of either family of rearrangements was beaten."""
    return (
        f"{beaten(findings.percentile)} of {findings.draws:,} permutations and {beaten(findings.percentile_shifts)} of "
        f"{findings.shifts:,} shifts of its own positions"
    )


def beaten(percentile: float) -> str:
    """Share of the draws that did worse, without rounding up to all of them."""
    share = 100 * percentile
    if share > 99.9:
        return "all" if percentile == 1 else "more than 99.9%"
    return f"{share:.1f}%"


def probability(p_value: float) -> str:
    """p = 0.031; p < 0.0001."""
    if p_value < 1e-4:
        return "p < 0.0001"
    text = f"{p_value:.4f}" if p_value < 0.001 else f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}"
    return f"p = {text}"


def percentage(value: float, signed: bool = False) -> str:
    """+5.03% with a sign, 5% without."""
    return f"{100 * value:+,.2f}%" if signed else f"{100 * value:g}%"


def returns(rivals: Sequence[Rival]) -> str:
    """Always Sell (+49.63%) and Always Buy (-47.56%)."""
    return listed([f"{rival.label} ({percentage(rival.total_return, signed=True)})" for rival in rivals])


def listed(names: Sequence[str]) -> str:
    """A, B and C."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
