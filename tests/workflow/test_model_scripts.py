"""base_model, import_weights, train and export_weights as a user meets them: what they make and what they refuse."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from project_copy import PROJECT
from safetensors.torch import load_file, save_file

from common.errors import InputError
from common.files import sha256
from grpo.hugging_face import read_tensors
from grpo.qwen3 import read_shape
from grpo.weights import check_tensors

pytestmark = pytest.mark.slow

TINY = ["--source=tiny", "--name=Tiny", "--tiny-warm-up-steps=30"]


def call(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROJECT / "scripts" / f"{script}.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 1, and a last line that says what is wrong; no traceback."""
    assert done.returncode == 1, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "error: " in last
    for word in words:
        assert word in last


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "base"
    done = call("base_model", *TINY, f"--output={folder}")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def megatron(base: Path) -> Path:
    done = call("import_weights", f"--base={base}", f"--output={base.parent / 'megatron'}")
    assert done.returncode == 0, done.stderr[-2000:]
    return base.parent / "megatron"


@pytest.fixture
def copied(base: Path, tmp_path: Path) -> Path:
    """A copy of the base model to spoil."""
    return Path(shutil.copytree(base, tmp_path / "copy"))


def edit(folder: Path, name: str = "config.json", **changes: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def reweigh(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Another base model: other weights, which its model.json lists."""
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    edit(folder, "model.json", files={file.name: sha256(file)})


def with_other_norm(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return tensors | {"model.norm.weight": tensors["model.norm.weight"] + 1}


def test_the_tiny_model_is_the_same_every_time(base: Path, tmp_path: Path) -> None:
    assert call("base_model", *TINY, f"--output={tmp_path / 'again'}").returncode == 0
    for file in base.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name
    assert call("base_model", *TINY, "--tiny-seed=1", f"--output={tmp_path / 'other'}").returncode == 0
    assert (tmp_path / "other/model.safetensors").read_bytes() != (base / "model.safetensors").read_bytes()


def test_every_compact_word_is_one_token_and_any_text_can_be_encoded(base: Path) -> None:
    from transformers import AutoTokenizer

    from trading.prompts import COMPACT_WORDS

    tokenizer = AutoTokenizer.from_pretrained(base)
    assert all(len(tokenizer(f" {word}")["input_ids"]) == 1 for word in COMPACT_WORDS)
    text = "<think>rising strong quiet</think><answer>Buy</answer>"
    assert len(tokenizer(text)["input_ids"]) == 8
    for other in (text, "Über 42 § \U0001f600\n new words"):
        assert tokenizer.decode(tokenizer(other)["input_ids"]) == other


def test_a_users_folder_is_taken_and_its_weights_are_not_copied(base: Path, tmp_path: Path) -> None:
    done = call("base_model", "--source=folder", "--name=Mine", f"--folder={base}", f"--output={tmp_path / 'base'}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "base/model.safetensors").is_symlink()
    made, original = (json.loads((folder / "model.json").read_text()) for folder in (tmp_path / "base", base))
    assert made["name"] == "Mine"
    assert made["files"] == original["files"]


def test_a_folder_that_is_no_qwen3_is_refused(copied: Path, tmp_path: Path) -> None:
    take = ["--source=folder", "--name=Mine", f"--output={tmp_path / 'out'}"]
    refused(call("base_model", *take, f"--folder={tmp_path / 'nowhere'}"), "nowhere", "base_model.folder")
    edit(copied, architectures=["LlamaForCausalLM"])
    refused(call("base_model", *take, f"--folder={copied}"), "config.json", "LlamaForCausalLM", "Qwen3ForCausalLM")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tie_word_embeddings": False}, "lm_head.weight"),
        ({"intermediate_size": 100}, "mlp.*config.json says"),
        ({"num_hidden_layers": 3}, "missing.*model.layers.2."),
        ({"num_hidden_layers": 1}, "extra.*model.layers.1."),
        ({"vocab_size": 512}, "embed_tokens.*512"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_weights_that_config_json_does_not_describe_are_refused(
    copied: Path, changes: dict[str, object], words: str
) -> None:
    check_tensors(read_tensors(copied), read_shape(copied), "folder")
    edit(copied, **changes)
    with pytest.raises(InputError, match=words):
        check_tensors(read_tensors(copied), read_shape(copied), "folder")


def test_import_refuses_weights_that_config_json_does_not_describe(copied: Path, tmp_path: Path) -> None:
    edit(copied, tie_word_embeddings=False)
    refused(call("import_weights", f"--base={copied}", f"--output={tmp_path / 'out'}"), "lm_head.weight")
    assert not (tmp_path / "out").exists()


def test_import_refuses_weights_that_are_not_those_of_the_base_model(copied: Path, tmp_path: Path) -> None:
    file = copied / "model.safetensors"
    save_file(with_other_norm(load_file(file)), file, metadata={"format": "pt"})
    done = call("import_weights", f"--base={copied}", f"--output={tmp_path / 'out'}")
    refused(done, "its weights are not those that model.json lists")
    assert not (tmp_path / "out").exists()
    edit(copied, "model.json", files={file.name: sha256(file)})
    assert call("import_weights", f"--base={copied}", f"--output={tmp_path / 'out'}").returncode == 0


def test_import_refuses_a_file_cut_short(copied: Path, tmp_path: Path) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    refused(
        call("import_weights", f"--base={copied}", f"--output={tmp_path / 'out'}"), "model.safetensors", "cut short"
    )


def train(base: Path, megatron: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    rows = [
        {
            "prompt": [{"role": "user", "content": f"calm low flat moves {'+ ' * n}{'- ' * (9 - n)}=".strip()}],
            "label": "",
            "metadata": {
                "id": f"train-{n:06d}",
                "timestamp": f"2025-01-01T0{n}:00:00Z",
                "current_price": 100.0,
                "next_price": 101.0 if n % 2 else 99.0,
                "split": "train",
            },
        }
        for n in range(8)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "train.jsonl").exists():
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "validation.jsonl").write_text("")
    return call(
        "train",
        f"--weights={megatron}",
        f"--base={base}",
        f"--train={folder}/train.jsonl",
        f"--validation={folder}/validation.jsonl",
        f"--checkpoints={folder}/checkpoints",
        f"--output-manifest={folder}/checkpoint.json",
        f"--output-metrics={folder}/metrics.jsonl",
        *["--iterations=2", "--prompts-per-iteration=4", "--group-size=4", "--max-new-tokens=10"],
        *["--learning-rate=0.01", "--entropy=0.01", *more],
    )


@pytest.fixture(scope="module")
def trained(base: Path, megatron: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    done = train(base, megatron, folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def export(manifest: Path, base: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return call(
        "export_weights",
        f"--manifest={manifest}",
        f"--base={base}",
        f"--output={out / 'trained'}",
        f"--output-parity={out / 'parity.json'}",
    )


def test_export_proves_that_training_changed_the_weights(trained: Path, base: Path, tmp_path: Path) -> None:
    done = export(trained / "checkpoint.json", base, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    parity = json.loads((tmp_path / "parity.json").read_text())
    assert parity["round_trip_bit_equal"] is True
    assert parity["logits"]["relative_difference"] < 1e-5
    assert parity["tensors_changed_by_training"] == parity["tensors"]
    ours, theirs = load_file(tmp_path / "trained/model.safetensors"), load_file(base / "model.safetensors")
    assert parity["tensors_changed_by_training"] == sum(not torch.equal(ours[name], theirs[name]) for name in theirs)


def test_export_refuses_another_base_model(trained: Path, copied: Path, tmp_path: Path) -> None:
    reweigh(copied, with_other_norm)
    refused(export(trained / "checkpoint.json", copied, tmp_path), "another base file")
    edit(copied, rope_theta=10_000.0)
    refused(export(trained / "checkpoint.json", copied, tmp_path), "rope_base", "10000")
    assert not (tmp_path / "trained").exists()


def test_a_base_model_in_bfloat16_is_trained_and_exported_in_its_type(copied: Path, tmp_path: Path) -> None:
    reweigh(copied, lambda tensors: {name: tensor.bfloat16() for name, tensor in tensors.items()})
    edit(copied, dtype="bfloat16")
    megatron = tmp_path / "megatron"
    assert call("import_weights", f"--base={copied}", f"--output={megatron}").returncode == 0
    assert train(copied, megatron, tmp_path / "train").returncode == 0
    done = export(tmp_path / "train/checkpoint.json", copied, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    parity = json.loads((tmp_path / "parity.json").read_text())
    assert parity["round_trip_bit_equal"] is False
    assert 0 < parity["largest_rounding"] < 0.01
    assert all(t.dtype is torch.bfloat16 for t in load_file(tmp_path / "trained/model.safetensors").values())


def test_export_refuses_a_checkpoint_cut_short_or_changed(trained: Path, base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "copy"))
    manifest = json.loads((folder / "checkpoint.json").read_text())
    data = max((folder / manifest["checkpoint"]).glob("*.distcp"), key=lambda path: path.stat().st_size)
    data.write_bytes(data.read_bytes()[:5000])
    refused(export(folder / "checkpoint.json", base, tmp_path), "iter_0000002", "cut short")
    manifest["weights_sha256"] = "0" * 64
    (trained / "other.json").write_text(json.dumps(manifest))
    refused(export(trained / "other.json", base, tmp_path), "not those that", "other.json")


def test_training_refuses_what_does_not_fit(trained: Path, base: Path, megatron: Path, tmp_path: Path) -> None:
    refused(train(base, megatron, tmp_path / "a", "--prompts-per-iteration=6"), "prompts_per_iteration (6)", "4")
    refused(train(base, megatron, tmp_path / "b", "--max-new-tokens=4000"), "train.jsonl, line", "2048 positions")
    refused(train(base, megatron, tmp_path / "c", "--tensor=2"), "needs 2 processes, 1 started", "torchrun")
    if not torch.cuda.is_available():
        refused(train(base, megatron, tmp_path / "d", "--device=cuda"), "cuda", "no GPU")
    if importlib.util.find_spec("tensorboard") is None:
        refused(train(base, megatron, tmp_path / "h", "--tensorboard"), "pip install tensorboard")
    (tmp_path / "e").mkdir()
    (tmp_path / "e/train.jsonl").write_text('{"prompt": [\n')
    refused(train(base, megatron, tmp_path / "e"), "train.jsonl, line 1")
    (tmp_path / "f").mkdir()
    (tmp_path / "f/train.jsonl").write_text('{"prompt": 5}\n')
    refused(train(base, megatron, tmp_path / "f"), "train.jsonl, line 1", "chat messages")
    (tmp_path / "g").mkdir()
    (tmp_path / "g/train.jsonl").write_bytes(b"\xff\xfe\n")
    refused(train(base, megatron, tmp_path / "g"), "train.jsonl", "UTF-8")
    for name in "abcdefgh":
        assert not (tmp_path / name / "checkpoint.json").exists()


def test_training_refuses_weights_of_another_base(trained: Path, base: Path, megatron: Path, copied: Path) -> None:
    reweigh(copied, with_other_norm)
    refused(train(copied, megatron, copied.parent / "x"), "was not imported from", "import_weights")


def test_validations_are_of_the_samples_that_the_manifest_names(
    trained: Path, base: Path, megatron: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "copy"))
    rows = (folder / "train.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "one.jsonl").write_text("".join(rows[:2]))
    (tmp_path / "other.jsonl").write_text("".join(rows[2:4]))

    def run(name: str, *more: str) -> tuple[list[int], str]:
        given = (f"--validation={tmp_path / name}.jsonl", "--iterations=3", "--validate-every=1", *more)
        done = train(base, megatron, folder, *given)
        assert done.returncode == 0, done.stderr[-2000:]
        manifest = json.loads((folder / "checkpoint.json").read_text())
        assert manifest["inputs"]["validation"] == sha256(tmp_path / f"{name}.jsonl")
        metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert manifest["validated"] == [row["iteration"] for row in metrics if "validation" in row]
        return manifest["validated"], done.stdout

    validated, said = run("one")  # the first two iterations are there, trained without validation samples
    assert validated == [3]
    assert "2 validations are missing, the first after iteration 1" in said
    assert run("other")[0] == []
    assert run("one")[0] == [3]
    assert run("one", "--validate-every=2")[0] == []


def test_two_trainings_do_not_write_into_one_folder(trained: Path, base: Path, megatron: Path) -> None:
    from common.lease import lease

    key = json.loads((trained / "checkpoint.json").read_text())["key"]
    with lease(trained / "checkpoints" / key):
        refused(train(base, megatron, trained, "--iterations=3"), key, "another run is writing here")
