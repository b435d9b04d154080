"""What all tests share: only those that ask for a GPU see one, else a machine with one would test other code."""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs, once and before torch looks for them, unless it is called with ``-m gpu``."""
    if config.option.markexpr.split()[:1] != ["gpu"]:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
