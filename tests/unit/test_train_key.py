"""The key of a training: settings that came later leave the keys of trainings that do not use them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import train
from common.errors import InputError


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "train.jsonl").write_text("{}\n")

    def of(*more: str) -> dict:
        files = [f"--base={tmp_path}", f"--train={tmp_path}/train.jsonl", "--weights=w", "--validation=v"]
        files += ["--checkpoints=c", "--output-manifest=m", "--output-metrics=o"]
        needed = ["--iterations=1", "--prompts-per-iteration=4", "--group-size=2", "--max-new-tokens=1"]
        monkeypatch.setattr(sys, "argv", ["train.py", *files, *needed, "--learning-rate=0.1", *more])
        return train.determinants(train.arguments(), "weights")

    return of


def test_precision_and_optimiser_are_in_the_key_only_where_they_are_not_what_they_always_were(key) -> None:
    plain = key()
    assert not {"precision", "optimizer", "recompute"} & plain["settings"].keys()
    assert key("--precision=fp32", "--optimizer=replicated") == plain
    assert key("--precision=bf16")["settings"] == plain["settings"] | {"precision": "bf16"}
    assert key("--optimizer=distributed") != plain
    assert key("--recompute") == plain  # the same bits


def test_what_only_watches_is_in_no_key(key) -> None:
    watches = ["--spike-limit=3", "--straggler-ratio=9"]
    assert key(*watches) == key()
    of_spikes = ["--spike-threshold=0.9", "--spike-floor=2", "--spike-action=stop"]
    for one in of_spikes:  # the control: this engine skips steps by them
        assert key(one) != key()
    slime = ["--engine=slime", "--spike-action=log"]
    others = ["--slime-straggler-window=9", "--slime-straggler-limit=0", "--tokens-per-micro-batch=512"]
    assert key(*slime, *watches, *of_spikes, *others) == key(*slime)
    assert key(*slime, "--learning-rate=0.2") != key(*slime)
    assert key("--tokens-per-micro-batch=512") != key()  # it rounds otherwise, and this engine promises the bits


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_optimiser_that_could_not_be_resumed_is_refused(key, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key(f"--device={device}", "--optimizer=offloaded")
    monkeypatch.setattr(train.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="optimizer offloaded needs device: cuda and TransformerEngine"):
        train.check(train.arguments())
    key(f"--device={device}")
    train.check(train.arguments())
