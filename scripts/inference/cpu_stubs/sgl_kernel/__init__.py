"""Import-only stand-in for sgl_kernel (CUDA and AVX-512 kernels), for SGLang 0.5.6 on a plain CPU.

SGLang imports names from here also on paths that never call them. Each name is a function that raises
when it is called, so that no result can come from here; SGLang's own PyTorch code runs. Where torch sees a
GPU this module refuses to be imported: it would shadow the real kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch


def refuse_on_cuda(module: str) -> None:
    """Raise ImportError where torch sees a GPU."""
    if torch.cuda.is_available():
        raise ImportError(f"{module} here is a stand-in for CPUs, but torch sees a GPU: install the real {module}")


def absent(module: str) -> Callable[[str], Any]:
    """A module's ``__getattr__``: every name is a function that raises when it is called."""

    def getattr_(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: Any, **__: Any) -> NoReturn:
            raise RuntimeError(f"{module}.{name} was called, but on this CPU {module} is an import-only stand-in")

        return missing

    return getattr_


refuse_on_cuda(__name__)
__getattr__ = absent(__name__)
