from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from common.errors import InputError
from grpo.checkpoint import iterations_in, key_of, load, prune, save
from grpo.learner import Learner
from grpo.stored_weights import read_weights
from grpo.weights import to_megatron
from tensor_sums import checksum


def test_weights_read_without_groups_are_bit_equal(weights: Path, tensors: dict, shape: object) -> None:
    assert checksum(read_weights(weights)) == checksum(to_megatron(tensors, shape))


def test_a_checkpoint_cut_short_is_named(weights: Path, tmp_path: Path, model: torch.nn.Module) -> None:
    import shutil

    broken = tmp_path / "iter_0000000"
    shutil.copytree(weights, broken)
    data = max(broken.glob("*.distcp"), key=lambda p: p.stat().st_size)
    data.write_bytes(data.read_bytes()[:1000])
    for read in (lambda: read_weights(broken), lambda: load(broken, model, None)):
        with pytest.raises(InputError, match="iter_0000000: the checkpoint cannot be read"):
            read()
    (broken / ".metadata").unlink()
    with pytest.raises(InputError, match="not a complete Megatron checkpoint"):
        read_weights(broken)


def test_what_stands_is_not_overwritten_and_leftovers_do_not_count(tmp_path: Path, model: torch.nn.Module) -> None:
    first = save(tmp_path, 10, model)
    before = checksum(read_weights(first))
    with torch.no_grad():
        next(model.parameters()).add_(1)
    assert checksum(read_weights(save(tmp_path, 10, model))) == before
    (tmp_path / ".iter_0000020.partial").mkdir()
    assert iterations_in(tmp_path) == [10]
    assert (tmp_path / "latest_checkpointed_iteration.txt").read_text() == "10"


def every_hundred(iteration: int) -> bool:
    return iteration % 100 == 0


def test_keep_says_how_many_stay(tmp_path: Path) -> None:
    for iteration in (100, 200, 300):
        (tmp_path / f"iter_{iteration:07d}").mkdir()
    prune(tmp_path, 2, 200, every_hundred)
    assert iterations_in(tmp_path) == [100, 200, 300]
    prune(tmp_path, 2, 300, every_hundred)
    assert iterations_in(tmp_path) == [200, 300]


def test_a_checkpoint_of_a_stop_takes_no_others_place(tmp_path: Path) -> None:
    kept = []
    for iteration in (100, 200, 250, 270, 300):
        (tmp_path / f"iter_{iteration:07d}").mkdir()
        prune(tmp_path, 2, iteration, every_hundred)
        kept.append(iterations_in(tmp_path))
    assert kept == [[100], [100, 200], [100, 200, 250], [100, 200, 270], [200, 300]]


def test_the_key_depends_on_values_not_on_their_order() -> None:
    assert key_of({"a": 1, "b": 2.5}) == key_of({"b": 2.5, "a": 1})
    assert key_of({"a": 1, "b": 2.5}) != key_of({"a": 1, "b": 2.6})


def test_optimiser_state_survives(tmp_path: Path, make_learner: Callable[..., Learner]) -> None:
    learner = make_learner()
    for parameter in learner.model.parameters():
        parameter.main_grad.fill_(0.1)
    learner.optimizer.param_groups[0]["lr"] = 1e-3
    from grpo.cpu import megatron_on_cpu

    with megatron_on_cpu():
        learner.optimizer.step()
    path = save(tmp_path, 1, learner.model, learner.optimizer, {"note": 3})
    other = make_learner()
    assert load(path, other.model, other.optimizer)["note"] == 3
    ours, theirs = learner.optimizer.state_dict(), other.optimizer.state_dict()
    for a, b in zip(ours["state"].values(), theirs["state"].values(), strict=True):
        assert float(a["step"]) == float(b["step"]) == 1.0
        assert torch.equal(a["exp_avg"], b["exp_avg"])
        assert float(a["exp_avg"].abs().sum()) > 0
        assert torch.equal(a["exp_avg_sq"], b["exp_avg_sq"])


def test_a_checkpoint_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    from megatron.core import dist_checkpointing

    def full_disk(state: dict, path: str) -> None:
        (Path(path) / "__0_0.distcp").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dist_checkpointing, "save", full_disk)
    with pytest.raises(InputError, match=r"iter_0000003: the checkpoint cannot be written \(.*No space left.*are free"):
        save(tmp_path, 3, model)
    assert list(tmp_path.iterdir()) == []
