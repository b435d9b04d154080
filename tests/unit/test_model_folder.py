"""The model folder that is asked: what is read of it, what is refused, which of its files the answers depend on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_inputs import edit_json
from tests.tiny_model import write_tiny_model

from base_model import check_tokenizer
from common.errors import InputError
from common.files import sha256
from common.model_folder import content_sum
from inference.model import read_model

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to spoil."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


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
        (lambda f: edit_json(f / "config.json", architectures=["LlamaForCausalLM"]), "only Qwen3ForCausalLM"),
        (lambda f: edit_json(f / "config.json", architectures=["Qwen3MoeForCausalLM"]), "only Qwen3ForCausalLM"),
        (lambda f: edit_json(f / "config.json", vocab_size="many"), "vocab_size is 'many'"),
        (lambda f: edit_json(f / "config.json", num_hidden_layers=True), "num_hidden_layers is True, not a positive"),
        (lambda f: edit_json(f / "config.json", num_hidden_layers=10**400), r"num_hidden_layers is 10+\.\.\., not a"),
        (lambda f: edit_json(f / "config.json", rope_theta=10**400), r"rope_theta is 10+\.\.\., not a positive number"),
        (lambda f: edit_json(f / "config.json", head_dim="16"), "head_dim is '16', not a positive whole number"),
        (lambda f: edit_json(f / "config.json", head_dim=7), "head_dim is 7, not even"),
        (lambda f: edit_json(f / "config.json", head_dim=None, hidden_size=60), "head_dim is 15, not even"),
        (lambda f: edit_json(f / "config.json", intermediate_size=96), r"gate_proj.weight has shape \[128, 64\]"),
        (lambda f: edit_json(f / "config.json", num_key_value_heads=1), "k_proj.weight has shape"),
        (lambda f: edit_json(f / "config.json", vocab_size=320), "embed_tokens.weight has shape"),
        (lambda f: edit_json(f / "config.json", num_hidden_layers=3), "layers.2.input_layernorm.weight is missing"),
        (lambda f: edit_json(f / "config.json", tie_word_embeddings=False), "lm_head.weight is missing"),
        (lambda f: edit_json(f / "generation_config.json", eos_token_id={}), "is no token's number"),
        (lambda f: edit_json(f / "config.json", eos_token_id=["2"]), "is no token's number"),
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


@pytest.mark.parametrize("content", ["[]", '{"added_tokens_decoder": {"0": null}}', '{"tokenizer_class": 3}'])
def test_a_base_model_with_a_broken_tokenizer_is_refused_in_one_line(own: Path, content: str) -> None:
    (own / "tokenizer_config.json").write_text(content)
    with pytest.raises(InputError, match="the tokenizer cannot be read") as caught:
        check_tokenizer(own, 304)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_model(tmp_path / "nowhere")


# --- what the answers depend on


@pytest.mark.parametrize("name", ["model.json", "README.md", "LICENSE", ".snakemake_timestamp"])
def test_records_and_texts_for_people_are_no_part_of_the_answers(own: Path, name: str) -> None:
    before, whole = content_sum(own), sha256(own)
    (own / name).write_text('{"name": "Tiny", "parameters": {"keep": 2}}')
    one = content_sum(own)
    (own / name).write_text('{"name": "Tiny", "parameters": {"keep": 3}}')
    assert before == one == content_sum(own)
    assert whole != sha256(own)  # the control: the folder itself is another one


@pytest.mark.parametrize(
    "name",
    [
        *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        *("special_tokens_map.json", "chat_template.jinja", "merges.txt", "more/template.jinja"),
    ],
)
def test_any_other_file_counts(own: Path, name: str) -> None:
    before = content_sum(own)
    (own / name).parent.mkdir(exist_ok=True)
    with open(own / name, "ab") as handle:
        handle.write(b" ")
    assert content_sum(own) != before


def test_hashes_that_are_known_are_not_made_again(own: Path) -> None:
    before = content_sum(own)
    known = {WEIGHTS: sha256(own / WEIGHTS)}
    (own / WEIGHTS).write_bytes(b"")
    assert content_sum(own, known) == before != content_sum(own)


def test_a_renamed_file_counts(own: Path) -> None:
    before = content_sum(own)
    (own / "chat_template.jinja").rename(own / "chat_template.old")
    assert content_sum(own) != before
