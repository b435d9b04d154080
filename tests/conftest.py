"""What all tests share: GPUs only for those that ask, Ctrl-C that means the same, names that stay the same."""

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


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: gzip's hold the time, and all of a run's workers must give a test one name."""
    return argname if isinstance(val, bytes) else None
