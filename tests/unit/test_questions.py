"""The questions: samples in the model's own chat template, and which samples are refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from report_inputs import edit_json
from tests.tiny_model import sample_rows, write_tiny_model

from common.errors import InputError
from inference.model import read_model
from inference.questions import ask, load_tokenizer, read_samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to spoil."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


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
    edit_json(own / "config.json", eos_token_id=None)
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
