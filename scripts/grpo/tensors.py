"""Tensors that are read when they are asked for, whole or in blocks: a large model passes through a small memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

# Rows that are read, compared or written together. More than the C library takes from memory that it has given out
# before (32 MB) would be new pages every time, which cost more than what is done with them.
BLOCK_BYTES = 2**24
WHOLE = slice(None)


class LazyTensors(Mapping[str, torch.Tensor]):
    """Tensors by name, each read anew whenever it is asked for, and kept by nobody.

    Parameters
    ----------
    readers
        What gives rows of the tensor of each name; all of them for `WHOLE`.
    """

    def __init__(self, readers: Mapping[str, Callable[[slice], torch.Tensor]]) -> None:
        self._readers = dict(readers)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.rows(name, WHOLE)

    def __contains__(self, name: object) -> bool:
        return name in self._readers  # a mapping's own way is to read the tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)

    def rows(self, name: str, rows: slice) -> torch.Tensor:
        """Some rows of a tensor; no others are read."""
        return self._readers[name](rows)

    def to(self, dtype: torch.dtype) -> LazyTensors:
        """The same tensors in another type, each when it is asked for."""
        return LazyTensors({name: lambda rows, name=name: self.rows(name, rows).to(dtype) for name in self})


def rows_of(tensors: Mapping[str, torch.Tensor], name: str, rows: slice) -> torch.Tensor:
    """Some rows of a tensor, of the kinds of tensors that are read when asked for and of those that are not."""
    return tensors.rows(name, rows) if isinstance(tensors, LazyTensors) else tensors[name][rows]


def blocks(tensor: torch.Tensor) -> Iterator[slice]:
    """Rows of a tensor (a meta tensor will do), `BLOCK_BYTES` at a time, and at least one row."""
    count, row_bytes = tensor.shape[0], math.prod(tensor.shape[1:]) * tensor.element_size()
    together = max(1, BLOCK_BYTES // max(1, row_bytes))
    for start in range(0, count, together):
        yield slice(start, min(start + together, count))


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors have one type, one shape and the same bits: -0.0 is not 0.0, and NaN equals itself."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    flat = [tensor.contiguous().reshape(-1) for tensor in (a, b)]
    # In the largest numbers that they fill: several times faster to compare than bfloat16.
    whole = all(part.nbytes % 8 == part.storage_offset() * part.element_size() % 8 == 0 for part in flat)
    one, other = (part.view(torch.int64 if whole else torch.uint8) for part in flat)
    return torch.equal(one, other)


def equal(a: LazyTensors, b: LazyTensors, name: str, layout: torch.Tensor) -> bool:
    """Whether two tensors have the `same_bits`, read block by block up to the first difference."""
    return all(same_bits(a.rows(name, rows), b.rows(name, rows)) for rows in blocks(layout))


def own_memory(tensor: torch.Tensor) -> torch.Tensor:
    """The same values as the whole of a memory: what torch copies or writes with a tensor is the memory around it."""
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return torch.from_numpy(flat.numpy()).view(tensor.dtype).reshape(tensor.shape)


def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """`torch.cat`, which on the meta device would import torch's compiler, in whatever thread calls it first."""
    if len(parts) == 1:
        return parts[0]
    if not parts[0].is_meta:
        return torch.cat(list(parts))
    size = sum(part.shape[0] for part in parts), *parts[0].shape[1:]
    return torch.empty(size, dtype=parts[0].dtype, device="meta")
