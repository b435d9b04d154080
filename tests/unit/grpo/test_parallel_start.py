from __future__ import annotations

import pytest
import torch

from common.errors import InputError
from grpo import parallel, qwen3


def test_on_a_cpu_a_gpu_must_be_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match=r'torch sees a GPU\. Hide it: CUDA_VISIBLE_DEVICES=""'):
        parallel.start("cpu")


def test_transformer_engine_computes_in_16_bits_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(qwen3, "HAVE_TE", True)
    assert qwen3.layers_of(torch.bfloat16) == "transformer_engine"
    assert qwen3.layers_of(torch.float32) == "local"
    monkeypatch.setattr(qwen3, "HAVE_TE", False)
    assert qwen3.layers_of(torch.bfloat16) == "local"
