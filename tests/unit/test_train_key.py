"""The key of a training: settings that came later leave the keys of trainings that do not use them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import train
from common.errors import InputError
from training import key as key_module


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base = tmp_path / "base"
    base.mkdir()
    (base / "tokenizer.json").write_text("{}")
    (tmp_path / "train.jsonl").write_text("{}\n")

    def of(*more: str) -> dict:
        files = [f"--base={base}", f"--train={tmp_path}/train.jsonl", "--weights=w", "--validation=v"]
        files += ["--checkpoints=c", "--output-manifest=m", "--output-metrics=o"]
        needed = ["--iterations=1", "--prompts-per-iteration=4", "--group-size=2", "--max-new-tokens=1"]
        monkeypatch.setattr(sys, "argv", ["train.py", *files, *needed, "--learning-rate=0.1", *more])
        return key_module.determinants(train.arguments())

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


@pytest.mark.parametrize("engine", ["megatron", "slime"])
@pytest.mark.parametrize(
    "name",
    [
        *("chat_template.jinja", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
        *("added_tokens.json", "vocab.json", "merges.txt", "config.json", "generation_config.json"),
        *("model.safetensors", "additional_chat_templates/tool.jinja"),
    ],
)
def test_what_makes_the_prompts_and_ends_the_answers_is_in_the_key(key, tmp_path: Path, name: str, engine: str) -> None:
    file = tmp_path / "base" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("{}")
    before = key(f"--engine={engine}")
    file.write_text('{"changed": 1}')
    assert key(f"--engine={engine}") != before


def test_what_the_model_is_called_is_not(key, tmp_path: Path) -> None:
    before = key()
    (tmp_path / "base" / "model.json").write_text('{"name": "Another name"}')
    (tmp_path / "base" / "README.md").write_text("Another text")
    assert key() == before


def test_validation_is_not_and_slime_and_weight_decay_have_a_version_of_their_own(key, tmp_path: Path) -> None:
    plain = key()
    assert key(f"--validation={tmp_path}/other.jsonl", "--validate-every=7") == plain
    assert plain["version"] == key("--weight-decay=0")["version"] == key_module.TRAINING_VERSION
    assert key("--weight-decay=0.1")["version"] == key_module.TRAINING_VERSION + 1
    for decay in ("0", "0.1"):
        assert key("--engine=slime", f"--weight-decay={decay}")["version"] == key_module.TRAINING_VERSION + 1


@pytest.mark.parametrize(
    ("device", "optimizer", "words"),
    [
        ("cpu", "offloaded", "optimizer offloaded needs device: cuda. Use replicated."),
        ("cpu", "distributed", "optimizer distributed needs device: cuda. Use replicated."),
        ("cuda", "distributed", "optimizer distributed needs TransformerEngine"),
    ],
)
def test_an_optimiser_that_could_not_be_resumed_is_refused(
    key, device: str, optimizer: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.importlib.util, "find_spec", lambda name: None)
    key(f"--device={device}", f"--optimizer={optimizer}")
    with pytest.raises(InputError, match=words):
        train.check(train.arguments())
    key(f"--device={device}")
    train.check(train.arguments())


def test_offloading_needs_no_transformer_engine_and_takes_its_share_of_the_processors(
    key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(train.os, "sched_getaffinity", lambda _: set(range(16)))
    assert key("--device=cuda", "--optimizer=offloaded", "--data=2") != key("--device=cuda", "--data=2")
    assert train.host_threads(train.arguments()) == 1
    key("--device=cuda", "--optimizer=offloaded", "--data=2", "--prompts-per-iteration=8")
    train.check(train.arguments())
    assert train.host_threads(train.arguments()) == 8
