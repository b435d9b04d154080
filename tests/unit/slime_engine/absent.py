"""Packages that only run on GPU nodes, and that slime's modules merely import, as mocks: on machines without GPUs."""

import importlib.abc
import importlib.machinery
import sys
from unittest.mock import MagicMock


class Mocks(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what is absent."""

    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__spec__, module.__path__, module.__version__ = spec, [], "0.3.0"
        return module

    def exec_module(self, module):
        pass


def mocked(*names):
    """Have these packages, where they are not installed, imported as mocks."""
    sys.meta_path.append(Mocks(names))
