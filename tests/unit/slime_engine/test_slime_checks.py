"""What is looked at before Ray starts."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.errors import InputError
from slime_engine import checks, cluster
from slime_engine.cluster import Programs, own_variables

PROGRAMS = Programs(Path("/slime/train.py"), Path("/megatron"), "/bin/ray")


def test_the_reward_can_be_imported_where_slime_runs(tmp_path: Path) -> None:
    imports = cluster.link_imports(tmp_path / "imports")
    variables = own_variables(os.environ, PROGRAMS, imports, "127.0.0.1:1")
    checks.check_reward("slime_engine.hooks.reward", variables)
    with pytest.raises(InputError, match=r"cannot be imported .*no attribute 'missing'"):
        checks.check_reward("slime_engine.hooks.missing", variables)
    with pytest.raises(InputError, match="is no coroutine function"):
        checks.check_reward("slime_engine.hooks.answer_text", variables)
    with pytest.raises(InputError, match="No module named 'slime_engine'"):
        checks.check_reward("slime_engine.hooks.reward", variables | {"PYTHONPATH": ""})


def test_a_data_file_that_slime_would_not_read_is_refused(tmp_path: Path) -> None:
    checks.check_samples(tmp_path / "train.jsonl", 8, 8)
    with pytest.raises(InputError, match=r"names end in \.jsonl"):
        checks.check_samples(tmp_path / "train.json", 8, 8)
    with pytest.raises(InputError, match="7 samples, but an iteration asks 8"):
        checks.check_samples(tmp_path / "train.jsonl", 7, 8)


class Words:
    """A tokenizer of words."""

    chat_template = "{{ words }}"
    eos_token_id = 2

    def apply_chat_template(self, prompts: list[list[dict[str, str]]], add_generation_prompt: bool) -> list[list[str]]:
        return [prompt[0]["content"].split() for prompt in prompts]

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return {1: "<|endoftext|>", 2: "<|im_end|>"}[ids[0]]


def test_lengths_leave_no_prompt_out() -> None:
    rows = [{"prompt": [{"content": "a b"}]}, {"prompt": [{"content": "a b c d"}]}]
    lengths = checks.prompt_lengths(Words(), {Path("t.jsonl"): rows}, 6, 100)
    assert (lengths.prompt, lengths.answer, lengths.context) == (4, 6, 18)
    assert checks.prompt_lengths(Words(), {Path("t.jsonl"): rows}, 6, 10).context == 10
    with pytest.raises(InputError, match=r"t.jsonl, line 2: prompt of 4 tokens and 7 new ones exceed the model's 10"):
        checks.prompt_lengths(Words(), {Path("t.jsonl"): rows}, 7, 10)
    with pytest.raises(InputError, match="no chat template"):
        checks.prompt_lengths(SimpleNamespace(chat_template=None), {Path("t.jsonl"): rows}, 6, 100)


def test_every_token_that_ends_an_answer_is_known(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [2, 1]}')
    assert checks.stop_texts(tmp_path, Words()) == ["<|endoftext|>", "<|im_end|>"]
