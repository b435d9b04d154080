"""What the slides' statements are made with: a run's files, and facts that name their fields."""

from __future__ import annotations

from dataclasses import dataclass

from report import tested, wording
from report.sources import Fact, Record
from report.theme import times

MARKET, MANIFEST, PARITY = "market/summary.json", "train/checkpoint.json", "model/parity.json"
TRAINED, BASE = "infer/trained/summary.json", "infer/base/summary.json"


@dataclass(frozen=True)
class Row:
    """A row of a two-column table."""

    label: str
    fact: Fact


class Statements:
    """Statements about a run.

    Parameters
    ----------
    record
        The run's files under their names in the results folder.
    metrics, evidence
        Names of metrics.json and evidence.json among them.
    """

    def __init__(self, record: Record, metrics: str, evidence: str) -> None:
        self.record = record
        self.metrics, self.tests_file = metrics, evidence
        self.market = record.files[MARKET]
        self.results = record.files[metrics]
        self.evidence = record.files[evidence]
        self.model: str = record.get(TRAINED, "model")
        self.leverage = times(record.get(metrics, "leverage"))
        record.fact("")  # what a sentence reads itself is its source, not what was read to begin with

    def said(self, text: str, *fields: str) -> Fact:
        """A sentence with the fields of metrics.json that it follows from."""
        return self.record.fact(text, [f"{self.metrics}: {field}" for field in fields])

    def found(self, text: str, *fields: str) -> Fact:
        """A sentence with the fields of evidence.json that it follows from."""
        return self.record.fact(text, [f"{self.tests_file}: {field}" for field in fields])

    def verdict(self, *keys: str) -> list[Fact]:
        """The verdict's sentences of these keys, as far as there are any."""
        texts = ((key, tested.sentence(self.evidence, key)) for key in keys)
        return [self.found(text, *tested.sources(self.evidence, key)) for key, text in texts if text]

    def heading(self, title: str) -> Fact:
        """A slide's title, with the leverage where it names that."""
        return self.said(title, *(["leverage"] if self.leverage in title else []))

    def footer(self) -> Fact:
        """The line at the foot of every slide."""
        text = f"{self.model}  |  {wording.market_label(self.market)}  |  {self.leverage} leverage"
        return self.said(text, "leverage").also(f"{TRAINED}: model", f"{MARKET}: name", f"{MARKET}: words(synthetic)")

    def nature(self) -> Fact:
        """What kind of market this is."""
        signal: list[str] = []
        if self.market["synthetic"]:
            planted = wording.signal(self.market)
            names = [f"parameters.{wording.SIGNAL[name]}" for name in planted or wording.SIGNAL]
            signal = names if planted else [" + ".join(names)]  # one 0 stands for them all
        fields = ("words(synthetic)", "name", "source", *signal)
        return Fact(wording.market_nature(self.market), tuple(f"{MARKET}: {field}" for field in fields))

    def device(self) -> str:
        """Where inference ran."""
        return {"cpu": "a CPU", "cuda": "a GPU"}.get(device := self.record.get(TRAINED, "device"), device)

    def agreement(self) -> str:
        """How well both implementations agree on the converted weights."""
        difference, tokens = (self.record.get(PARITY, f"logits.{n}") for n in ("relative_difference", "tokens"))
        return wording.agreement(difference, tokens, self.record.get(PARITY, "logits.layers", ()))
