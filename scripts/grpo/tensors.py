"""Tensors that are read when they are asked for: a large model passes through a small memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch


class LazyTensors(Mapping[str, torch.Tensor]):
    """Tensors by name, each read anew whenever it is asked for, and kept by nobody.

    Parameters
    ----------
    readers
        What gives the tensor of each name.
    """

    def __init__(self, readers: Mapping[str, Callable[[], torch.Tensor]]) -> None:
        self._readers = dict(readers)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._readers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors have one type, one shape and the same bits: -0.0 is not 0.0, and NaN equals itself."""
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(_words(a), _words(b))


def own_memory(tensor: torch.Tensor) -> torch.Tensor:
    """The same values as the whole of a memory: what torch copies or writes with a tensor is the memory around it."""
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return torch.from_numpy(flat.numpy()).view(tensor.dtype).reshape(tensor.shape)


def _words(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's bytes, in the largest numbers that they fill: several times faster to compare than bfloat16."""
    flat = tensor.contiguous().reshape(-1)
    whole = flat.nbytes % 8 == 0 and flat.storage_offset() * flat.element_size() % 8 == 0
    return flat.view(torch.int64 if whole else torch.uint8)
