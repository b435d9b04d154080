"""Settings that are fine alone but not together."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from common.shared_model import undealt
from inference.settings import CACHED, HEAD_SIZES
from slime_engine.layout import Layout
from slime_engine.refusals import refusals
from trading.prompts import LOOK_BACK

Settings = dict[str, Any]

# As many hours the tests of evaluate need (trading.evidence.case.LEAST_BARS).
LEAST_TEST = 30
# Names below infer/ that are no variants'.
_TAKEN = ("trained", "base", "journal", "probe-journal", "variants-journal", "probe.json")


def contradictions(settings: Settings) -> list[str]:
    """One line for each."""
    parts = (_run, _sources, _splits, _training, _inference, _hours, _rules, _variants)
    return [line for part in parts for line in part(settings)]


def _run(settings: Settings) -> list[str]:
    """A run that would lie in the folder of all runs' trials."""
    other = "another name, because results/ledger counts the trials of all runs"
    return [problem("run", "ledger", other)] if settings["run"] == "ledger" else []


def _sources(settings: Settings) -> list[str]:
    """What the chosen sources need."""
    needed = {
        "csv": ["market.csv.path"],
        "download": ["market.download.url", "market.download.sha256"],
        "folder": ["base_model.folder"],
        "hub": ["base_model.hub.name", "base_model.hub.commit"],
    }
    problems = []
    for section in ("market", "base_model"):
        source = settings[section]["source"]
        for key in needed.get(source, []):
            value = settings
            for part in key.split("."):
                value = value[part]
            if value is None:
                problems.append(f"{key}: given null; needed, because {section}.source is {source}.")
    return problems


def _splits(settings: Settings) -> list[str]:
    """Parts of the tiny model that do not divide; other models are read later."""
    tiny, problems = settings["base_model"]["tiny"], []
    if settings["base_model"]["source"] != "tiny":
        return []
    if tiny["heads"] % tiny["query_groups"]:
        divisor = f"a divisor of heads ({tiny['heads']})"
        problems.append(problem("base_model.tiny.query_groups", tiny["query_groups"], divisor))
    if settings["device"] == "cuda" and tiny["head_dim"] not in HEAD_SIZES:
        sizes = f"{listed([str(size) for size in HEAD_SIZES])} with device: cuda, for SGLang's kernels there "
        sizes += f"(--config base_model='{{tiny: {{head_dim: {HEAD_SIZES[0]}}}}}' sets it)"
        problems.append(problem("base_model.tiny.head_dim", tiny["head_dim"], sizes))
    parts = {name: tiny[name] for name in ("heads", "query_groups", "ffn")}
    train, servers = settings["train"], {"infer.tensor": settings["infer"]["tensor"]}
    for name, number in parts.items():
        if number % train["tensor"]:
            problems.append(problem("train.tensor", train["tensor"], f"a divisor of base_model.tiny.{name} ({number})"))
    if train["engine"] == "slime":
        servers["train.slime.engine_gpus"] = train["slime"]["engine_gpus"]
    for key, processes in servers.items():
        for name, number, allowed in undealt(processes, **parts):
            problems.append(problem(key, processes, f"{allowed} of base_model.tiny.{name} ({number})"))
    return problems


def _training(settings: Settings) -> list[str]:
    """Batches that do not divide, a schedule that ends too early, what slime cannot do."""
    train, problems = settings["train"], []
    if 0 < train["decay_iterations"] <= train["warm_up_iterations"]:
        least = f"0, or more than warm_up_iterations ({train['warm_up_iterations']})"
        problems.append(problem("train.decay_iterations", train["decay_iterations"], least))
    elif 0 < train["decay_iterations"] < train["iterations"]:
        least = f"0, or iterations ({train['iterations']}) or more: behind it the learning rate is 0"
        problems.append(problem("train.decay_iterations", train["decay_iterations"], least))
    parts = train["updates_per_iteration"] * train["data"] * (2 if train["balance_directions"] else 1)
    if train["prompts_per_iteration"] % parts:
        multiple = f"a multiple of {parts} (updates_per_iteration x data, x 2 with balance_directions)"
        problems.append(problem("train.prompts_per_iteration", train["prompts_per_iteration"], multiple))
    if train["engine"] == "slime":
        return problems + _slime(settings)
    if settings["device"] == "cpu" and train["optimizer"] != "replicated":
        plain = "replicated with device: cpu; the others are for GPUs"
        problems.append(problem("train.optimizer", train["optimizer"], plain))
    return problems


def _inference(settings: Settings) -> list[str]:
    """A cache on which answers would depend."""
    infer = settings["infer"]
    if settings["device"] == "cpu" or not infer["prefix_cache"] or infer["attention"] in CACHED:
        return []
    kernels = f"false, or true with infer.attention: {' or '.join(CACHED)}; with {infer['attention']} answers would "
    return [problem("infer.prefix_cache", True, f"{kernels}depend on what is in the cache")]


def _slime(settings: Settings) -> list[str]:
    train = settings["train"]
    own = train | {f"slime_{key}": value for key, value in train["slime"].items()} | {"device": settings["device"]}
    layout = Layout.of(argparse.Namespace(**own))
    return [problem(*one) for one in (*refusals(own), *layout.problems(own["slime_engine_gpus"]))]


def _hours(settings: Settings) -> list[str]:
    """Test hours that are too few, or not those that the market was calibrated on."""
    market, test, problems = settings["market"], settings["samples"]["test"], []
    if not isinstance(test, int):
        return []
    hours = market["synthetic"]["calibrate"]["hours"]
    if market["source"] == "synthetic" and hours and hours != test:
        same = f"0 (no calibration), or as many as samples.test ({test})"
        problems.append(problem("market.synthetic.calibrate.hours", hours, same))
    if test < LEAST_TEST:
        problems.append(problem("samples.test", test, f"{LEAST_TEST} or more: fewer hours test nothing"))
    return problems


def _rules(settings: Settings) -> list[str]:
    """A crossover rule whose windows do not cross."""
    evaluate = settings["evaluate"]
    if evaluate["fast"] < evaluate["slow"]:
        return []
    return [problem("evaluate.fast", evaluate["fast"], f"less than slow ({evaluate['slow']})")]


def _variants(settings: Settings) -> list[str]:
    """Variants that are none, or that share a name."""
    train, trained = settings["train"], settings["infer"]["trained"]
    names = [variant.partition("=")[0] for variant in settings["evaluate"]["variants"]]
    names += [variant["name"] for variant in settings["variants"]]
    problems = []
    for name in sorted({name for name in names if names.count(name) > 1 or name in _TAKEN}):
        own = any(variant["name"] == name for variant in settings["variants"])
        place = "variants" if own else "evaluate.variants"
        problems.append(problem(place, name, f"each variant a name of its own, not {listed(list(_TAKEN))}"))
    saved = sorted({*range(train["save_every"], train["iterations"], train["save_every"]), train["iterations"]})
    kept = saved[-train["keep"] : -1]
    for number, variant in enumerate(settings["variants"]):
        place, temperature = f"variants.{number}", variant["temperature"]
        if all(value is None for key, value in variant.items() if key != "name"):
            problems.append(problem(place, variant["name"], "a variant that differs in something"))
        if variant["seed"] is not None and not (trained["temperature"] if temperature is None else temperature):
            problems.append(problem(f"{place}.seed", variant["seed"], "a seed with a temperature above 0 only"))
        style, own = variant["prompt"], settings["samples"]["prompt"]
        if style is not None and LOOK_BACK[style] > LOOK_BACK[own]:
            less = f"one that looks back no further than the {LOOK_BACK[own]} bars of samples.prompt ({own}), by which "
            less += f"the splits lie apart; {style} looks back {LOOK_BACK[style]}"
            problems.append(problem(f"{place}.prompt", style, less))
        if variant["iteration"] is not None and variant["iteration"] not in kept:
            which = f"{listed([str(one) for one in kept])}; train.keep and save_every leave no other beside the last"
            problems.append(problem(f"{place}.iteration", variant["iteration"], which))
    return problems


def problem(key: str, value: Any, what: str) -> str:
    """One line on a setting: its key, what was given, what is allowed."""
    return f"{key}: given {shown(value)}; allowed: {what}."


def shown(value: Any) -> str:
    """A value as a message has room for it."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def listed(names: list[str]) -> str:
    """Names in words."""
    return ", ".join(names) if names else "none"
