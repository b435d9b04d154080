"""What each slide says: rows, sentences and their sources, from a run's files. Nothing here knows of PowerPoint."""

from __future__ import annotations

from dataclasses import dataclass

from report import wording
from report.sources import Fact, Record
from report.theme import day, dollars, number, percent, power, share, times

MARKET, MANIFEST, PARITY = "market/summary.json", "train/checkpoint.json", "model/parity.json"
TRAINED, BASE = "infer/trained/summary.json", "infer/base/summary.json"
ALL_RETURNS = "strategies.*.final_capital, strategies.*.total_return"

SPIKE_ACTIONS = {
    "skip": "a spiking iteration takes no optimiser step",
    "log": "a spiking iteration is logged",
    "stop": "a spike stops the training",
}


@dataclass(frozen=True)
class Row:
    """A row of a two-column table."""

    label: str
    fact: Fact


class Content:
    """The statements of a deck.

    Parameters
    ----------
    record
        The run's files under their names in the results folder.
    metrics
        Name of metrics.json among them.
    """

    def __init__(self, record: Record, metrics: str) -> None:
        self.record = record
        self.metrics = metrics
        self.market = record.files[MARKET]
        self.results = record.files[metrics]
        self.model: str = record.get(TRAINED, "model")
        self.leverage = times(record.get(metrics, "leverage"))
        record.fact("")  # what a sentence reads itself is its source, not what was read to begin with

    def said(self, text: str, *fields: str) -> Fact:
        """A sentence of ``wording``, with the fields of metrics.json that it follows from."""
        return self.record.fact(text, [f"{self.metrics}: {field}" for field in fields])

    def nature(self) -> Fact:
        """What kind of market this is."""
        fields = ("synthetic", "name", "source", *(f"parameters.{key}" for key in wording.SIGNAL.values()))
        kept = [field for field in fields if self.market["synthetic"] or not field.startswith("parameters")]
        return Fact(wording.market_nature(self.market), tuple(f"{MARKET}: {field}" for field in kept))

    # Title ---------------------------------------------------------------------------------------------------

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
            [f"{MARKET}: name, synthetic"],
        )

    def device(self) -> str:
        """Where inference ran."""
        return {"cpu": "a CPU", "cuda": "a GPU"}.get(device := self.record.get(TRAINED, "device"), device)

    # Methodology ---------------------------------------------------------------------------------------------

    def training(self) -> list[Row]:
        """How the model was trained."""
        return [
            Row("Framework", self.framework()),
            Row("Algorithm", self.algorithm()),
            Row("Loss", self.loss()),
            Row("Reward", self.reward()),
            Row("Stability mechanisms", self.stability()),
            Row("Dataset", self.dataset()),
        ]

    def setting(self, name: str, default: object = None) -> object:
        """A setting of the training."""
        if default is None:
            return self.record.get(MANIFEST, f"parameters.{name}")
        return self.record.get(MANIFEST, f"parameters.{name}", default)

    def framework(self) -> Fact:
        """Engine and versions."""
        get = self.record.get
        if get(MANIFEST, "engine") == "slime":
            engine = f"Megatron-LM + Slime (RL) {get(MANIFEST, 'versions.slime', '')}".strip()
        else:
            engine = f"Megatron-core {get(MANIFEST, 'versions.megatron-core')}, this project's GRPO loop"
        torch = get(MANIFEST, "versions.torch", "")
        device = get(MANIFEST, "device_name", get(MANIFEST, "device"))
        return self.record.fact(f"{engine}{f'; PyTorch {torch}' if torch else ''}; trained on {device}")

    def algorithm(self) -> Fact:
        """Group sizes, steps and rate."""
        prompts, group = self.setting("prompts_per_iteration"), self.setting("group_size")
        updates, rate = self.setting("updates_per_iteration"), self.setting("learning_rate")
        return self.record.fact(
            f"GRPO: {self.record.get(MANIFEST, 'iteration'):,} iterations of {prompts} prompts x {group} answers, "
            f"{updates} optimiser steps each, learning rate {number(rate)}"
        )

    def loss(self) -> Fact:
        """Terms of the loss."""
        low, high, beta = self.setting("clip_low"), self.setting("clip_high"), self.setting("kl_beta")
        entropy = self.setting("entropy")
        bonus = f"entropy bonus ({number(entropy)})" if entropy else "no entropy bonus (0)"
        return self.record.fact(
            f"Clipped surrogate policy loss (clipped {number(low)} below and {number(high)} above 1), "
            f"KL penalty to the reference model (beta = {number(beta)}), {bonus}"
        )

    def reward(self) -> Fact:
        """The reward of an answer."""
        scale, valid, invalid = (self.setting(f"reward_{name}") for name in ("scale", "valid", "invalid"))
        return self.record.fact(
            f"{number(valid)} + {number(scale)} x direction x return of the next hour; "
            f"{number(invalid)} for an invalid answer"
        )

    def stability(self) -> Fact:
        """Spikes and stragglers."""
        threshold, action = self.setting("spike_threshold"), self.setting("spike_action")
        ratio = self.setting("straggler_ratio")
        spikes, total = self.record.get(MANIFEST, "spikes"), self.record.get(MANIFEST, "iteration")
        return self.record.fact(
            f"Spiky-loss detection (threshold {number(threshold)}; {SPIKE_ACTIONS[action]}): {spikes:,} of {total:,} "
            f"iterations spiked; straggler detection (slowest rank over the median above {number(ratio)})"
        )

    def dataset(self) -> Fact:
        """What it learned from, and how it was packed."""
        tokens = self.setting("tokens_per_micro_batch", "")
        packing = f" (rows of up to {tokens:,} tokens)" if tokens else ""
        return self.record.fact(
            f"Custom RL dataset of this run: {wording.market_label(self.market)}, the hours before the test hours; "
            f"sequence packing enabled{packing}",
            [f"{MARKET}: name, synthetic"],
        )

    def evaluation(self) -> list[Row]:
        """How the model was evaluated."""
        return [
            Row("Model", self.architecture()),
            Row("Checkpoint", self.checkpoint()),
            Row("Inference engine", self.engine()),
            Row("Comparison", self.comparison()),
            Row("Simulation", self.simulation()),
            Row("Test samples", self.samples()),
            Row("Market", self.nature()),
        ]

    def architecture(self) -> Fact:
        """The model's name and size."""
        name = self.record.get(TRAINED, "model")
        shape = self.record.get(MANIFEST, "shape", {})
        size = ""
        if shape:
            size = (
                f": Qwen3 architecture, {shape['layers']} layers, hidden size {shape['hidden']:,}, {shape['heads']} "
                f"attention heads in {shape['query_groups']} groups, vocabulary of {shape['vocabulary']:,}"
            )
        return self.record.fact(f"{name}{size}")

    def checkpoint(self) -> Fact:
        """Which checkpoint, and that its conversion was checked."""
        return self.record.fact(f"{self.record.get(MANIFEST, 'name')}, converted to Hugging Face: {self.agreement()}")

    def agreement(self) -> str:
        """How well both implementations agree on the converted weights."""
        difference, tokens = (self.record.get(PARITY, f"logits.{n}") for n in ("relative_difference", "tokens"))
        how = f"differ by {power(difference)} of the largest at most" if difference else "are equal"
        return f"the logits of transformers and Megatron {how}, on {tokens:,} tokens"

    def engine(self) -> Fact:
        """What answered, where and how."""
        get = self.record.get
        limit = get(TRAINED, "parameters.max_new_tokens")
        return self.record.fact(
            f"{get(TRAINED, 'engine')} on {self.device()}: the offline engine, no server between; "
            f"{self.decoding(TRAINED)}, up to {limit:,} new tokens"
        )

    def decoding(self, file: str) -> str:
        """How answers were drawn."""
        temperature = self.record.get(file, "parameters.temperature")
        if temperature == 0:
            return "greedy (temperature 0)"
        seed = self.record.get(file, "parameters.seed", "none")
        return f"sampled at temperature {number(temperature)}, seed {seed}"

    def comparison(self) -> Fact:
        """The base model on the same samples."""
        name = self.record.get(BASE, "model")
        return self.record.fact(f"{name} before training, on the same samples, {self.decoding(BASE)}")

    def simulation(self) -> Fact:
        """The terms of trade."""
        get, metrics = self.record.get, self.metrics
        return self.record.fact(
            f"Initial capital {dollars(get(metrics, 'capital'))}, leverage {times(get(metrics, 'leverage'))} restored "
            "every hour, latency zero (idealised execution), no trading costs; an invalid answer trades as "
            f"{get(metrics, 'parameters.invalid')}"
        )

    def samples(self) -> Fact:
        """The test hours and what the market did in them."""
        hours, first, last, change = (
            self.record.get(self.metrics, f"market.{name}") for name in ("hours", "first", "last", "return")
        )
        kind = "a falling" if change < 0 else "a rising"
        made = wording.calibration(self.market)
        return self.record.fact(
            f"{hours:,} hourly samples of {kind} market ({percent(change)}), {day(first)} to {day(last)}."
            f"{' ' if made else ''}{made}",
            [f"{MARKET}: calibration"] if made else [],
        )

    # Results -------------------------------------------------------------------------------------------------

    def table(self) -> list[tuple[str, list[Fact]]]:
        """A strategy's key and its cells, best first."""
        rows = []
        samples = self.results["market"]["hours"]
        for row in self.results["strategies"]:
            at = f"strategies.{row['key']}"
            traits = (f"{at}.{name}" for name in ("share_long", "share_short", "trades", "hit_rate"))
            model = row["key"] in ("trained", "base")
            invalid = wording.invalid_count(row, samples, detailed=False) if model else "n/a"
            cells = [
                self.said(row["label"], f"{at}.label"),
                self.said(percent(row["total_return"]), f"{at}.total_return"),
                self.said(dollars(row["final_capital"]), f"{at}.final_capital"),
                self.said(percent(row["max_drawdown"], 1), f"{at}.max_drawdown"),
                self.said(invalid, *([f"{at}.truncated", f"{at}.unparsable", "market.hours"] if model else [])),
                self.said(wording.characteristic(row, self.results), *traits, "market.return"),
            ]
            rows.append((row["key"], cells))
        return rows

    def insight(self) -> list[Fact]:
        """What the model returned, against what."""
        return [
            self.headline(),
            self.against_constants(),
            self.said(wording.against_base(self.results), "strategies.base.total_return"),
        ]

    def headline(self) -> Fact:
        """The model's return beside the market's."""
        return self.said(wording.headline(self.results), "strategies.trained.total_return", "market.return")

    def against_constants(self) -> Fact:
        """Which constant positions beat the model."""
        return self.said(wording.against_constants(self.results), ALL_RETURNS)

    def caution(self) -> list[Fact]:
        """What to keep in mind beside the result."""
        hours = self.results["market"]["hours"]
        invalid = wording.invalid_answers(self.results, hours)
        fields = ("strategies.*.truncated", "strategies.*.unparsable", "market.hours", "parameters.invalid")
        return [self.said(wording.untested()), self.nature(), self.said(invalid, *fields)]

    # Conclusion ----------------------------------------------------------------------------------------------

    def stages(self) -> list[tuple[str, Fact]]:
        """The stages that ran, with what ran them."""
        get, fact = self.record.get, self.record.fact
        engine = "Slime" if get(MANIFEST, "engine") == "slime" else "Megatron-core"
        version = get(MANIFEST, "versions.megatron-core", "")
        training = fact(f"{engine} {version}".strip())
        conversion = fact(f"Hugging Face, transformers {get(PARITY, 'versions.transformers')}")
        inference = fact(get(TRAINED, "engine"))
        hours = fact(f"{get(self.metrics, 'market.hours'):,} hours at {times(get(self.metrics, 'leverage'))}")
        return [
            ("Training", training), ("Conversion", conversion), ("Inference", inference), ("Simulation", hours),
        ]  # fmt: skip

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
            "strategies.trained.share_long", "strategies.trained.share_short", "strategies.trained.share_flat",
        )  # fmt: skip
        return [ran, parity, self.headline(), self.against_constants(), sides]

    def not_shown(self) -> list[Fact]:
        """What the run does not show."""
        return [self.said(wording.untested()), self.nature(), self.said(wording.next_step())]

    def caption(self) -> Fact:
        """The line below the equity curve."""
        row = wording.strategy(self.results, "trained")
        return self.said(
            f"{wording.headline(self.results)} Deepest drawdown of the model: {share(-row['max_drawdown'])}.",
            "strategies.trained.total_return", "strategies.trained.max_drawdown", "market.return",
        )  # fmt: skip
