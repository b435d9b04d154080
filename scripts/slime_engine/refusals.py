"""Settings with values that slime has no counterpart for: one list, for the configuration and for train.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Refusal:
    """Values of a setting that slime has no counterpart for.

    Attributes
    ----------
    setting
        As train.py calls it.
    refused
        Whether the value in these settings is such a one.
    allowed
        What to give instead, and why.
    """

    setting: str
    refused: Callable[[Settings], bool]
    allowed: str


_FIRST = "2 or more, because slime cannot go on from a checkpoint of its first iteration"

REFUSED: tuple[Refusal, ...] = (
    Refusal("device", lambda s: s["device"] != "cuda", "cuda, because slime runs on GPUs only"),
    Refusal(
        "spike_action",
        lambda s: s["spike_action"] == "skip",
        "log or stop, because slime takes its steps before anybody sees the loss",
    ),
    Refusal("precision", lambda s: s["precision"] != "bf16", "bf16, because slime trains in nothing else"),
    Refusal(
        "optimizer",
        lambda s: s["optimizer"] != "distributed",
        "distributed, because slime shares out the optimiser's state",
    ),
    Refusal("iterations", lambda s: s["iterations"] < 2, _FIRST),
    Refusal("save_every", lambda s: s["save_every"] < 2, _FIRST),
    Refusal(
        "iterations",
        lambda s: s["iterations"] > s["save_every"] and s["iterations"] % s["save_every"] != 0,
        "up to save_every, or a multiple of it, because slime saves at its multiples only",
    ),
)


def refusals(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    """What slime cannot do of these settings: the configuration's key, its value, what is allowed.

    Parameters
    ----------
    settings
        Those of train.py, by its names.
    """
    for refusal in REFUSED:
        if refusal.refused(settings):
            key = refusal.setting if refusal.setting == "device" else f"train.{refusal.setting}"
            yield key, settings[refusal.setting], refusal.allowed
