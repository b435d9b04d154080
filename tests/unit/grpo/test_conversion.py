"""Weights pass through one at a time, from whatever laid them out; what is written is what the libraries write."""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import os
import pickle
import subprocess
import sys
import weakref
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from common.disk import read_from_disk
from common.errors import InputError
from common.files import remove_leftovers, sha256
from grpo import checkpoint, hugging_face, stored_weights
from grpo.parallel import Ranks
from grpo.qwen3 import Qwen3Shape, build_model
from grpo.stored_weights import read_weights, write_weights
from grpo.tensors import LazyTensors, rows_of, same_bits
from grpo.weights import check_checkpoint, expected_shapes, to_hugging_face, to_megatron, weights_sum
from tensor_sums import checksum

Tensors = dict[str, torch.Tensor]
EMBEDDING = "embedding.word_embeddings.weight"


def test_the_file_is_the_one_that_safetensors_writes(folder: Path, tensors: Tensors, tmp_path: Path) -> None:
    mixed = {**tensors, "ü": torch.ones(3, dtype=torch.bfloat16), "a": torch.ones(2, 3)}
    for name, given in (("plain", tensors), ("mixed", mixed)):
        (tmp_path / name).mkdir()
        sums = hugging_face.write_tensors(tmp_path / name, given, given)
        save_file(given, tmp_path / "theirs", metadata={"format": "pt"})
        assert (tmp_path / name / "model.safetensors").read_bytes() == (tmp_path / "theirs").read_bytes()
        assert sums == hugging_face.sums_of_files(given, given)
        assert sums == {"model.safetensors": sha256(tmp_path / "theirs")}


def test_a_large_model_is_several_files_with_an_index_that_transformers_reads(
    folder: Path, tensors: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    (folder / "model.safetensors").unlink()
    monkeypatch.setattr(hugging_face, "SHARD_BYTES", 20_000)
    sums = hugging_face.write_tensors(folder, tensors, tensors)
    assert sums == hugging_face.sums_of_files(tensors, tensors)
    assert sums == {path.name: sha256(path) for path in folder.glob("*.safetensors")}
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert len(files) > 2
    assert all((folder / name).stat().st_size < 25_000 for name in files)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(t.numel() * 4 for t in tensors.values())
    assert all(name in load_file(folder / file) for name, file in index["weight_map"].items())
    assert checksum(hugging_face.read_tensors(folder)) == checksum(tensors)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert all(torch.equal(model.state_dict()[name], tensors[name]) for name in tensors)


def test_a_tensor_of_another_shape_is_no_file(folder: Path, tensors: Tensors) -> None:
    other = tensors | {"model.norm.weight": torch.ones(3)}
    with pytest.raises(ValueError, match=r"model\.norm\.weight is torch\.float32 \(3,\), not as laid out"):
        hugging_face.write_tensors(folder, tensors, other)


class Counted:
    """Tensors that count how many of them are alive at once."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.alive, self.most = 0, 0
        self.tensors = LazyTensors({name: partial(self.watched, tensors, name) for name in tensors})

    def watched(self, tensors: Mapping[str, torch.Tensor], name: str, rows: slice) -> torch.Tensor:
        own = rows_of(tensors, name, rows).clone()
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(own, self.gone)
        return own

    def gone(self) -> None:
        self.alive -= 1


def test_import_and_export_hold_a_few_tensors_at_a_time(
    shape: Qwen3Shape, tensors: Tensors, folder: Path, tmp_path: Path
) -> None:
    many = replace(shape, layers=24)
    copies = {
        name.replace("layers.0.", f"layers.{layer}."): tensor
        for layer in range(24)
        for name, tensor in tensors.items()
        if "layers." not in name or "layers.0." in name
    }
    counted = Counted(copies)
    written = write_weights(tmp_path, 0, to_megatron(counted.tensors, many), to_megatron(copies, many))
    imported = counted.most
    read = read_weights(written)
    assert checksum(read) == checksum(to_megatron(copies, many))
    exported = Counted(read)
    hugging_face.write_tensors(folder, copies, to_hugging_face(exported.tensors, many))
    gc.collect()
    # Torch's writer keeps the last tensor of each name: 11 names, of 2 threads. All would be 266.
    assert imported <= 26
    assert exported.most <= 8
    assert len(copies) == 24 * 11 + 2
    assert counted.alive == exported.alive == 0


def test_what_import_writes_any_rank_of_megatron_loads(
    ranks: Ranks, shape: Qwen3Shape, tensors: Tensors, tmp_path: Path
) -> None:
    half = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    path = write_weights(tmp_path, 0, to_megatron(half, shape), to_megatron(half, shape))
    assert (tmp_path / "latest_checkpointed_iteration.txt").read_text() == "0"
    model = build_model(shape)
    assert checkpoint.load(path, model, None)["iteration"] == 0
    expected = to_megatron(half, shape)
    for name, parameter in model.named_parameters():  # float32 holds every bfloat16
        assert torch.equal(parameter, expected[name].float()), name
    assert all(tensor.dtype is torch.bfloat16 for tensor in read_weights(path).values())


def test_what_megatron_says_of_a_checkpoint_is_what_is_written(tmp_path: Path, tensors: Tensors) -> None:
    from megatron.core.dist_checkpointing.core import CheckpointingConfig, maybe_load_config, save_config
    from megatron.core.dist_checkpointing.strategies.common import COMMON_STATE_FNAME

    name = "decoder.layers.0.a.weight"
    path = write_weights(tmp_path, 0, {name: torch.zeros(2, 2)}, {name: torch.zeros(2, 2)})
    save_config(CheckpointingConfig("torch_dist", 1), str(tmp_path))
    assert (path / "metadata.json").read_bytes() == (tmp_path / "metadata.json").read_bytes()
    assert maybe_load_config(str(path)) == CheckpointingConfig("torch_dist", 1)
    assert (path / COMMON_STATE_FNAME).is_file()


def test_each_file_can_be_read_while_others_are_written(
    shape: Qwen3Shape, tensors: Tensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_weights, "FILE_BYTES", 30_000)
    ours = to_megatron(tensors, shape)
    files: list[list[str]] = []

    def written(on_disk: LazyTensors, names: list[str]) -> None:
        files.append(names)
        assert len(list(tmp_path.rglob("*.distcp"))) == len(files)
        assert not list(tmp_path.rglob(".metadata"))
        assert all(same_bits(on_disk[name], ours[name]) for name in names)
        for name in ours.keys() - {name for names in files for name in names}:
            with pytest.raises(InputError):
                on_disk[name]

    path = write_weights(tmp_path, 0, ours, ours, written=written)
    assert len(files) > 2
    assert sorted(name for names in files for name in names) == sorted(ours)
    assert checksum(read_weights(path, from_disk=True)) == checksum(ours)


@pytest.mark.parametrize("what", ["state_dict_metadata", "storage_data"])
def test_metadata_that_the_disk_changed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def other(path: Path, start: int, length: int) -> np.ndarray:
        metadata = pickle.loads(read_from_disk(path, start, length).tobytes())
        getattr(metadata, what).popitem()
        return np.frombuffer(pickle.dumps(metadata), np.uint8)

    monkeypatch.setattr(stored_weights, "read_from_disk", other)
    name = "decoder.layers.0.a.weight"
    with pytest.raises(InputError, match=r"iter_0000000: \.metadata is not as it was written"):
        write_weights(tmp_path, 0, {name: torch.zeros(2, 2)}, {name: torch.zeros(2, 2)})
    assert list(tmp_path.iterdir()) == []


def test_what_the_disk_cannot_read_while_others_are_written_is_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> np.ndarray:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def read(on_disk: LazyTensors, names: list[str]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(stored_weights, "read_from_disk", fail)
            with pytest.raises(InputError, match=r"cannot be read \(.*Input/output error\)\. Check the disk"):
                on_disk[names[0]]

    name = "decoder.layers.0.a.weight"
    write_weights(tmp_path, 0, {name: torch.zeros(2, 2)}, {name: torch.zeros(2, 2)}, written=read)


def test_an_interrupt_while_writing_is_one(tmp_path: Path) -> None:
    def interrupted(rows: slice) -> torch.Tensor:
        raise KeyboardInterrupt

    name = "decoder.layers.0.a.weight"
    with pytest.raises(KeyboardInterrupt):
        write_weights(tmp_path, 0, LazyTensors({name: interrupted}), {name: torch.empty(2, 2, device="meta")})
    assert list(tmp_path.iterdir()) == []


def test_a_files_head_that_the_disk_changed_is_refused(
    tmp_path: Path, tensors: Tensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = hugging_face._entries
    monkeypatch.setattr(hugging_face, "_entries", lambda path: dict(list(entries(path).items())[1:]))
    with pytest.raises(InputError, match=r"model\.safetensors: not as it was written"):
        hugging_face.write_tensors(tmp_path, tensors, tensors)


@pytest.mark.parametrize("fused", [True, False])
def test_norms_are_found_under_the_names_of_both_kinds_of_layers(
    shape: Qwen3Shape, tensors: Tensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fused: bool
) -> None:
    with monkeypatch.context() as patch:
        if not fused:
            patch.setattr(stored_weights, "_STORED_NORMS", {})
        path = write_weights(tmp_path, 0, to_megatron(tensors, shape), to_megatron(tensors, shape))
    names = stored_weights.torch_dcp.FileSystemReader(str(path)).read_metadata().state_dict_metadata
    assert ("decoder.layers.mlp.linear_fc1.layer_norm_weight" in names) == fused
    assert ("decoder.layers.pre_mlp_layernorm.weight" in names) != fused
    assert checksum(read_weights(path)) == checksum(to_megatron(tensors, shape))


def test_optimiser_and_random_state_are_not_read_and_anything_else_is_refused(
    shape: Qwen3Shape, tensors: Tensors, tmp_path: Path
) -> None:
    ours = dict(to_megatron(tensors, shape))
    beside = (
        "optimizer.state.exp_avg.x",
        "chained_0.optimizer.state.param.x",
        "optimizer.distributed.dp_group_idx_0.x",
    )
    more = ours | dict.fromkeys(beside, torch.zeros(3)) | {"decoder.final_layernorm._extra_state": torch.zeros(1)}
    path = write_weights(tmp_path / "a", 0, more, more)
    assert read_weights(path).keys() == ours.keys()
    more = ours | {"vision.weight": torch.zeros(3)}
    path = write_weights(tmp_path / "b", 0, more, more)
    with pytest.raises(InputError, match=r"vision\.weight is not part of a dense Qwen3"):
        to_hugging_face(read_weights(path, meta=True), shape)


@pytest.mark.parametrize(("rows", "stripped"), [(128, True), (256, True), (64, True), (100, False), (128 * 65, False)])
def test_the_padding_of_the_vocabulary_is_stripped(
    shape: Qwen3Shape, tensors: Tensors, rows: int, stripped: bool
) -> None:
    ours = dict(to_megatron(tensors, shape))
    ours[EMBEDDING] = torch.cat([ours[EMBEDDING], torch.ones(rows - shape.vocabulary, shape.hidden)])
    if stripped:
        check_checkpoint(ours, shape, "checkpoint")
        assert checksum(to_hugging_face(ours, shape)) == checksum(tensors)
    else:
        with pytest.raises(InputError, match=rf"{EMBEDDING} is \({rows}, 32\), config.json says \(64, 32\)"):
            check_checkpoint(ours, shape, "checkpoint")


def test_a_part_that_no_rank_wrote_is_missed(shape: Qwen3Shape, tensors: Tensors, tmp_path: Path) -> None:
    path = write_weights(tmp_path, 0, to_megatron(tensors, shape), to_megatron(tensors, shape))
    metadata = pickle.loads((path / ".metadata").read_bytes())
    del metadata.state_dict_metadata["decoder.layers.mlp.linear_fc2.weight"].chunks[1]
    (path / ".metadata").write_bytes(pickle.dumps(metadata))
    read = read_weights(path)
    assert read["decoder.layers.0.mlp.linear_fc2.weight"].shape == (32, 48)
    with pytest.raises(InputError, match=r"parts of decoder\.layers\.mlp\.linear_fc2\.weight are missing"):
        read["decoder.layers.1.mlp.linear_fc2.weight"]


# --- what a killed program leaves ---


def test_leftovers_of_killed_programs_go_and_those_of_running_ones_stay(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for number in (ended.pid, os.getpid()):
        (tmp_path / f".megatron.{number}.partial").mkdir()
    (tmp_path / ".other.partial").mkdir()
    remove_leftovers(tmp_path / "megatron")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".megatron.{os.getpid()}.partial", ".other.partial"]


def test_the_sum_of_a_checkpoint_is_that_of_the_files_it_makes(
    shape: Qwen3Shape, tensors: Tensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hugging_face, "SHARD_BYTES", 20_000)
    layout = {name: tensors[name] for name in expected_shapes(shape)}
    files = hugging_face.write_tensors(tmp_path, layout, tensors)
    assert len(files) > 2
    ours = to_megatron(tensors, shape)
    turned = {name: ours[name] for name in reversed(list(ours))}
    listing = "".join(f"{sha256(tmp_path / name)}  {name}\n" for name in sorted(files))
    expected = hashlib.sha256(listing.encode()).hexdigest()
    for number, given in enumerate((ours, turned)):
        assert weights_sum(write_weights(tmp_path / str(number), 0, given, given), shape) == expected
    other = dict(ours) | {"decoder.final_layernorm.weight": ours["decoder.final_layernorm.weight"] + 1}
    assert weights_sum(write_weights(tmp_path / "other", 0, other, other), shape) != expected
