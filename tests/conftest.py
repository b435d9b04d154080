"""What all tests share."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together, in one of pytest-xdist's processes, the tests that share what takes long to make."""
    for item in items:
        shared = "the minimal run" if "minimal" in item.fixturenames else item.path.stem
        item.add_marker(pytest.mark.xdist_group(shared))
