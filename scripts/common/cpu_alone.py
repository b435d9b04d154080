"""For programs that never use a GPU: set before torch is imported."""

from __future__ import annotations

import gc
import os
import sys
import warnings

# What transformers imports wherever it is installed, a second in all, for what none of these programs does.
_UNUSED = ("scipy", "sklearn", "torchao")


def on_cpu_alone() -> None:
    """See no GPU, start fast, and take memory in large pages.

    Nothing here is compiled, but Megatron's decorators would import torch's compiler. Looking for cycles is a fifth of
    the time of importing. Tensors of 100 MB, each there for a moment, cost more time in pages of 4 kB than in copying.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"
    for name in _UNUSED:
        sys.modules.setdefault(name, None)  # as if not installed
    gc.set_threshold(100_000)
    warnings.filterwarnings("ignore")
