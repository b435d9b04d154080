"""What all tests share: only those that ask for a GPU see one, and Ctrl-C means the same wherever they run."""

from __future__ import annotations

import os
import signal

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs, once and before torch looks for them, unless it is called with ``-m gpu``: that tests other code."""
    if config.option.markexpr.split()[:1] != ["gpu"]:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # A shell has its background jobs ignore Ctrl-C, and what they start with them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
