"""Asked to stop: by a signal, to any rank, for all of them."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from grpo.parallel import Ranks

# Slurm sends SIGTERM twice within milliseconds when it preempts a job, and a launcher passes on what its
# processes got already: within so many seconds a signal is the same one.
ECHO_S = 5.0


class Stop:
    """Remembers that a signal asked this rank to stop; a second one ends it at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.time = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT for as long as the block runs."""
        previous = {number: signal.signal(number, self._heard) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def asked(self, ranks: Ranks) -> bool:
        """Whether any rank was asked to stop; all ranks agree, and all call it."""
        if ranks.tensor * ranks.data == 1:
            return self.signal is not None
        flag = torch.tensor(float(self.signal is not None), device=ranks.device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag)

    def _heard(self, number: int, _frame: Any) -> None:
        if self.signal is not None:
            if time.monotonic() - self.time > ECHO_S:  # the second one means it
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            return
        self.signal, self.time = number, time.monotonic()
        print("stopping after this iteration, with a checkpoint", file=sys.stderr, flush=True)
