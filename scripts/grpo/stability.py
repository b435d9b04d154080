"""Spiky-loss and straggler detection."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from common.errors import InputError


class WatchError(InputError):
    """What was watched for stops the training."""


class SpikeDetector:
    """Flags an iteration whose loss jumps over the last accepted one.

    Megatron's former rule (``SPIKY_LOSS_PERC = 0.2``) flags a loss that is 20% over the last one. A
    GRPO loss sits near zero and may be negative, where a share of the last loss means nothing; so
    the jump is divided by ``max(|last|, floor)``. A loss that is not finite is always a spike.

    Parameters
    ----------
    threshold
        Jump, as a share of the last accepted loss, from which an iteration is a spike.
    floor
        Least denominator.
    last
        Last accepted loss, of a resumed run.
    """

    def __init__(self, threshold: float = 0.2, floor: float = 0.5, last: float | None = None) -> None:
        self.threshold, self.floor, self.last = threshold, floor, last

    def is_spike(self, loss: float) -> bool:
        """Whether this loss is a spike."""
        if not math.isfinite(loss):
            return True
        return self.last is not None and (loss - self.last) / max(abs(self.last), self.floor) >= self.threshold

    def accept(self, loss: float) -> None:
        """Compare later losses with this one: its optimiser steps are taken."""
        if math.isfinite(loss):
            self.last = loss


def slowest_over_median(seconds: Sequence[float]) -> float:
    """How much longer the slowest rank took than the median one; 1 if all took the same time.

    The lower median: of two ranks the faster one, or the ratio could never reach 2.
    """
    return max(seconds) / statistics.median_low(seconds)
