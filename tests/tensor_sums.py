"""One number for many tensors, to compare them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch


def checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.view(torch.uint8).reshape(-1).numpy())
    return digest.hexdigest()
