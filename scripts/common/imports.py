"""Large packages imported while a program reads and writes gigabytes."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from types import ModuleType

# One thread for all of them: two that import modules which need each other can wait for each other.
_IMPORTER = ThreadPoolExecutor(1)


def soon(module: str) -> Future[ModuleType]:
    """Begin to import a module; whoever needs it waits for the result, and imports nothing large until then."""
    return _IMPORTER.submit(import_module, module)
