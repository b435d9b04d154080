"""Around the engine: what it is given, what is refused before it starts, the random numbers it draws with."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_model import sample_rows, write_tiny_model

from common.errors import InputError
from inference.engine import cache_tokens
from inference.model import Model, read_model
from inference.processes import STUBS, environment, prepare_process, socket_folder
from inference.questions import ask, load_tokenizer, read_samples
from inference.sampling import Sampling, gumbel, seeded_multinomial

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
GREEDY = Sampling(max_new_tokens=8, temperature=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to spoil."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def change_config(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


# --- the model folder


def test_a_whole_folder_is_read(folder: Path) -> None:
    model = read_model(folder)
    assert (model.name, model.vocabulary, model.context) == ("tiny", 304, 256)
    assert model.cache_bytes_per_token == 2 * 4 * 2 * 2 * 16  # key and value, float32, layers, heads, head size
    assert model.stop_ids == {2}


def test_the_name_comes_from_the_model_card_where_there_is_one(own: Path) -> None:
    (own / "model.json").write_text('{"name": "Tiny Qwen3"}')
    assert read_model(own).name == "Tiny Qwen3"


def test_generation_settings_add_stop_tokens(own: Path) -> None:
    (own / "generation_config.json").write_text('{"eos_token_id": [0, 2]}')
    assert read_model(own).stop_ids == {0, 2}


def drop_tensor(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.self_attn.q_norm.weight"]
    save_file(tensors, folder / "model.safetensors")


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: change_config(f, architectures=["LlamaForCausalLM"]), "only Qwen3ForCausalLM"),
        (lambda f: change_config(f, architectures=["Qwen3MoeForCausalLM"]), "only Qwen3ForCausalLM"),
        (lambda f: change_config(f, vocab_size="many"), "vocab_size is many"),
        (lambda f: change_config(f, intermediate_size=96), r"gate_proj.weight has shape \[128, 64\]"),
        (lambda f: change_config(f, num_key_value_heads=1), "k_proj.weight has shape"),
        (lambda f: change_config(f, vocab_size=320), "embed_tokens.weight has shape"),
        (lambda f: change_config(f, num_hidden_layers=3), "layers.2.input_layernorm.weight is missing"),
        (lambda f: change_config(f, tie_word_embeddings=False), "lm_head.weight is missing"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: not JSON"),
        (lambda f: (f / "config.json").unlink(), "config.json: no such file"),
        (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer.json"),
        (lambda f: (f / WEIGHTS).unlink(), "model.safetensors: no such file"),
        (cut, "but its header says"),
        (drop_tensor, "model.layers.1.self_attn.q_norm.weight is missing"),
        (lambda f: (f / WEIGHTS).write_bytes(b""), "not a safetensors file"),
        (lambda f: (f / WEIGHTS).write_bytes(b"\xff" * 64), "not a safetensors file"),
        (
            lambda f: (f / WEIGHTS).write_bytes(b"\x02" + bytes(7) + b"[]"),
            "not a safetensors file",
        ),
        (
            lambda f: (f / INDEX).write_text('{"weight_map": {"a": "b.safetensors"}}'),
            "b.safetensors: no such file",
        ),
        (lambda f: (f / INDEX).write_text("{}"), "no weight_map"),
    ],
)
def test_a_spoiled_folder_is_refused_in_one_line(own: Path, spoil: Callable[[Path], Any], message: str) -> None:
    spoil(own)
    with pytest.raises(InputError, match=message) as caught:
        read_model(own)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_model(tmp_path / "nowhere")


# --- the questions


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_question_is_the_templated_prompt(folder: Path, tmp_path: Path) -> None:
    import hashlib

    model = read_model(folder)
    path = write(tmp_path / "s.jsonl", sample_rows(3))
    tokenizer = load_tokenizer(model)
    rows = read_samples(path)
    questions = ask(rows, path, tokenizer, model, room=8)
    text = f"<|im_start|>user\n{rows[2]['prompt'][0]['content']}<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(questions[2].prompt_ids) == text
    assert questions[2].prompt_sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert (questions[2].number, questions[2].id) == (2, "test-000002")


def test_a_thinking_template_opens_the_thinking_in_the_prompt(tmp_path: Path) -> None:
    model = read_model(write_tiny_model(tmp_path / "thinking", thinking_template=True))
    path = write(tmp_path / "s.jsonl", sample_rows(1))
    tokenizer = load_tokenizer(model)
    [one] = ask(read_samples(path), path, tokenizer, model, room=8)
    assert tokenizer.decode(one.prompt_ids).endswith("<|im_start|>assistant\n<think>\n")


def test_the_tokenizers_end_of_turn_ends_an_answer_too(own: Path) -> None:
    change_config(own, eos_token_id=None)
    (own / "generation_config.json").unlink()
    model = read_model(own)
    assert model.stop_ids == frozenset()
    assert model.stopping_at(load_tokenizer(model)).stop_ids == {2}


def test_prompt_and_answer_have_to_fit_the_context(folder: Path, tmp_path: Path) -> None:
    model = read_model(folder)
    path = write(tmp_path / "s.jsonl", sample_rows(2))
    tokenizer, rows = load_tokenizer(model), read_samples(path)
    length = len(ask(rows, path, tokenizer, model, room=1)[0].prompt_ids)
    rows = rows[:1]
    assert ask(rows, path, tokenizer, model, room=256 - length)
    with pytest.raises(InputError, match=r"line 1: a prompt of \d+ tokens .* context of 256"):
        ask(rows, path, tokenizer, model, room=257 - length)


def test_a_tokenizer_larger_than_the_model_is_refused(folder: Path, tmp_path: Path) -> None:
    model = dataclasses.replace(read_model(folder), vocabulary=200)
    path = write(tmp_path / "s.jsonl", sample_rows(1))
    with pytest.raises(InputError, match="ids that its model does not have"):
        ask(read_samples(path), path, load_tokenizer(model), model, room=8)


def test_a_model_without_chat_template_is_refused(own: Path) -> None:
    (own / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="no chat template"):
        load_tokenizer(read_model(own))


def test_a_broken_tokenizer_is_refused(own: Path) -> None:
    (own / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="tokenizer cannot be read"):
        load_tokenizer(read_model(own))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": [', "line 2: not a JSON object"),
        ("[]", "line 2: not a JSON object"),
        ("{}", "line 2: prompt is not a list"),
        ('{"prompt": [{"role": "user"}]}', "line 2: a chat message of prompt has no role and content"),
        ('{"prompt": [{"role": "user", "content": "a"}]}', "line 2: metadata is missing"),
        (
            '{"prompt": [{"role": "user", "content": "a"}], "metadata": {"id": "x"}}',
            "line 2: metadata.timestamp",
        ),
        (json.dumps(sample_rows(1)[0]), "line 2: id test-000000 is already on line 1"),
    ],
)
def test_a_broken_sample_names_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(json.dumps(sample_rows(1)[0]) + "\n" + line + "\n")
    with pytest.raises(InputError, match=message):
        read_samples(path)


# --- settings


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(0, 0.0), "--max-new-tokens 0"),
        (Sampling(8, -1.0), "--temperature -1.0"),
        (Sampling(8, math.nan), "--temperature nan"),
        (Sampling(8, 1.0, top_p=0.0, seed=1), "--top-p 0.0"),
        (Sampling(8, 1.0, top_k=0, seed=1), "--top-k 0"),
        (Sampling(8, 1.0), "--seed is missing"),
        (Sampling(8, 1.0, seed=-1), "--seed -1"),
        (Sampling(8, 1.0, seed=2**31 - 99), "--seed 2147483549"),
    ],
)
def test_settings_without_sense_are_refused(sampling: Sampling, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sampling.check(100)


def test_the_last_seed_of_all_is_allowed() -> None:
    Sampling(8, 1.0, seed=2**31 - 100).check(100)


def test_each_sample_has_its_own_seed_and_greedy_none() -> None:
    assert [Sampling(8, 0.7, seed=40).seed_of(n) for n in (0, 1, 5)] == [40, 41, 45]
    assert Sampling(8, 0.0, seed=40).seed_of(1) is None


def test_a_seed_means_nothing_to_greedy_decoding() -> None:
    assert Sampling(8, 0.0, top_k=5, seed=1).meaning() == Sampling(8, 0.0, seed=2).meaning()
    assert Sampling(8, 1.0, seed=1).meaning() != Sampling(8, 1.0, seed=2).meaning()
    assert Sampling(8, 1.0, seed=1).meaning() == Sampling(8, 1.0, top_p=1.0, seed=1).meaning()


@given(batch=st.integers(1, 512), longest=st.integers(1, 200), per_token=st.integers(64, 2**22))
def test_the_cache_holds_one_answer_at_least_and_stays_modest(batch: int, longest: int, per_token: int) -> None:
    model = Model(Path(), "m", 304, 256, per_token, frozenset())
    tokens = cache_tokens(model, GREEDY, batch, longest)
    one = longest + 8 + 1
    assert one <= tokens <= batch * one
    assert tokens == one or tokens * per_token <= 2**30


# --- devices


def test_cpu_hides_any_gpu_and_honours_the_threads() -> None:
    variables = environment("cpu", 3)
    assert variables["CUDA_VISIBLE_DEVICES"] == ""
    assert variables["SGLANG_USE_CPU_ENGINE"] == "1"
    assert (variables["OMP_NUM_THREADS"], variables["HF_HUB_OFFLINE"]) == ("3", "1")


def test_cuda_leaves_the_gpus_alone() -> None:
    assert not {"CUDA_VISIBLE_DEVICES", "SGLANG_USE_CPU_ENGINE"} & set(environment("cuda", 3))


@pytest.fixture
def _untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.usefixtures("_untouched")
def test_the_stand_ins_are_on_the_path_for_the_cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    prepare_process("cuda", 1)
    assert str(STUBS) not in sys.path
    prepare_process("cpu", 1)
    assert sys.path[0] == str(STUBS)


@pytest.mark.usefixtures("_untouched")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(InputError, match="torch sees no GPU here"):
        prepare_process("cuda", 1)
    assert str(STUBS) not in sys.path


@pytest.fixture
def _stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("sgl_kernel", "vllm", "torchvision")
    for name in [name for name in sys.modules if name.split(".")[0] in names]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(STUBS))


@pytest.mark.usefixtures("_stubs")
def test_a_stand_in_can_be_imported_but_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    import sgl_kernel
    import torchvision
    import vllm._custom_ops
    from sgl_kernel.kvcacheio import transfer_kv_all_layer

    for function in (
        sgl_kernel.rmsnorm,
        transfer_kv_all_layer,
        vllm._custom_ops.silu_and_mul,
        torchvision.transforms.functional.resize,
        torchvision.transforms.Compose,
    ):
        with pytest.raises(RuntimeError, match="import-only stand-in"):
            function()
    with pytest.raises(AttributeError):
        _ = sgl_kernel.__wrapped__
    for name in [name for name in sys.modules if name.split(".")[0] in ("sgl_kernel", "vllm", "torchvision")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("_stubs")
@pytest.mark.parametrize("name", ["sgl_kernel", "vllm", "torchvision"])
def test_a_stand_in_refuses_where_torch_sees_a_gpu(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import importlib

    monkeypatch.setitem(
        sys.modules, "torch", types.SimpleNamespace(cuda=types.SimpleNamespace(is_available=lambda: True))
    )
    with pytest.raises(ImportError, match="torch sees a GPU"):
        importlib.import_module(name)


# --- random numbers


def sglang_draw(weights: torch.Tensor, seed: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """What SGLang 0.5.6 does itself: the control."""
    columns = torch.arange(weights.shape[1])[None, :]
    step = (seed * 19349663) ^ (positions * 73856093)
    hashed = (step[:, None] * 8589934591) ^ (columns * 479001599)
    uniform = ((hashed % 2**24).float() / 2**24).clamp(1e-10, 1 - 1e-10)
    return (weights.log() - (-uniform.log()).log()).argmax(dim=1, keepdim=True)


def share_of_first(draw: Callable[..., torch.Tensor], p: float, position: int) -> float:
    rows = 20_000
    weights = torch.tensor([[p, 1 - p]]).expand(rows, 2).contiguous()
    seeds = torch.arange(rows) + 1000
    return (draw(weights, seeds, torch.full((rows,), position)) == 0).float().mean().item()


@pytest.mark.parametrize("p", [0.03, 0.3, 0.5, 0.7, 0.97])
@pytest.mark.parametrize("position", [0, 30, 1000])
def test_a_token_is_drawn_as_often_as_its_probability_says(p: float, position: int) -> None:
    # Four standard deviations of a share of 20,000.
    assert abs(share_of_first(seeded_multinomial, p, position) - p) < 4 * math.sqrt(p * (1 - p) / 20_000)


def test_sglangs_own_draw_fails_that_test() -> None:
    assert abs(share_of_first(sglang_draw, 0.7, 30) - 0.7) > 0.1


def test_draws_in_successive_places_do_not_know_of_each_other() -> None:
    rows = 20_000
    weights = torch.full((rows, 2), 0.5)
    seeds = torch.arange(rows)
    one, next_one = (seeded_multinomial(weights, seeds, torch.full((rows,), place)) for place in (30, 31))
    neighbour = one.roll(1)
    for other in (next_one, neighbour):
        assert abs((one == other).float().mean().item() - 0.5) < 4 * 0.5 / math.sqrt(rows)


def test_a_draw_depends_on_its_own_row_only() -> None:
    weights = torch.rand(50, 40, generator=torch.Generator().manual_seed(0))
    seeds, places = torch.arange(50), torch.arange(50) % 7
    together = seeded_multinomial(weights, seeds, places)
    alone = [seeded_multinomial(weights[i : i + 1], seeds[i : i + 1], places[i : i + 1]).item() for i in range(50)]
    assert together[:, 0].tolist() == alone


def test_a_token_without_probability_is_never_drawn() -> None:
    weights = torch.tensor([[0.0, 1e-30, 0.0]]).expand(1000, 3).contiguous()
    drawn = seeded_multinomial(weights, torch.arange(1000), torch.zeros(1000, dtype=torch.long))
    assert set(drawn[:, 0].tolist()) == {1}


def murmur3(words: list[int]) -> int:
    """MurmurHash3, 32 bits, of 32-bit words, as its author wrote it; seed 0."""
    mask, state = 0xFFFFFFFF, 0
    for word in words:
        word = word * 0xCC9E2D51 & mask
        word = (word << 15 | word >> 17) & mask
        state ^= word * 0x1B873593 & mask
        state = ((state << 13 | state >> 19) * 5 + 0xE6546B64) & mask
    state ^= 4 * len(words)
    state = (state ^ state >> 16) * 0x85EBCA6B & mask
    state = (state ^ state >> 13) * 0xC2B2AE35 & mask
    return state ^ state >> 16


@given(seed=st.integers(0, 2**31 - 1), place=st.integers(0, 2**20), column=st.integers(0, 2**18))
def test_the_noise_is_that_of_murmurhash(seed: int, place: int, column: int) -> None:
    uniform = (murmur3([seed & 0xFFFFFFFF, 0, place, column]) + 0.5) / 2**32
    noise = gumbel(torch.tensor([seed], dtype=torch.int32), torch.tensor([place]), torch.tensor([column]))
    assert noise.item() == pytest.approx(-math.log(-math.log(uniform)), rel=1e-12, abs=1e-12)


# --- the watchdog

WATCHED = """
import sys, time; sys.path.insert(0, "scripts")
from inference.watchdog import Watchdog
state = [0, None]
dog = Watchdog(1.0, lambda: tuple(state), lambda: print("cleaned", flush=True))
dog.start()
{body}
dog.stop()
time.sleep(1.5)
print("survived")
"""


def watched(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WATCHED.format(body=body)], capture_output=True, text=True)


def test_the_watchdog_ends_a_program_that_hangs() -> None:
    began = time.monotonic()
    done = watched("time.sleep(60)")
    assert time.monotonic() - began < 20
    assert (done.returncode, done.stdout) == (1, "cleaned\n")
    assert "no sign of life from SGLang for 1 s" in done.stderr


def test_the_watchdog_ends_a_program_whose_engine_died() -> None:
    done = watched("state[1] = 'exit code -9'; time.sleep(60)")
    assert (done.returncode, done.stdout) == (1, "cleaned\n")
    assert "process died (exit code -9)" in done.stderr


@pytest.mark.parametrize("sign", ["dog.beat()", "state[0] += 1"])
def test_the_watchdog_leaves_a_program_alone_that_moves(sign: str) -> None:
    done = watched(f"for _ in range(6):\n    time.sleep(0.4)\n    {sign}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "survived\n", "")


def test_sockets_get_a_short_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import tempfile

    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    folder = Path(socket_folder())
    assert len(str(folder)) < 80
    assert tempfile.gettempdir() == str(folder)
    folder.rmdir()
