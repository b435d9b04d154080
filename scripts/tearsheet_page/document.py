"""The whole page: sections in their order, style and script inside, and a policy that allows nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report.theme import market_heading, plural, times
from report.wording import strategy
from tearsheet_page import decisions, evidence, tables
from tearsheet_page.figures import figures
from tearsheet_page.markup import Markup, element, join
from tearsheet_page.parts import flat, folded, paragraph, section, values
from trading.decisions import Decisions
from trading.tables import Curves

FOLDER = Path(__file__).parent
SECTIONS = (
    ("verdict", "Verdict"),
    ("figures", "Figures"),
    ("tests", "Tests"),
    ("strategies", "Strategies"),
    ("terms", "Terms"),
    ("trades", "Trades"),
    ("decisions", "Decisions"),
    ("provenance", "Provenance"),
)

TESTS = "Whether each test passes by itself. What they bear together is what the verdict says."


@dataclass(frozen=True)
class Contents:
    """What the page shows.

    Attributes
    ----------
    results
        Path in the results folder to the JSON object there: those of which parameters and versions are shown.
    words
        What the model wrote, one text a decision.
    figures
        Their files, in order.
    provenance
        Of the page itself: its parameters, the SHA-256 of its inputs, versions.
    """

    metrics: Mapping[str, Any]
    evidence: Mapping[str, Any]
    results: Mapping[str, Mapping[str, Any]]
    curves: Curves
    trades: tables.Trades
    decisions: Decisions
    words: Sequence[str]
    figures: Mapping[Path, bytes]
    provenance: Mapping[str, Any]


def page(contents: Contents) -> str:
    """The page as text, always the same for the same contents."""
    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    metrics = contents.metrics
    title = f"{strategy(metrics, 'trained')['label']} at {times(metrics['leverage'])} leverage"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy(style, script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{title}: tearsheet"),
        element("link", rel="icon", href="data:,"),
        element("style", Markup(style)),
    )
    body = element(
        "body",
        element("a", "Skip to the verdict", href="#verdict", class_="skip"),
        _header(metrics, title),
        _menu(),
        element("main", *_sections(contents)),
        element("script", Markup(script)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def policy(style: str, script: str) -> str:
    """Content-Security-Policy: this one style, this one script, pictures inside the page, and no network."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _header(metrics: Mapping[str, Any], title: str) -> Markup:
    market = metrics["market"]
    note = None
    if market["synthetic"]:
        made_up = f"{market_heading(market)}. Its prices are made up; nobody could have traded them."
        note = paragraph(made_up, class_="synthetic")
    span = f"{market['name']}, {market['hours']:,} hours, {tables.clock(market['first'])} to "
    span += f"{tables.clock(market['last'])} UTC"
    return element("header", note, element("h1", title), paragraph(span))


def _menu() -> Markup:
    links = (element("li", element("a", title, href=f"#{name}")) for name, title in SECTIONS)
    return element("nav", element("ul", *links), class_="menu", aria_label="Sections")


def _sections(contents: Contents) -> Sequence[Markup]:
    metrics, found = contents.metrics, contents.evidence
    titles = dict(SECTIONS)
    made = {
        "figures": (figures(contents.figures),),
        "tests": (paragraph(TESTS), evidence.overview(found), evidence.details(found), evidence.thresholds(found)),
        "strategies": (tables.strategies(metrics),),
        "terms": (tables.terms(metrics),),
        "trades": [tables.trades(contents.trades[row["key"]], row["label"]) for row in metrics["strategies"]],
        "decisions": (_decisions(contents),),
        "provenance": (_provenance(contents),),
    }
    return [evidence.verdict(found, metrics), *(section(name, titles[name], *parts) for name, parts in made.items())]


def _decisions(contents: Contents) -> Markup:
    latency = tables.terms_of(contents.metrics)["latency"]
    results = decisions.outcomes(contents.curves, "trained", latency)
    late = "at the close of its own hour" if not latency else f"{plural(latency, 'hour')} after its own close"
    return join(
        paragraph(
            f"Each decision is filled {late} and held to the next close. Price is that of the fill; market and earned "
            "are what the price and the account did from there to the next close, costs deducted."
        ),
        decisions.decision_list(contents.decisions, contents.words, results),
    )


def _provenance(contents: Contents) -> Markup:
    made = [_made_of("This page", contents.provenance)]
    made += [_made_of(name, result) for name, result in contents.results.items()]
    return join(paragraph("SHA-256 of the files, parameters and versions that each result was made with."), *made)


def _made_of(name: str, result: Mapping[str, Any]) -> Markup:
    kinds = (("inputs", "SHA-256 of its inputs"), ("parameters", "Parameters"), ("versions", "Versions"))
    shown = (values(caption, flat(result[kind])) for kind, caption in kinds if result.get(kind))
    return folded(name, *shown, open=name == "This page")
