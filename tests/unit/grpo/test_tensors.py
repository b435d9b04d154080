"""Bits compared, and stored tensors read as mapped files."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from grpo.stored_weights import no_crc32, read_weights, write_weights
from grpo.tensors import same_bits


@given(size=st.integers(1, 40), start=st.integers(0, 7), place=st.integers(0, 39), bit=st.integers(0, 15))
def test_one_flipped_bit_is_seen(size: int, start: int, place: int, bit: int) -> None:
    whole = torch.arange(48, dtype=torch.bfloat16)
    one, two = whole[start : start + size], whole.clone()[start : start + size]
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


def test_no_thread_that_writes_computes_a_crc32(tmp_path: Path) -> None:
    """Torch's option is one of each thread: set in the one that calls, it does not hold in those that write."""
    seen: dict[int, bool] = {}

    class Asked(dict[str, torch.Tensor]):
        def __getitem__(self, name: str) -> torch.Tensor:
            both.wait()  # each of two threads is at a tensor
            seen[threading.get_ident()] = torch.serialization.get_crc32_options()
            return super().__getitem__(name)

    both = threading.Barrier(2, timeout=20)
    tensors = {f"decoder.layers.0.{name}.weight": torch.zeros(2, 2) for name in "ab"}
    write_weights(tmp_path, 0, Asked(tensors), tensors)
    assert list(seen.values()) == [False, False]
    other: list[bool] = []
    with no_crc32():
        thread = threading.Thread(target=lambda: other.append(torch.serialization.get_crc32_options()))
        thread.start()
        thread.join()
    assert other == [True], "the reason for this test: torch's option has become one of the process"


@pytest.mark.parametrize("where", ["the thread that calls", "another thread"])
def test_a_full_disk_is_one_line_whichever_thread_meets_it(
    tmp_path: Path, where: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Torch lets its other threads die, and would leave a checkpoint that lacks what they did not write."""
    here = threading.current_thread()

    class Full(dict[str, torch.Tensor]):
        def __getitem__(self, name: str) -> torch.Tensor:
            both.wait()  # each of two threads is at a tensor
            if (threading.current_thread() is here) == (where == "the thread that calls"):
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().__getitem__(name)

    both = threading.Barrier(2, timeout=20)
    tensors = {f"decoder.layers.0.{name}.weight": torch.zeros(2, 2) for name in "ab"}
    hook = threading.excepthook
    with pytest.raises(InputError, match=r"cannot be written \(.*No space left on device"):
        write_weights(tmp_path, 0, Full(tensors), tensors)
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in capfd.readouterr().err
    assert threading.excepthook is hook


def test_weights_are_read_where_torch_does_not_say_at_which_byte_they_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {"decoder.layers.0.a.weight": torch.randn(4, 3), "output_layer.weight": torch.randn(5)}
    path = write_weights(tmp_path, 0, tensors, tensors)
    loaded: list[str] = []

    def torch_2_9(*args: object, map_location: str, **kwargs: object) -> torch.Tensor:
        loaded.append(map_location)
        tensor = load(*args, map_location=map_location, **kwargs)
        if map_location == "meta":
            tensor.untyped_storage()._checkpoint_offset = None
        return tensor

    load = torch.load
    monkeypatch.setattr(torch, "load", torch_2_9)
    read = read_weights(path)
    assert all(same_bits(read[name], tensors[name]) for name in tensors)
    assert loaded == ["meta", "cpu"] * 2
