"""Samples from bars: prompts with what happened next, split in time with an embargo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.errors import InputError
from trading.bars import Bars, format_times
from trading.prompts import LOOK_BACK, build_prompts

SPLITS = ("train", "validation", "test")
# Bars from the decision to its result.
HORIZON = 1

Sample = dict[str, Any]


@dataclass(frozen=True)
class Split:
    """Sample numbers [start, stop) of each split, in time order, and how many lie unused between two."""

    ranges: dict[str, range]
    embargo: int


def make_samples(
    bars: Bars, style: str, mask: bool, test: int | float, validation: int | float
) -> tuple[dict[str, list[Sample]], Split]:
    """Make the samples of all splits.

    Parameters
    ----------
    bars
        The market.
    style, mask
        As in `trading.prompts.build_prompts`.
    test, validation
        Size of a split: a count (int), or a share of all samples (float below 1). Validation 0 makes none.

    Returns
    -------
    dict
        Samples of train, validation and test, in time order, in the layout that slime reads: `prompt` (chat
        messages), `label` (empty) and `metadata` with everything else, because pandas, through which slime
        reads, leaves nested values alone and converts others.
    Split
        Where the splits lie.

    Raises
    ------
    InputError
        If there are fewer bars than the splits need; says how many there are and would have to be.
    """
    split = split_in_time(len(bars), LOOK_BACK[style], test, validation)
    prompts = build_prompts(bars, style, mask)
    times = format_times(bars.time)
    close = bars.close.tolist()

    def sample(split_name: str, number: int, i: int) -> Sample:
        t = LOOK_BACK[style] + i
        return {
            "prompt": [{"role": "user", "content": prompts[i]}],
            "label": "",
            "metadata": {
                "id": f"{split_name}-{number:06d}",
                "timestamp": times[t],
                "current_price": close[t],
                "next_price": close[t + HORIZON],
                "split": split_name,
            },
        }

    made = {name: [sample(name, n, i) for n, i in enumerate(indices)] for name, indices in split.ranges.items()}
    return made, split


def split_in_time(bars: int, look_back: int, test: int | float, validation: int | float) -> Split:
    """Cut the samples of a market: train first, test last, an embargo before validation and before test.

    The embargo is look-back plus horizon, so that no bar that a prompt shows, or a result comes from, belongs
    to two splits.

    Parameters
    ----------
    bars
        Bars in the market. A bar makes a sample if `look_back` bars lie before it and `HORIZON` behind.
    look_back
        Bars before the decision bar that a prompt depends on.
    test, validation
        As in `make_samples`.
    """
    samples = max(0, bars - look_back - HORIZON)
    embargo = look_back + HORIZON
    tests, validations = _count(test, samples), _count(validation, samples)
    if tests < 1:
        raise InputError(f"samples.test: {test} of {samples} samples is none. Raise it.")
    embargoes = embargo * (2 if validations else 1)
    train = samples - tests - validations - embargoes
    if train < 1:
        raise InputError(
            f"too few bars: {bars} bars make {samples} samples (the first {look_back} bars only look back), "
            f"but test {tests}, validation {validations}, embargo {embargoes} and at least 1 for training "
            f"are {tests + validations + embargoes + 1}. Give at least {1 - train} more bars, or lower "
            "samples.test or samples.validation."
        )
    first_test = samples - tests
    first_validation = train + embargo if validations else train
    return Split(
        {
            "train": range(0, train),
            "validation": range(first_validation, first_validation + validations),
            "test": range(first_test, samples),
        },
        embargo,
    )


def summary(samples: dict[str, list[Sample]], split: Split) -> str:
    """One line: how many samples, when, what lies between."""
    parts = []
    for name in SPLITS:
        times = [sample["metadata"]["timestamp"] for sample in samples[name]]
        parts.append(f"{name} {len(times)} ({times[0]} to {times[-1]})" if times else f"{name} 0")
    return f"samples: {', '.join(parts)}; embargo {split.embargo} bars between two splits"


def _count(size: int | float, samples: int) -> int:
    return round(size * samples) if isinstance(size, float) else size
