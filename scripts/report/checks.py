"""Which fields of a run's files the figures and slides need, and the refusal of a file without them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import read_json
from trading.evidence.case import CONSTANTS
from trading.evidence.verdict import KINDS, WORDS

Kinds = Mapping[str, type | tuple[type, ...]]

NUMBER = (int, float)
MAYBE = (int, float, type(None))  # a number, or null where it is not defined
SPAN = (list, type(None))
STRATEGIES = ("trained", "base", *CONSTANTS)
TESTS = (
    "exposure_matched_null", "regression", "timing", "bootstrap", "sharpe", "reality_check", "base", "baselines",
    "sensitivity",
)  # fmt: skip
ADJUSTED = ("exposure_matched_null", "regression", "timing", "bootstrap", "baselines")
# How each of the four words may stand in a sentence.
STEMS = {"alpha": r"\balphas?\b", "edge": r"\bedges?\b", "skill": r"\bskill", "outperform": r"outperform"}

METRICS: Kinds = {
    "leverage": NUMBER,
    "capital": NUMBER,
    "market.name": str,
    "market.synthetic": bool,
    "market.return": NUMBER,
    "market.first": str,
    "market.last": str,
    "market.hours": int,
    "strategies": list,
    "parameters.invalid": str,
    "inputs": dict,
}
TERMS: Kinds = {
    **dict.fromkeys(("fee_bps", "slippage_bps", "funding_long_bps", "funding_short_bps", "maintenance_margin"), NUMBER),
    **dict.fromkeys(("sizing", "hold"), str),
    "latency": int,
}
STRATEGY: Kinds = {
    "key": str,
    "label": str,
    **dict.fromkeys(("final_capital", "total_return", "max_drawdown"), NUMBER),
    **dict.fromkeys(("share_long", "share_short", "share_flat"), NUMBER),
    **dict.fromkeys(("trades", "finished", "truncated", "unparsable"), int),
    "hit_rate": MAYBE,
}

_NULL, _BOOTSTRAP, _SHARPE = "tests.exposure_matched_null", "tests.bootstrap", "tests.sharpe"
_SENSITIVITY = "tests.sensitivity"
EVIDENCE: Kinds = {
    "leverage": NUMBER,
    "strategy.label": str,
    "strategy.constant": (str, type(None)),
    "verdict.kind": str,
    **dict.fromkeys((f"verdict.words.{word}" for word in ("alpha", "edge", "skill", "outperform")), bool),
    "verdict.p_value_adjusted": NUMBER,
    "verdict.sentences": dict,
    **dict.fromkeys((f"thresholds.{name}.value" for name in ("level", "deflated_sharpe", "break_even_bps")), NUMBER),
    **dict.fromkeys((f"{_NULL}.{name}" for name in ("statistic", "p_value", "p_value_worse", "percentile")), NUMBER),
    f"{_NULL}.percentile_shifts": NUMBER,
    **dict.fromkeys((f"tests.{name}.p_value_adjusted" for name in ADJUSTED), NUMBER),
    **dict.fromkeys((f"tests.{name}.{field}" for name in TESTS for field in ("method", "verdict")), str),
    f"{_NULL}.settings.permutations": int,
    f"{_NULL}.settings.shifts": int,
    **dict.fromkeys((f"{_NULL}.histogram.{name}" for name in ("edges", "permutations", "shifts")), list),
    **{f"tests.{name}.statistic": MAYBE for name in ("regression", "timing", "reality_check", "baselines")},
    **{f"tests.{name}.p_value": MAYBE for name in ("regression", "timing", "reality_check", "baselines")},
    **{f"tests.{name}.interval": SPAN for name in ("regression", "timing", "reality_check", "baselines")},
    f"{_BOOTSTRAP}.interval": SPAN,
    f"{_BOOTSTRAP}.settings.paths": int,
    f"{_BOOTSTRAP}.settings.block": int,
    f"{_BOOTSTRAP}.settings.confidence": NUMBER,
    f"{_BOOTSTRAP}.sharpe.statistic": MAYBE,
    f"{_BOOTSTRAP}.sharpe.interval": SPAN,
    f"{_BOOTSTRAP}.max_drawdown.interval": SPAN,
    f"{_BOOTSTRAP}.differences": dict,
    **dict.fromkeys((f"{_BOOTSTRAP}.fan.{name}" for name in ("percentiles", "bars", "value", "observed")), list),
    f"{_SHARPE}.settings.trials.used": int,
    f"{_SHARPE}.deflated": MAYBE,
    "tests.baselines.strategies": list,
    "tests.baselines.random_median": NUMBER,
    f"{_SENSITIVITY}.break_even_bps": MAYBE,
    f"{_SENSITIVITY}.liquidation_leverage": MAYBE,
    f"{_SENSITIVITY}.settings.most_bps": NUMBER,
    f"{_SENSITIVITY}.settings.most_leverage": NUMBER,
    **dict.fromkeys((f"{_SENSITIVITY}.surface.{name}" for name in ("cost_bps", "latency", "total_return")), list),
    f"{_SENSITIVITY}.leverage.values": list,
    **dict.fromkeys((f"{_SENSITIVITY}.leverage.total_return.{key}" for key in STRATEGIES), list),
}
MARKET: Kinds = {"name": str, "synthetic": bool, "source": str, "parameters": dict}
_RATES = (
    *("learning_rate", "clip_low", "clip_high", "kl_beta", "entropy", "spike_threshold", "spike_floor"),
    *("straggler_ratio", "reward_valid", "reward_scale", "reward_invalid"),
)
MANIFEST: Kinds = {
    **dict.fromkeys(("name", "engine", "device", "parameters.spike_action"), str),
    **dict.fromkeys(("iteration", "spikes"), int),
    **dict.fromkeys((f"parameters.{name}" for name in _RATES), NUMBER),
}
ANSWERS: Kinds = {
    **dict.fromkeys(("model", "engine", "device"), str),
    "samples": int,
    "parameters.max_new_tokens": int,
    "parameters.temperature": NUMBER,
}
PARITY: Kinds = {"logits.relative_difference": NUMBER, "logits.tokens": int}


def check_metrics(metrics: Mapping[str, Any], path: Path) -> None:
    """Refuse a metrics.json that lacks what the report shows.

    Raises
    ------
    InputError
        Names the file and the first field that is missing or of another type.
    """
    need(metrics, METRICS, path, "simulate")
    given = metrics.get("terms", {})  # an older one has none
    need({"terms": given}, {"terms": dict}, path, "simulate")
    need(given, {name: kind for name, kind in TERMS.items() if name in given}, path, "simulate", "terms.")
    for number, row in enumerate(metrics["strategies"]):
        need(row if isinstance(row, dict) else {}, STRATEGY, path, "simulate", f"strategies[{number}].")
    keys = [row["key"] for row in metrics["strategies"]]
    for key in STRATEGIES:
        if key not in keys:
            raise InputError(f'{path}: no strategy "{key}". Run simulate again.')


def check_evidence(evidence: Mapping[str, Any], path: Path) -> None:
    """The same for evidence.json."""
    need(evidence, EVIDENCE, path, "evaluate")
    verdict, differences = evidence["verdict"], evidence["tests"]["bootstrap"]["differences"]
    for key, row in differences.items():
        fields = {"label": str, "statistic": NUMBER, "interval": SPAN, "p_value_corrected": NUMBER}
        need(row if isinstance(row, dict) else {}, fields, path, "evaluate", f"tests.bootstrap.differences.{key}.")
    names = [evidence["strategy"]["label"], *(row["label"] for row in differences.values())]
    if verdict["kind"] not in KINDS:
        raise InputError(f'{path}: unknown "verdict.kind" {verdict["kind"]!r}. Run evaluate again.')
    for key, sentence in verdict["sentences"].items():
        if not isinstance(sentence, str):
            raise InputError(f'{path}: "verdict.sentences.{key}" is no text. Run evaluate again.')
        # What the tests do not support is not printed, whoever wrote it there; names are their owners' affair.
        for name in names:
            sentence = sentence.replace(name, "")
        for word in WORDS:
            if not verdict["words"][word] and re.search(STEMS[word], sentence, re.IGNORECASE):
                raise InputError(
                    f'{path}: "verdict.sentences.{key}" says {word}, which its tests do not allow. Run evaluate again.'
                )
    for number, row in enumerate(evidence["tests"]["baselines"]["strategies"]):
        fields = {"key": str, "label": str, "total_return": NUMBER}
        need(row if isinstance(row, dict) else {}, fields, path, "evaluate", f"tests.baselines.strategies[{number}].")


def check_market(market: Mapping[str, Any], path: Path) -> None:
    """The same for market/summary.json."""
    need(market, MARKET, path, "market")


def check_model(manifest: Path, answers: Sequence[Path], parity: Path) -> None:
    """The same for what training, inference and conversion say of the model."""
    need(read_json(manifest), MANIFEST, manifest, "train")
    for path in answers:
        need(read_json(path), ANSWERS, path, "infer")
    need(read_json(parity), PARITY, parity, "export_weights")


def need(value: Mapping[str, Any], fields: Kinds, path: Path, stage: str, place: str = "") -> None:
    """Refuse a file in which a field, its path joined by dots, is missing, of another type or not finite."""
    for field, kind in fields.items():
        found: Any = value
        for part in field.split("."):
            found = found.get(part, missing) if isinstance(found, dict) else missing
        fits = isinstance(found, kind) and (not isinstance(found, float) or math.isfinite(found))
        if not fits or (isinstance(found, bool) and kind is not bool):
            problem = "no" if found is missing else f"{type(found).__name__}, not {named(kind)}, under"
            raise InputError(f'{path}: {problem} "{place}{field}". Run {stage} again.')


def named(kind: type | Sequence[type]) -> str:
    """A type or several in words: int or float."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join("null" if k is type(None) else k.__name__ for k in kinds)


missing = object()
