"""Bits compared, and stored tensors read as mapped files."""

from __future__ import annotations

import errno
import itertools
import os
import random
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as torch_dcp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.checkpoint.planner import WriteItem

import grpo.tensors
from common import disk
from common.errors import InputError
from grpo import stored_weights
from grpo.shape import Qwen3Shape
from grpo.stored_weights import read_weights, write_weights
from grpo.tensors import LazyTensors, blocks, equal, same_bits
from grpo.weights import to_hugging_face, to_megatron


@given(
    size=st.integers(1, 40),
    start=st.integers(0, 7),
    other=st.integers(0, 7),
    place=st.integers(0, 39),
    bit=st.integers(0, 15),
)
def test_one_flipped_bit_is_seen(size: int, start: int, other: int, place: int, bit: int) -> None:
    numbers = torch.arange(size, dtype=torch.bfloat16)
    one, two = torch.zeros(48).bfloat16()[start : start + size], torch.zeros(48).bfloat16()[other : other + size]
    one.copy_(numbers)
    two.copy_(numbers)
    assert same_bits(one, two)
    two.view(torch.int16)[place % size] ^= torch.tensor(1 << bit).short()
    assert not same_bits(one, two)


def test_bits_are_not_values() -> None:
    nan, zero = torch.tensor([float("nan")]), torch.tensor([0.0])
    assert same_bits(nan, nan.clone())
    assert not torch.equal(nan, nan.clone())
    assert not same_bits(zero, -zero)
    assert torch.equal(zero, -zero)
    assert not same_bits(torch.zeros(2), torch.zeros(1, 2))
    assert not same_bits(torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.float16))


def test_transposed_tensors_are_compared_as_they_stand() -> None:
    tensor = torch.arange(12.0).reshape(3, 4)
    assert same_bits(tensor.t(), tensor.t().contiguous())
    assert not same_bits(tensor.t().reshape(3, 4), tensor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_change_to_what_was_read_stays_in_memory(tmp_path: Path, dtype: torch.dtype) -> None:
    """A tensor read from a checkpoint is mapped: who writes into it must not write into the checkpoint."""
    name = "decoder.layers.0.mlp.linear_fc2.weight"
    tensors = {name: torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(dtype)}
    meta = {name: torch.empty(3, 5, dtype=dtype, device="meta")}
    weights = read_weights(write_weights(tmp_path, 0, tensors, meta))
    read = weights[name]
    read.zero_()
    assert same_bits(weights[name], tensors[name])


def test_torchs_own_option_is_as_it_was_after_writing(tmp_path: Path) -> None:
    name = "decoder.layers.0.mlp.linear_fc2.weight"
    write_weights(tmp_path, 0, {name: torch.zeros(2, 2)}, {name: torch.empty(2, 2, device="meta")})
    assert torch.serialization.get_crc32_options() is True


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("piece_bytes", [4096, 2**24], ids=["while writing", "at the end"])
def test_a_disk_that_fails_is_one_line_with_the_systems_own_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], number: int, piece_bytes: int
) -> None:
    """Torch's writer, cut off in the middle of a file, has troubles of its own, and they come last."""

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(disk, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(os, "write", fail)
    tensors = {f"decoder.layers.0.{name}.weight": torch.zeros(100, 100) for name in "ab"}
    threads = threading.active_count()
    with pytest.raises(InputError, match=rf"cannot be written \(.*{os.strerror(number)}\); .* MB are free there"):
        write_weights(tmp_path, 0, tensors, tensors)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert threading.active_count() == threads


def test_what_cannot_be_read_while_writing_says_so_itself(tmp_path: Path) -> None:
    def cut_short(rows: slice) -> torch.Tensor:
        try:
            raise ValueError("of a library")
        except ValueError:
            raise InputError("model.safetensors: cut short; copy it again.") from None

    name = "decoder.layers.0.a.weight"
    with pytest.raises(InputError, match=r"^model\.safetensors: cut short; copy it again\.$"):
        write_weights(tmp_path, 0, LazyTensors({name: cut_short}), {name: torch.empty(2, 2, device="meta")})
    assert list(tmp_path.iterdir()) == []


# --- rows and blocks ---


def test_nothing_is_read_to_know_the_names(shape: Qwen3Shape, tensors: dict[str, torch.Tensor]) -> None:
    read: list[str] = []

    def reading(name: str, tensor: torch.Tensor, rows: slice) -> torch.Tensor:
        read.append(name)
        return tensor[rows]

    lazy = LazyTensors({name: partial(reading, name, tensor) for name, tensor in tensors.items()})
    back = to_hugging_face(to_megatron(lazy, shape), shape)
    assert set(back) == set(tensors)
    assert "model.norm.weight" in back
    assert "lm_head.weight" not in back
    assert not read
    assert same_bits(back["model.norm.weight"], tensors["model.norm.weight"])
    assert read == ["model.norm.weight"]


@given(rows=st.integers(0, 50), columns=st.integers(1, 9), block_bytes=st.integers(1, 200))
def test_blocks_are_all_rows_in_their_order(rows: int, columns: int, block_bytes: int) -> None:
    tensor = torch.empty(rows, columns, dtype=torch.bfloat16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpo.tensors, "BLOCK_BYTES", block_bytes)
        found = list(blocks(tensor))
    assert [row for block in found for row in range(rows)[block]] == list(range(rows))
    assert all(tensor[block].nbytes <= max(block_bytes, columns * 2) for block in found)
    assert all(len(range(rows)[block]) for block in found)


class Cut(stored_weights.OneByOne):
    """Lays tensors out in parts of drawn rows and columns."""

    random: random.Random

    def parts(self, name: str) -> Iterator[tuple[slice, ...]]:
        axes = []
        for length in self.meta[name].shape:
            cuts = sorted({0, length, *(self.random.randrange(length) for _ in range(2))})
            axes.append([slice(low, high) for low, high in itertools.pairwise(cuts)])
        yield from itertools.product(*axes)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_any_rows_are_read_from_any_parts(
    tmp_path_factory: pytest.TempPathFactory, seed: int, data: st.DataObject
) -> None:
    sizes = {
        "decoder.layers.0.a.weight": (7, 5),
        "decoder.layers.1.a.weight": (7, 5),
        "decoder.layers.0.norm.weight": (6,),
        "decoder.layers.1.norm.weight": (6,),
        "output_layer.weight": (9, 3),
    }
    tensors = {name: torch.randn(size).bfloat16() for name, size in sizes.items()}
    Cut.random = random.Random(seed)
    path = write_weights(tmp_path_factory.mktemp("cut"), 0, tensors, tensors, planner=Cut)
    mapped, on_disk, meta = read_weights(path), read_weights(path, from_disk=True), read_weights(path, meta=True)
    for name, tensor in tensors.items():
        start = data.draw(st.integers(0, len(tensor)))
        rows = slice(start, data.draw(st.integers(start, len(tensor))))
        assert same_bits(mapped.rows(name, rows), tensor[rows])
        assert same_bits(on_disk.rows(name, rows), tensor[rows])
        assert meta.rows(name, rows).shape == tensor[rows].shape
        assert same_bits(mapped[name], tensor)
        assert equal(on_disk, mapped, name, tensor)


def test_a_part_may_have_several_layers(tmp_path: Path) -> None:
    stacked = torch.arange(24.0).reshape(2, 4, 3)
    torch_dcp.save({"decoder.layers.a.weight": stacked}, checkpoint_id=tmp_path, no_dist=True)
    read = read_weights(tmp_path)
    for layer in range(2):
        assert same_bits(read[f"decoder.layers.{layer}.a.weight"], stacked[layer])
        assert same_bits(read.rows(f"decoder.layers.{layer}.a.weight", slice(1, 3)), stacked[layer, 1:3])


def test_a_part_that_is_not_as_the_checkpoint_lists_it_is_refused(tmp_path: Path) -> None:
    class Turned(stored_weights.OneByOne):
        def resolve_data(self, write_item: WriteItem) -> torch.Tensor:
            return super().resolve_data(write_item).mT

    name = "decoder.layers.0.a.weight"
    tensors = {name: torch.arange(6.0).reshape(2, 3)}
    read = read_weights(write_weights(tmp_path, 0, tensors, tensors, planner=Turned))
    with pytest.raises(InputError, match=r"a part of decoder\.layers\.a\.weight is torch.float32 \(1, 3, 2\)"):
        read[name]
