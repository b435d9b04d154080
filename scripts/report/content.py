"""What the slides say of the results and in conclusion. Nothing here knows of PowerPoint."""

from __future__ import annotations

from report import terms, tested, wording
from report.methodology import Methodology
from report.sources import Fact
from report.statements import MANIFEST, MARKET, TRAINED
from report.theme import day, dollars, percent, share, times

HEADLINE = ("strategies.trained.label", "strategies.trained.total_return", "abs(market.return)")


def count_fields(at: str, row: wording.Strategy, detailed: bool) -> list[str]:
    """Where the counts stand that ``wording.invalid_count`` shows of a strategy's answers."""
    fields = [f"{at}.truncated + {at}.unparsable", "market.hours"]
    if detailed and row["truncated"] + row["unparsable"]:
        fields += [f"{at}.truncated", f"{at}.unparsable"]
    return [*fields, f"{at}.finished"] if row["finished"] else fields


class Content(Methodology):
    """The statements of slides 1 to 6."""

    def title(self) -> Fact:
        """The deck's title."""
        return self.record.fact(f"{self.record.get(TRAINED, 'model')} Trading Evaluation")

    def title_line(self) -> Fact:
        """Market, hours, leverage and device, below the subtitle."""
        get, metrics = self.record.get, self.metrics
        hours, first, last = (get(metrics, f"market.{name}") for name in ("hours", "first", "last"))
        label = wording.market_label(self.market)
        return self.record.fact(
            f"{label}, {hours:,} hours, {day(first)} to {day(last)}\n"
            f"{times(get(metrics, 'leverage'))} leverage, run on {self.device()}",
            [f"{MARKET}: name", f"{MARKET}: words(synthetic)"],
        )

    # Results -------------------------------------------------------------------------------------------------

    def table(self) -> list[tuple[str, list[Fact]]]:
        """A strategy's key and its cells, best first."""
        rows = []
        samples = self.results["market"]["hours"]
        for row in self.results["strategies"]:
            at = f"strategies.{row['key']}"
            model = row["key"] in ("trained", "base")
            invalid = wording.invalid_count(row, samples, detailed=False) if model else "n/a"
            cells = [
                self.said(row["label"], f"{at}.label"),
                self.said(percent(row["total_return"]), f"{at}.total_return"),
                self.said(dollars(row["final_capital"]), f"{at}.final_capital"),
                self.said(percent(row["max_drawdown"], 1), f"{at}.max_drawdown"),
                self.said(invalid, *(count_fields(at, row, detailed=False) if model else [])),
                self.characteristic(row, at),
            ]
            rows.append((row["key"], cells))
        return rows

    def characteristic(self, row: wording.Strategy, at: str) -> Fact:
        """What marks a strategy; of the trained model first what the tests say."""
        liquidated = [f"{at}.liquidated"] if row.get("liquidated") else []
        shown = [] if row["key"] in wording.CONSTANT else [f"{at}.{n}" for n in ("share_long", "share_short", "trades")]
        said, verdict = [], ""
        if row["key"] == "trained" and row["hit_rate"] is not None:
            verdict = tested.phrase(self.evidence)
            said = [f"{self.tests_file}: {field}" for field in tested.phrase_sources(self.evidence)]
        before, after = (
            [f"{self.metrics}: {field}" for field in fields]
            for fields in (liquidated, [*shown, f"{at}.hit_rate", "words(market.return)"])
        )
        return self.record.fact(wording.characteristic(row, self.results, verdict), [*before, *said, *after])

    def insight(self) -> list[Fact]:
        """What the model returned, against what, and whether that differs from chance."""
        return [
            self.headline(),
            self.against_constants(),
            self.said(wording.against_base(self.results), "strategies.base.label", "strategies.base.total_return"),
            *(self.verdict("chance") if tested.passed_chance(self.evidence) else []),
        ]

    def headline(self) -> Fact:
        """The model's return beside the market's."""
        return self.said(wording.headline(self.results), *HEADLINE)

    def against_constants(self) -> Fact:
        """Which constant positions beat the model."""
        rows = sorted((wording.strategy(self.results, key) for key in wording.CONSTANT), key=wording.by_capital)
        fields = (f"strategies.{row['key']}.{name}" for row in rows for name in ("label", "total_return"))
        return self.said(wording.against_constants(self.results), *fields, "words(strategies.trained.final_capital)")

    def caution(self) -> list[Fact]:
        """What to keep in mind beside the result."""
        hours = self.results["market"]["hours"]
        invalid = wording.invalid_answers(self.results, hours)
        fields = []
        for key in ("trained", "base"):
            row = wording.strategy(self.results, key)
            fields += [f"strategies.{key}.label", *count_fields(f"strategies.{key}", row, detailed=True)]
        fields.append("parameters.invalid")
        chance = [] if tested.passed_chance(self.evidence) else self.verdict("chance")
        only = self.evidence["tests"]["sharpe"]["settings"]["trials"]["used"] == 1
        trials = [] if only else self.verdict("trials")
        return [*chance, *trials, self.nature(), self.terms(), self.said(invalid, *fields)]

    def terms(self) -> Fact:
        """What the terms of trade leave out."""
        return self.said(terms.caution(self.results), *terms.fields(self.results))

    # Conclusion ----------------------------------------------------------------------------------------------

    def shown(self) -> list[Fact]:
        """What the run shows."""
        fact = self.record.fact
        ran = fact(
            f"The pipeline ran end to end: {self.record.get(MANIFEST, 'name')} was trained, converted, run on "
            f"{self.record.get(TRAINED, 'samples'):,} samples and simulated."
        )
        parity = fact(f"The conversion is faithful: {self.agreement()}.")
        sides = self.said(
            wording.constant_answer(self.results),
            "strategies.trained.share_long", "strategies.trained.share_short", "words(strategies.trained.share_flat)",
        )  # fmt: skip
        claims = self.verdict(*(key for key in self.claims() if tested.is_shown(self.evidence, key)))
        return [ran, parity, self.headline(), self.against_constants(), *([] if claims else [sides]), *claims]

    def not_shown(self) -> list[Fact]:
        """What the run does not show."""
        missing = (key for key in self.claims() if not tested.is_shown(self.evidence, key))
        step = self.found(tested.next_step(self.evidence, self.market), "verdict.kind")
        return [*self.verdict(*missing), self.nature(), self.terms(), step]

    @staticmethod
    def claims() -> tuple[str, ...]:
        """The verdict's sentences that stand on one or the other side of the conclusion."""
        return ("chance", "skill", "market", "costs")

    def caption(self) -> Fact:
        """The line below the equity curve."""
        row = wording.strategy(self.results, "trained")
        return self.said(
            f"{wording.headline(self.results)} Deepest drawdown of the model: {share(-row['max_drawdown'])}.",
            *HEADLINE, "abs(strategies.trained.max_drawdown)",
        )  # fmt: skip
