"""A process group of one, for all tests of a process: torch knows only one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from grpo.parallel import Ranks


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    import torch

    from grpo import parallel

    torch.set_num_threads(1)
    yield parallel.start("cpu")
    parallel.stop()
