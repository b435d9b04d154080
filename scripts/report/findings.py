"""What the slides after the sixth say: results with intervals, the tests, and what the result is sensitive to."""

from __future__ import annotations

from report import terms, tested, wording
from report.evidence_table import NOTHING, EvidenceTable
from report.sources import Fact
from report.theme import decimals, multiple, percent, plural, span, tenth, times
from trading.evidence.wording import probability


class Findings(EvidenceTable):
    """The statements of slides 7 to 9."""

    # Results with intervals ----------------------------------------------------------------------------------

    def interval_header(self) -> list[Fact]:
        """Titles of the columns."""
        titles = ["Strategy", "Total return", "Sharpe ratio", "Max drawdown", "The model's lead: ratio of end capitals"]
        fields = ("tests.bootstrap.settings.confidence",)
        return [
            self.found(title, *fields) if number else Fact(title, ())
            for number, title in enumerate((titles[0], *(f"{t} ({self.confidence()} interval)" for t in titles[1:])))
        ]

    def intervals(self) -> list[tuple[str, list[Fact]]]:
        """A strategy's key and its cells: those of metrics.json, then the rules that only evidence.json knows."""
        rows = [self.simulated(row) for row in self.results["strategies"]]
        known = {key for key, _ in rows}
        others = [row for row in self.tests["baselines"]["strategies"] if row["key"] not in known]
        for row in sorted(others, key=lambda row: -row["total_return"]):
            at = f"tests.baselines.strategies.{row['key']}"
            name = self.found(tested.rival_label(row["label"]), f"{at}.label")
            total = self.found(percent(row["total_return"]), f"{at}.total_return")
            rows.append((row["key"], [name, total, *[self.found(NOTHING)] * 2, self.lead(row["key"])]))
        return rows

    def simulated(self, row: wording.Strategy) -> tuple[str, list[Fact]]:
        """A row of a strategy that was simulated; intervals are the trained model's only."""
        key, test = row["key"], self.tests["bootstrap"]
        at, own = f"{self.metrics}: strategies.{key}", key == "trained"
        sharpe = test["sharpe"]["statistic"] if own else row.get("sharpe")
        values = (
            ("total_return", percent(row["total_return"]), span(test["interval"], percent), ["interval"]),
            (
                "sharpe", NOTHING if sharpe is None else decimals(sharpe),
                span(test["sharpe"]["interval"], decimals), ["sharpe.statistic", "sharpe.interval"],
            ),
            (
                "max_drawdown", percent(row["max_drawdown"], 1),
                span(test["max_drawdown"]["interval"], tenth), ["max_drawdown.interval"],
            ),
        )  # fmt: skip
        cells = [self.record.fact(tested.rival_label(row["label"]), [f"{at}.label"])]
        for name, value, bounds, fields in values:
            sources = [f"{at}.{name}"] if name in row else []
            if own:
                value += f" ({bounds})" if bounds else ""
                sources = [] if name == "sharpe" else sources
                sources += [f"{self.tests_file}: tests.bootstrap.{field}" for field in fields]
            cells.append(self.record.fact(value, sources if value != NOTHING else []))
        return key, [*cells, self.found("the model itself") if own else self.lead(key)]

    def lead(self, key: str) -> Fact:
        """How far the model ended above another strategy, and how likely that is by chance."""
        row = self.tests["bootstrap"]["differences"].get(key)
        if row is None:
            return self.found(NOTHING)
        bounds = span(row["interval"], multiple)
        return self.found(
            f"{multiple(row['statistic'])} ({bounds}), {probability(tested.corrected(self.evidence)[key])}",
            *(f"{tested.DIFFERENCES}.{key}.{name}" for name in ("statistic", "interval", "p_value_corrected")),
            f"words({tested.TRIALS})",
        )

    def reading(self) -> list[Fact]:
        """How to read the intervals, and what they bear."""
        settings, trials = self.tests["bootstrap"]["settings"], self.tests["sharpe"]["settings"]["trials"]["used"]
        how = self.found(
            f"Intervals: {self.confidence()} of {settings['paths']:,} bootstrap paths, blocks of about "
            f"{settings['block']:,} hours. They say how uncertain the result is, not whether it is chance.",
            *(f"tests.bootstrap.settings.{name}" for name in ("confidence", "paths", "block")),
        )
        others = len(self.tests["bootstrap"]["differences"])
        counted = self.found(
            f"p: how often chance alone would give so large a lead, one-sided, corrected for {plural(trials, 'trial')} "
            f"and {plural(others, 'comparison')}.",
            tested.TRIALS, f"count({tested.DIFFERENCES})",
        )  # fmt: skip
        return [how, counted, *self.verdict("outperform", "skill")]

    # Evidence ------------------------------------------------------------------------------------------------

    def verdicts(self) -> list[Fact]:
        """The verdict in its own sentences."""
        return self.verdict("chance", "market", "trials")

    # Sensitivity ---------------------------------------------------------------------------------------------

    def sensitivity(self) -> list[Fact]:
        """Break-even, a later fill, liquidation, terms."""
        in_full = terms.in_full(self.results)
        terms_said = self.said(f"The run's own terms: {in_full}.", "leverage", *terms.fields(self.results))
        return [*self.verdict("costs"), *self.later(), self.liquidation(), terms_said]

    def later(self) -> list[Fact]:
        """What the same decisions return if each is filled an hour later, where that was computed."""
        surface, own = self.tests["sensitivity"]["surface"], terms.terms_of(self.results)
        cost, latency = terms.side_cost(own), own["latency"] + 1
        if cost not in surface["cost_bps"] or latency not in surface["latency"]:
            return []
        row, column = surface["latency"].index(latency), surface["cost_bps"].index(cost)
        value = surface["total_return"][row][column]
        return [
            self.found(
                f"Filled one hour later at the same costs, the same decisions return {percent(value)}.",
                f"tests.sensitivity.surface.total_return.{row}.{column}",
            )
        ]

    def liquidation(self) -> Fact:
        """The leverage at which nothing is left."""
        test = self.tests["sensitivity"]
        at, most = test["liquidation_leverage"], times(test["settings"]["most_leverage"])
        text = f"up to {most}, the most that was tried, it is never liquidated" if at is None else (
            f"from {at:.3g}x on it is liquidated on these hours"
        )  # fmt: skip
        field = "settings.most_leverage" if at is None else "liquidation_leverage"
        return self.found(f"Leverage: {text}.", f"tests.sensitivity.{field}")
