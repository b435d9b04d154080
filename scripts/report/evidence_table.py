"""The table of the tests: what each asks, its statistic, its p-value or interval, and its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from report import tested
from report.sources import Fact
from report.statements import Statements
from report.theme import decimals, multiple, number, percent, plural, points, share, span, tenth
from trading.evidence.wording import probability

NOTHING = "n/a"


class EvidenceTable(Statements):
    """The rows of slide 8."""

    @property
    def tests(self) -> Mapping[str, Any]:
        """The tests of evidence.json."""
        return self.evidence["tests"]

    def confidence(self) -> str:
        """Of all intervals: 95%."""
        return share(self.tests["bootstrap"]["settings"]["confidence"], 0)

    def test_header(self) -> list[Fact]:
        """Titles of the columns of the tests."""
        trials = self.tests["sharpe"]["settings"]["trials"]["used"]
        after = f" after {plural(trials, 'trial')}" if trials > 1 else ""
        title = f"p{after}, {self.confidence()} interval"
        counted = tested.TRIALS if trials > 1 else f"words({tested.TRIALS})"
        interval = self.found(title, counted, "tests.bootstrap.settings.confidence")
        return [Fact("Test", ()), Fact("Statistic", ()), interval, Fact("Verdict", ())]

    def test_rows(self) -> list[list[Fact]]:
        """Each test: what, statistic, p-value or interval, verdict."""
        rows = (
            self.null_row(), self.market_row(), self.timing_row(), self.bootstrap_row(), self.sharpe_row(),
            self.reality_row(), self.variants_row(), self.base_row(), self.random_row(), self.cost_row(),
            self.leakage_row(), self.probe_row(),
        )  # fmt: skip
        return [row for row in rows if row]

    def row(self, key: str, *cells: tuple[str, list[str]]) -> list[Fact]:
        """The cells of one test: what, statistic, and p-value or interval, each with the fields of it; its verdict."""
        verdict = self.tests[key].get("verdict", NOTHING)
        if verdict == "not applicable":
            cells = (cells[0], ("", []), ("", []))
        said = [self.found(text or NOTHING, *(of(key, field) for field in fields if text)) for text, fields in cells]
        return [*said, self.found(verdict, f"tests.{key}.verdict")]

    def null_row(self) -> list[Fact]:
        """Exposure-matched chance."""
        test = self.tests["exposure_matched_null"]
        settings = test["settings"]
        what = f"Own positions, other timing: {settings['permutations']:,} permutations, {settings['shifts']:,} shifts"
        shares = [beaten_share(test[name]) for name in ("percentile", "percentile_shifts")]
        beaten = f"beats {shares[0]} and {shares[1]}"
        return self.row(
            "exposure_matched_null",
            (what, ["settings.permutations", "settings.shifts"]),
            (beaten, ["percentile", "percentile_shifts"]),
            (probability(test["p_value_adjusted"]), ["p_value_adjusted"]),
        )

    def market_row(self) -> list[Fact]:
        """The regression on the market."""
        test = self.tests["regression"]
        beta = (test.get("beta") or {}).get("estimate")
        statistic = "" if test["statistic"] is None else f"{points(test['statistic'])} bp an hour"
        if beta is not None:
            statistic += f", beta {decimals(beta)}"
        return self.row(
            "regression",
            ("Return beyond the market's (regression)", []),
            (statistic, ["1e4*statistic", "beta.estimate"]),
            (p_and_span(test, points), p_fields(test, "1e4*interval")),
        )

    def timing_row(self) -> list[Fact]:
        """Henriksson and Merton's term."""
        test = self.tests["timing"]
        statistic = "" if test["statistic"] is None else decimals(test["statistic"])
        spread = (p_and_span(test, decimals), p_fields(test))
        return self.row("timing", ("Timing term (Henriksson-Merton)", []), (statistic, ["statistic"]), spread)

    def bootstrap_row(self) -> list[Fact]:
        """Whether the total return is above 0."""
        test = self.tests["bootstrap"]
        statistic, spread = (percent(test["statistic"], 1), ["statistic"]), (p_and_span(test, tenth), p_fields(test))
        return self.row("bootstrap", ("Total return above 0 (block bootstrap)", []), statistic, spread)

    def sharpe_row(self) -> list[Fact]:
        """The deflated Sharpe ratio."""
        test = self.tests["sharpe"]
        what = f"Sharpe ratio, deflated for {plural(test['settings']['trials']['used'], 'trial')}"
        statistic = "" if test["statistic"] is None else decimals(test["statistic"])
        if test["deflated"] is not None:
            statistic += f"; deflated {test['deflated']:.3f}"
        return self.row(
            "sharpe",
            (what, ["settings.trials.used"]),
            (statistic, ["statistic", "deflated"]),
            (span(test["interval"], decimals), ["interval"]),
        )

    def reality_row(self) -> list[Fact]:
        """The test over all variants; one variant needs none."""
        test = self.tests["reality_check"]
        variants = test["settings"]["variants"]
        what = f"Reality check over {plural(variants, 'variant')} (Hansen)"
        statistic = "" if test["statistic"] is None else f"{points(test['statistic'])} bp an hour"
        spread = "" if test["p_value"] is None else probability(test["p_value"])
        return self.row(
            "reality_check",
            (what, ["settings.variants"]), (statistic, ["1e4*statistic"]), (spread, ["p_value"]),
        )  # fmt: skip

    def variants_row(self) -> list[Fact]:
        """How far the variants lie apart, where there are several."""
        found = self.tests["base"].get("variants") or {}
        count = len(found.get("total_return", ()))
        if count < 2:
            return []
        at = "tests.base.variants"
        bounds = span([found["lowest"], found["highest"]], tenth)
        return [
            self.found(f"Total return of the {count} variants", f"count({at}.total_return)"),
            self.found(f"median {percent(found['median'], 1)}", f"{at}.median"),
            self.found(bounds, f"{at}.lowest", f"{at}.highest"),
            self.found("reported", f"words({at}.total_return)"),
        ]

    def base_row(self) -> list[Fact]:
        """Trained against base."""
        test = self.tests["base"]
        p_value = tested.corrected(self.evidence)["base"]
        spread = ", ".join(part for part in (probability(p_value), span(test["interval"], multiple)) if part)
        name, statistic, _, verdict = self.row(
            "base", ("End capital over the base model's", []), (multiple(test["statistic"]), ["statistic"]), ("", [])
        )
        cell = self.found(spread, f"{tested.DIFFERENCES}.base.p_value_corrected", "tests.base.interval")
        return [name, statistic, cell, verdict]

    def random_row(self) -> list[Fact]:
        """Random sides with the model's exposure."""
        test = self.tests["baselines"]
        what = f"{test['settings']['draws']:,} random traders of its exposure"
        statistic = f"their median {percent(test['random_median'], 1)}"
        return self.row(
            "baselines",
            (what, ["settings.draws"]),
            (statistic, ["random_median"]),
            (p_and_span(test, tenth), p_fields(test)),
        )

    def cost_row(self) -> list[Fact]:
        """The break-even cost."""
        test = self.tests["sensitivity"]
        at = test["break_even_bps"]
        most = number(test["settings"]["most_bps"])
        statistic = f"above {most} bp a side" if at is None else f"{at:.2f} bp a side"
        asked = f"{number(self.evidence['thresholds']['break_even_bps']['value'])} bp asked for"
        field = "settings.most_bps" if at is None else "break_even_bps"
        what, statistic_cell, spread, verdict = self.row(
            "sensitivity", ("Break-even trading cost", []), (statistic, [field]), (asked, [])
        )
        threshold = [] if spread.text == NOTHING else ["thresholds.break_even_bps.value"]
        return [what, statistic_cell, self.found(spread.text, *threshold), verdict]

    def leakage_row(self) -> list[Fact]:
        """Free bars between the splits."""
        test = self.tests.get("leakage")
        if not test:
            return []
        statistic = "" if test.get("statistic") is None else (
            f"no bar shared but tails ({share(test['settings']['tail'])}), "
            f"{test['statistic']:,} to spare"
        )  # fmt: skip
        what = "Gap between training and test hours"
        return self.row("leakage", (what, []), (statistic, ["settings.tail", "statistic"]), ("", []))

    def probe_row(self) -> list[Fact]:
        """Answers that changed with dates, name and price level, where the probe ran."""
        probe = (self.tests.get("leakage") or {}).get("probe")
        if not probe:
            return []
        found = probe["changes"]["all"]
        counts = f"{found['decisions_changed']} of {probe['hours']} answers changed"
        differ = f"{plural(found['prompts_changed'], 'prompt')} held any of them"
        return [
            self.found("Asked again, dates and prices changed", "words(tests.leakage.probe)"),
            self.found(counts, "tests.leakage.probe.changes.all.decisions_changed", "tests.leakage.probe.hours"),
            self.found(differ, "tests.leakage.probe.changes.all.prompts_changed"),
            self.found("reported", "tests.leakage.verdict"),
        ]


def of(test: str, field: str) -> str:
    """A field of a test; of a return in basis points too."""
    factor, star, name = field.rpartition("*")
    return f"{factor}{star}tests.{test}.{name}"


def p_fields(test: Mapping[str, Any], interval: str = "interval") -> list[str]:
    """The fields that ``p_and_span`` shows."""
    return ["p_value_adjusted" if "p_value_adjusted" in test else "p_value", interval]


def p_and_span(test: Mapping[str, Any], form: Any) -> str:
    """p = 0.009, 0.15 to 1.58; what is not defined is left out, and all of it where there is no statistic."""
    if test["statistic"] is None:
        return ""
    adjusted = test.get("p_value_adjusted", test["p_value"])
    p_value = "" if adjusted is None else probability(adjusted)
    return ", ".join(part for part in (p_value, span(test["interval"], form)) if part)


def beaten_share(percentile: float) -> str:
    """Share of the draws that did worse, not rounded up to all of them."""
    return "more than 99.9%" if 0.999 < percentile < 1 else share(percentile, 0 if percentile in (0, 1) else 1)
