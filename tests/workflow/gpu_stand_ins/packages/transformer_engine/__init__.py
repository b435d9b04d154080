"""TransformerEngine as far as Megatron-LM core_v0.14.0 asks it for a dense Qwen3: its layers and its Adam in PyTorch.

Everything else is a name only, which Megatron's modules import.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from . import adam, layers

__version__ = "2.10.0"


class _Names(ModuleType):
    """A module in which any name stands for a class of its own."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {})
        setattr(self, name, made)
        return made


def _module(name: str, given: ModuleType | None = None) -> _Names:
    made = _Names(f"{__name__}.{name}")
    made.__path__ = []  # type: ignore[attr-defined]
    vars(made).update({key: value for key, value in vars(given).items() if key[0] != "_"} if given else {})
    sys.modules[made.__name__] = made
    parent, _, own = made.__name__.rpartition(".")
    setattr(sys.modules[parent], own, made)
    return made


for _name in ("common", "common.recipe", "pytorch"):
    _module(_name, layers if _name == "pytorch" else None)
for _name in (
    "cpp_extensions",
    "distributed",
    "float8_tensor",
    "fp8",
    "graph",
    "module",
    "module.base",
    "ops",
    "router",
    "tensor",
):
    _module(f"pytorch.{_name}")
for _name in ("tensor.float8_tensor", "tensor.mxfp8_tensor", "tensor.utils"):
    _module(f"pytorch.{_name}")
_module("pytorch.optimizers", adam)
