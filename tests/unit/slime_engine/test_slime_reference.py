"""The imported weights as slime's Megatron wants to find them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from common.errors import InputError
from grpo import checkpoint
from grpo.parallel import Ranks
from grpo.qwen3 import Qwen3Shape, build_model
from grpo.stored_weights import read_weights
from slime_engine.model import check_weights, model_arguments
from slime_engine.reference import release, stored_sizes

SHAPE = Qwen3Shape(
    layers=2, hidden=32, heads=4, query_groups=2, head_dim=8, ffn=48, vocabulary=64, rope_base=1e6,
    norm_epsilon=1e-6, tied_embeddings=True, max_positions=128,
)  # fmt: skip


@pytest.fixture(scope="module")
def imported(ranks: Ranks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint.save(tmp_path_factory.mktemp("imported"), 0, build_model(SHAPE))


def test_a_release_holds_the_same_weights_without_a_second_copy(imported: Path, tmp_path: Path) -> None:
    release(imported, tmp_path / "reference")
    assert (tmp_path / "reference" / checkpoint.TRACKER).read_text() == "release"
    inner = tmp_path / "reference" / "release"
    assert all(path.is_symlink() for path in inner.iterdir() if path.name != "common.pt")
    before, after = read_weights(imported), read_weights(inner)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    release(imported, tmp_path / "reference")  # again, as at each start


def test_its_common_state_says_what_megatron_asks_before_it_loads(imported: Path, tmp_path: Path) -> None:
    release(imported, tmp_path / "reference")
    # megatron.training.checkpointing.load_checkpoint of core_v0.14.0 reads these.
    state = torch.load(tmp_path / "reference" / "release" / "common.pt", weights_only=False)
    assert (state["args"].tensor_model_parallel_size, state["args"].pipeline_model_parallel_size) == (1, 1)
    assert state["checkpoint_version"] == 3.0
    assert "args" not in torch.load(imported / "common.pt", weights_only=False)  # the control


def test_a_checkpoint_that_is_not_whole_is_refused(imported: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a complete Megatron checkpoint \(\.metadata is missing\)"):
        release(tmp_path, tmp_path / "reference")
    with pytest.raises(InputError, match=r"\.metadata is missing"):
        stored_sizes(tmp_path)


def test_the_weights_of_a_real_checkpoint_fit_its_arguments(imported: Path) -> None:
    sizes = stored_sizes(imported)
    check_weights(model_arguments(SHAPE.as_dict()), sizes)
    wrong = {**SHAPE.as_dict(), "head_dim": 16}
    with pytest.raises(InputError, match="--kv-channels"):
        check_weights(model_arguments(wrong), sizes)
