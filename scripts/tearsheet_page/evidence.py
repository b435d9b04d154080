"""The tests of evidence.json as tables, and what they say together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from report.theme import percent
from report.wording import strategy
from tearsheet_page.markup import Markup, element, join
from tearsheet_page.parts import (
    NOT_DEFINED,
    flat,
    folded,
    maybe,
    p_value,
    paragraph,
    plain,
    readable,
    section,
    span,
    table,
    values,
)
from tearsheet_page.tables import decimals

Record = Mapping[str, Any]


class Kind(NamedTuple):
    """How a test is named, what its statistic is, and how that is written."""

    title: str
    statistic: str
    show: Callable[[Any], str]


def basis_points(digits: int) -> Callable[[float], str]:
    """A fraction in basis points."""
    return lambda value: f"{1e4 * value:+,.{digits}f} bp".replace("-", "\N{MINUS SIGN}")


KINDS = {
    "exposure_matched_null": Kind("Exposure-matched chance", "total return; interval of the draws", percent),
    "regression": Kind("Beta and intercept", "intercept, a bar", basis_points(2)),
    "timing": Kind("Timing term (Henriksson and Merton)", "coefficient", decimals(3)),
    "bootstrap": Kind("Block bootstrap", "total return", percent),
    "sharpe": Kind("Sharpe ratio, probabilistic and deflated", "Sharpe ratio, a year", decimals(2)),
    "reality_check": Kind("All variants against the best constant position", "log growth, a bar", basis_points(3)),
    "base": Kind("Against the model before training", "ratio of end capitals", decimals(3)),
    "baselines": Kind("Against random traders of the same exposure", "total return; interval of the draws", percent),
    "sensitivity": Kind("Costs, latency and leverage", "break-even cost, bp a side", decimals(2)),
    "leakage": Kind("Leakage between the splits", "free bars between neighbours", plain),
}
# Shown in the overview of all tests, in a table of its own or by the method's side.
SHOWN_ELSEWHERE = (
    *("statistic", "p_value", "p_value_adjusted", "interval", "verdict"),
    *("method", "seed", "differences", "strategies", "variants"),
)


def verdict(evidence: Record, metrics: Record) -> Markup:
    """The verdict's own sentences, and the numbers that they rest on."""
    said = evidence["verdict"]
    sentences = [element("li", sentence) for sentence in said["sentences"].values() if sentence]
    summary = f"{strategy(metrics, 'trained')['label']}: {said['summary']}."
    return section(
        "verdict",
        "Verdict",
        paragraph(summary, class_="summary"),
        element("ul", *sentences, class_="sentences"),
        key_figures(evidence, metrics),
    )


def key_figures(evidence: Record, metrics: Record) -> Markup:
    """Return, interval, market, best constant position and p-value, side by side."""
    trained, found = strategy(metrics, "trained"), evidence["tests"]
    bootstrap, null = found["bootstrap"], found["exposure_matched_null"]
    confidence = f"{100 * bootstrap['settings']['confidence']:g}%"
    best = max((strategy(metrics, key) for key in ("always_buy", "always_sell")), key=lambda row: row["total_return"])
    trials = found["sharpe"]["settings"]["trials"]["used"]
    chance = "p-value against exposure-matched chance"
    if trials > 1:
        chance += f"; {p_value(evidence['verdict']['p_value_adjusted'])} given {trials:,} trials"
    moves = evidence["strategy"]["constant"] is None
    figures = (
        (
            percent(trained["total_return"]),
            f"total return; {confidence} interval {span(percent, bootstrap['interval'])}",
        ),
        (percent(metrics["market"]["return"]), "the market"),
        (percent(best["total_return"]), f"{best['label']}, the better constant position at this leverage"),
        (percent(trained["max_drawdown"]), "largest drawdown"),
        (p_value(null["p_value"]) if moves else "none", chance if moves else "no timing to test"),
    )
    return element("dl", *(_figure(*figure) for figure in figures), class_="figures-row")


def overview(evidence: Record) -> Markup:
    """One row a test."""
    rows = []
    for name, test in evidence["tests"].items():
        kind = kind_of(name)
        shown = maybe(kind.show, test.get("statistic"))
        bounds = span(kind.show, test.get("interval"))
        link = element("a", kind.title, href=f"#test-{name}")
        p_values = (p_value(test.get("p_value")), p_value(test.get("p_value_adjusted")))
        rows.append((link, kind.statistic, shown, bounds, *p_values, _passed(test)))
    head = ("Test", "Statistic", "Value", "Interval", "p-value", "after trials", "Verdict")
    return table("Each test by itself", head, rows, "numbers tests")


def details(evidence: Record) -> Markup:
    """Method, settings, seed and everything else that each test found, behind a click."""
    return join(*(_test(name, test) for name, test in evidence["tests"].items()))


def thresholds(evidence: Record) -> Markup:
    """What a test had to reach, and why."""
    rows = (
        (readable(name), plain(limit["value"]), limit.get("reason")) for name, limit in evidence["thresholds"].items()
    )
    return table("Thresholds", ("Threshold", "Value", "Reason"), rows)


def kind_of(name: str) -> Kind:
    """How a test is shown; one that is not known by its own name."""
    return KINDS.get(name) or Kind(readable(name).capitalize(), "statistic", plain)


def _figure(value: str, meaning: str) -> Markup:
    return element("div", element("dt", meaning), element("dd", value))


def _passed(test: Record) -> Markup:
    text = test.get("verdict") or "none"
    return element("span", text, class_="passed" if text == "passed" else "open")


def _test(name: str, test: Record) -> Markup:
    kind = kind_of(name)
    rest = {key: value for key, value in test.items() if key not in SHOWN_ELSEWHERE}
    return folded(
        kind.title,
        paragraph(f"Method: {test.get('method') or NOT_DEFINED}."),
        *_rivals(test),
        values("Settings and findings", [("seed", _seed(test)), *flat(rest)]),
        id=f"test-{name}",
        class_="test",
    )


def _seed(test: Record) -> str:
    return "none: nothing is drawn" if test.get("seed") is None else str(test["seed"])


def _rivals(test: Record) -> Iterator[Markup]:
    """The tables of the tests that compare with several others."""
    ratio = decimals(3)
    if differences := test.get("differences"):
        rows = (
            (
                *(row["label"], ratio(row["statistic"]), span(ratio, row["interval"])),
                *(p_value(row["p_value"]), p_value(row.get("p_value_corrected"))),
            )
            for row in differences.values()
        )
        head = ("Strategy", "Ratio of end capitals", "Interval", "p-value", "after trials and comparisons")
        yield table("Against each other strategy", head, rows)
    if rules := test.get("strategies"):
        rows = ((row["label"], percent(row["total_return"])) for row in rules)
        yield table("Simple rules on the same hours", ("Rule", "Total return"), rows)
    variants = test.get("variants") or {"total_return": {}}
    if len(variants["total_return"]) > 1:
        invalid = variants.get("invalid", {})
        ends = sorted(variants["total_return"].items(), key=lambda item: -item[1])
        rows = ((name, percent(end), maybe(plain, invalid.get(name))) for name, end in ends)
        caption = f"Variants on the same hours; median {percent(variants['median'])}"
        yield table(caption, ("Variant", "Total return", "Answers without a decision"), rows)
