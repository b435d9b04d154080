"""Spiky losses and slow iterations, from slime's metrics: Megatron's own options for them it parses and ignores."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from grpo.stability import SpikeDetector, WatchError
from slime_engine.checkpoints import ASIDE


@dataclass(frozen=True)
class Limits:
    """When something stands out, and how much of it stops the training.

    Attributes
    ----------
    spike_threshold, spike_floor
        As in `grpo.stability.SpikeDetector`.
    spike_action
        log, or stop at the first spike.
    spike_limit
        Spikes in a row that stop.
    straggler_ratio
        An iteration's seconds over the median of those before it, from which it is slow.
    window
        So many iterations make the median.
    straggler_limit
        Slow iterations in a row that stop; 0: never.
    """

    spike_threshold: float
    spike_floor: float
    spike_action: str
    spike_limit: int
    straggler_ratio: float
    window: int
    straggler_limit: int


class SpikeError(WatchError):
    """Spikes stop the training.

    Attributes
    ----------
    good
        Iteration of the newest checkpoint from before them; None if there is none.
    """

    def __init__(self, message: str, good: int | None) -> None:
        super().__init__(message)
        self.good = good


@dataclass
class Watch:
    """Looks at one iteration after another.

    Attributes
    ----------
    last
        Last finite loss of a resumed run.
    compared
        What the loss just seen was compared with.
    spikes
        In a row, up to the loss just seen; those of a resumed run first.
    """

    limits: Limits
    last: float | None = None
    compared: float | None = None
    spikes: int = 0
    slow: int = 0
    seconds: deque[float] = field(default_factory=deque)

    def __post_init__(self) -> None:
        """A detector that knows the last accepted loss."""
        self.detector = SpikeDetector(self.limits.spike_threshold, self.limits.spike_floor, self.last)

    def see(self, loss: float | None, seconds: float | None) -> tuple[bool | None, float | None]:
        """Whether the loss is a spike, and the seconds over the median of the iterations before (1 at first).

        Of what slime did not report (None) it is not known (None), and a row of spikes or slow iterations ends there.
        A spike's loss counts as accepted, as it does for the other engine with ``log``: its steps are taken.
        """
        self.compared = self.detector.last
        spike = None if loss is None else self.detector.is_spike(loss)
        self.spikes = self.spikes + 1 if spike else 0
        if loss is not None:
            self.detector.accept(loss)
        median = statistics.median(self.seconds) if self.seconds else seconds
        ratio = None if seconds is None or not median else seconds / median
        # The first iteration warms everything up: a median of one says nothing.
        slow = len(self.seconds) > 1 and ratio is not None and ratio > self.limits.straggler_ratio
        self.slow = self.slow + 1 if slow else 0
        if seconds is not None:
            self.seconds.append(seconds)
        while len(self.seconds) > self.limits.window:
            self.seconds.popleft()
        return spike, ratio

    def messages(self, iteration: int, loss: float | None, ratio: float | None) -> list[str]:
        """What to say of the iteration just seen."""
        lines = []
        if self.spikes:
            lines.append(f"iteration {iteration}: spiky loss {loss:.4f}, last accepted {self._last()}; logged only")
        if self.slow:
            lines.append(f"iteration {iteration}: straggler, {ratio:.2f} x the median time of those before it")
        return lines

    def good(self, iteration: int, saved: Sequence[int]) -> int | None:
        """The newest of the saved iterations from before the spikes in a row, up to this iteration, began."""
        return max((one for one in saved if one <= iteration - self.spikes), default=None)

    def check(self, iteration: int, loss: float | None, folder: str, saved: Sequence[int]) -> None:
        """WatchError the training if there were too many in a row.

        Parameters
        ----------
        saved
            Iterations of the checkpoints in the folder.

        Raises
        ------
        WatchError
            Says what stood out, and where a training that is started again goes on; a `SpikeError` if it was spikes.
        """
        limits = self.limits
        if self.spikes and (limits.spike_action == "stop" or self.spikes >= limits.spike_limit):
            row = f", {self.spikes} in a row" if self.spikes > 1 else ""
            good = self.good(iteration, saved)
            raise SpikeError(
                f"train: iteration {iteration}: spiky loss {loss:.4f}, last accepted {self._last()}{row}; "
                f"{_goes_on(folder, good, saved)}. If the loss is only noisy, raise train.spike_floor; a lower "
                "train.learning_rate or larger batches begin a new training.",
                good,
            )
        if limits.straggler_limit and self.slow >= limits.straggler_limit:
            raise WatchError(
                f"train: iteration {iteration}: {self.slow} iterations in a row took more than "
                f"{limits.straggler_ratio} times the median of those before; "
                f"{_goes_on(folder, max(saved, default=None), saved)}. "
                "Look at the nodes, or raise train.straggler_ratio."
            )

    def _last(self) -> str:
        return f"{self.compared:.4f}" if self.compared is not None else "none"


def _goes_on(folder: str, good: int | None, saved: Sequence[int]) -> str:
    """Where a training that is started again goes on."""
    later = f"; later ones lie in {folder}/{ASIDE} until then" if max(saved, default=0) > (good or 0) else ""
    if good is None:
        return f"{folder} has no checkpoint from before, it will begin anew{later}"
    return f"the last good checkpoint is that of iteration {good} in {folder}, it will go on from there{later}"
