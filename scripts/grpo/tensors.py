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
