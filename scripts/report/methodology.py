"""What the slides say of how a model was trained and evaluated."""

from __future__ import annotations

from report import terms, wording
from report.sources import Fact
from report.statements import BASE, MANIFEST, MARKET, PARITY, TRAINED, Row, Statements
from report.theme import day, dollars, number, percent, times

# Engines of the manifest by the name that people know, the package whose version counts, and what runs on it;
# another one stands as the manifest names it.
ENGINES = {
    "megatron": ("Megatron-core", "megatron-core", ", this project's GRPO loop"),
    "slime": ("slime", "slime", ", on Ray, Megatron-LM and SGLang"),
}
SPIKE_ACTIONS = {
    "skip": "a spiking iteration takes no optimiser step",
    "log": "a spiking iteration is logged",
    "stop": "a spike stops the training",
}
# Whose time is compared.
STRAGGLERS = {"megatron": "slowest rank", "slime": "an iteration's time"}


class Methodology(Statements):
    """Training and evaluation, row by row."""

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
        engine = f"{self.training_engine()}{ENGINES.get(get(MANIFEST, 'engine'), ('', '', ''))[2]}"
        torch = get(MANIFEST, "versions.torch", "")
        device = get(MANIFEST, "device_name", get(MANIFEST, "device"))
        return self.record.fact(f"{engine}{f'; PyTorch {torch}' if torch else ''}; trained on {device}")

    def training_engine(self) -> str:
        """Name and version of what trained."""
        engine = self.record.get(MANIFEST, "engine")
        name, package, _ = ENGINES.get(engine, (engine, engine, ""))
        return f"{name} {self.record.get(MANIFEST, f'versions.{package}', '')}".strip()

    def algorithm(self) -> Fact:
        """Group sizes, steps and rate."""
        iterations = self.record.get(MANIFEST, "iteration")
        prompts, group = self.setting("prompts_per_iteration"), self.setting("group_size")
        updates, rate = self.setting("updates_per_iteration"), self.setting("learning_rate")
        return self.record.fact(
            f"GRPO: {iterations:,} iterations of {prompts} prompts x {group} answers, "
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
        valid, scale, invalid = (self.setting(f"reward_{name}") for name in ("valid", "scale", "invalid"))
        return self.record.fact(
            f"{number(valid)} + {number(scale)} x direction x return of the next hour; "
            f"{number(invalid)} for an invalid answer"
        )

    def stability(self) -> Fact:
        """Spikes and stragglers."""
        threshold, floor = self.setting("spike_threshold"), self.setting("spike_floor")
        what = SPIKE_ACTIONS.get(action := self.setting("spike_action"), action)
        get = self.record.get
        spikes, total = get(MANIFEST, "spikes"), get(MANIFEST, "iteration")
        known = ""
        judged = self.record.files[MANIFEST].get("judged")  # fewer where lines of slime's were lost
        if isinstance(judged, int) and judged < total:
            known = f" (of {get(MANIFEST, 'judged'):,} the loss is known)"
        ratio, slow = self.setting("straggler_ratio"), STRAGGLERS.get(get(MANIFEST, "engine"), "a rank's time")
        return self.record.fact(
            f"Spiky-loss detection (threshold {number(threshold)} of the last accepted loss, which counts as "
            f"{number(floor)} at least; {what}): {spikes:,} of {total:,} iterations spiked{known}; "
            f"straggler detection ({slow} over the median above {number(ratio)})"
        )

    def dataset(self) -> Fact:
        """What it learned from, and how it was packed."""
        tokens = self.setting("tokens_per_micro_batch", "")
        packing = f" (rows of up to {tokens:,} tokens)" if tokens else ""
        return self.record.fact(
            f"Custom RL dataset of this run: {wording.market_label(self.market)}, the hours before the test hours; "
            f"sequence packing enabled{packing}",
            [f"{MARKET}: name", f"{MARKET}: words(synthetic)"],
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
        size = ""
        if self.record.files[MANIFEST].get("shape"):
            names = ("layers", "hidden", "heads", "query_groups", "vocabulary")
            shape = {name: self.record.get(MANIFEST, f"shape.{name}") for name in names}
            size = (
                f": Qwen3 architecture, {shape['layers']} layers, hidden size {shape['hidden']:,}, {shape['heads']} "
                f"attention heads in {shape['query_groups']} groups, vocabulary of {shape['vocabulary']:,}"
            )
        return self.record.fact(f"{name}{size}")

    def checkpoint(self) -> Fact:
        """Which checkpoint, and that its conversion was checked."""
        return self.record.fact(f"{self.record.get(MANIFEST, 'name')}, converted to Hugging Face: {self.agreement()}")

    def engine(self) -> Fact:
        """What answered, where and how."""
        get = self.record.get
        return self.record.fact(
            f"{get(TRAINED, 'engine')} on {self.device()}: the offline engine, no server between; "
            f"{self.decoding(TRAINED)}, up to {get(TRAINED, 'parameters.max_new_tokens'):,} new tokens"
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
        capital, invalid = dollars(get(metrics, "capital")), get(metrics, "parameters.invalid")
        text = f"Initial capital {capital}; {terms.in_full(self.results)}; an invalid answer trades as {invalid}"
        return self.said(text, "leverage", *terms.fields(self.results))

    def samples(self) -> Fact:
        """The test hours and what the market did in them."""
        hours, change, first, last = (
            self.record.get(self.metrics, f"market.{name}") for name in ("hours", "return", "first", "last")
        )
        kind = "a falling" if change < 0 else "a rising"
        made = wording.calibration(self.market)
        return self.record.fact(
            f"{hours:,} hourly samples of {kind} market ({percent(change)}), {day(first)} to {day(last)}."
            f"{' ' if made else ''}{made}",
            [f"{MARKET}: calibration.{n}" for n in ("hours", "leverage", "buy_capital", "sell_capital") if made],
        )

    def stages(self) -> list[tuple[str, Fact]]:
        """The stages that ran, with what ran them."""
        get, fact = self.record.get, self.record.fact
        training, inference = fact(self.training_engine()), fact(get(TRAINED, "engine"))
        conversion = fact(f"Hugging Face, transformers {get(PARITY, 'versions.transformers')}")
        hours, leverage = get(self.metrics, "market.hours"), times(get(self.metrics, "leverage"))
        simulation = fact(f"{hours:,} hours at {leverage}")
        return [
            ("Training", training), ("Conversion", conversion), ("Inference", inference), ("Simulation", simulation),
        ]  # fmt: skip
