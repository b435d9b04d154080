"""Qwen's real vocabulary: special tokens, answers, and prompts within the planned lengths.

The vocabulary comes with the package qwen-agent. config.json and chat template do not: what is assumed of them is
compared where QWEN3_FOLDER names the real folder.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib.metadata
import os
from pathlib import Path

import numpy as np
import pytest
import tiktoken

from asking_plan import PROMPT
from grpo.shape import read_shape
from planning.model import ASSUMED
from trading.answers import BUY, OK, parse_answer
from trading.samples import make_samples
from trading.synthetic import Calibration, Settings, synthetic_bars

NAME = "Qwen/Qwen3-4B-Thinking-2507"
# Of Qwen2 and Qwen3: the vocabulary's ids go on with these; the two tags of a thought are ordinary text before Qwen3.
SPECIAL = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<think>": 151667, "</think>": 151668}
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# One turn of the user, and the beginning of a thought, as the thinking models' template writes them.
TEMPLATE = "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n<think>\n"


@pytest.fixture(scope="module")
def ranks() -> dict[bytes, int]:
    try:
        package = importlib.metadata.distribution("qwen-agent")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("qwen-agent, which has Qwen's vocabulary, is not installed (envs/test-nodeps.txt)")
    lines = Path(str(package.locate_file("qwen_agent/utils/qwen.tiktoken"))).read_bytes().splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}


@pytest.fixture(scope="module")
def qwen(ranks: dict[bytes, int]) -> tiktoken.Encoding:
    return tiktoken.Encoding("qwen", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens=SPECIAL)


@pytest.fixture(scope="module", params=[True, False], ids=["masked", "report"])
def prompts(request: pytest.FixtureRequest) -> tuple[str, list[str]]:
    """The 1706 test prompts of a market at the price of a bitcoin, six digits before the point."""
    bars, _ = synthetic_bars(Settings(), Calibration())
    assert bars.close.max() > 100_000
    bars = dataclasses.replace(bars, close=np.round(bars.close, 2))
    samples, _ = make_samples(bars, "report", request.param, 1706, 850)
    return "masked" if request.param else "report", [row["prompt"][0]["content"] for row in samples["test"]]


def test_the_special_tokens_follow_the_vocabulary_and_fit_the_model(ranks: dict[bytes, int]) -> None:
    assert sorted(ranks.values()) == list(range(151643))
    assert min(SPECIAL.values()) == len(ranks)
    assert max(SPECIAL.values()) < ASSUMED[NAME].vocabulary
    assert not any(text.encode() in ranks for text in SPECIAL)


def test_the_readme_names_all_that_is_assumed() -> None:
    readme = " ".join((Path(__file__).parents[2] / "README.md").read_text().split())
    shape = ASSUMED[NAME]
    assert shape.tied_embeddings
    assert (
        f"{shape.layers} layers, width {shape.hidden}, {shape.heads} heads in {shape.query_groups} groups of "
        f"{shape.head_dim}, feed-forward {shape.ffn}, vocabulary {shape.vocabulary:,}, RoPE base "
        f"{shape.rope_base:,.0f}, norm epsilon 1e-6, tied embeddings and {shape.max_positions:,} positions"
    ) in readme
    assert shape.norm_epsilon == 1e-6
    ids = sorted(SPECIAL.values())
    assert f"special tokens, {ids[0]:,} to {ids[2]:,}, {ids[3]:,} and {ids[4]:,}." in readme


def test_special_tokens_are_one_id_and_the_same_words_in_a_text_are_not(qwen: tiktoken.Encoding) -> None:
    for text, number in SPECIAL.items():
        assert qwen.encode(text, allowed_special="all") == [number]
        assert len(qwen.encode(text, disallowed_special=())) > 1


def test_an_answer_survives_the_vocabulary(qwen: tiktoken.Encoding) -> None:
    said = "The last bars fall.\n</think>\n\n<answer>Buy</answer>"
    ids = qwen.encode(said, allowed_special="all")
    assert parse_answer(qwen.decode(ids), False) == (BUY, OK)
    # Without the closing tag of the thought, which a cut answer lacks, there is no answer.
    assert parse_answer(qwen.decode(ids[:4]), True)[0] != BUY


def test_the_prompts_of_all_test_hours_are_as_long_as_planned(
    qwen: tiktoken.Encoding, prompts: tuple[str, list[str]]
) -> None:
    kind, texts = prompts
    lengths = [len(qwen.encode(TEMPLATE.format(prompt=text), allowed_special="all")) for text in texts]
    assert len(lengths) == 1706
    assert max(lengths) <= PROMPT[kind]
    # Not planned with a wide margin either: memory and time would be overstated.
    assert max(lengths) > 0.95 * PROMPT[kind]


@pytest.mark.skipif("QWEN3_FOLDER" not in os.environ, reason=f"QWEN3_FOLDER does not name a folder of {NAME}")
def test_the_real_folder_is_what_is_assumed_of_it(ranks: dict[bytes, int], prompts: tuple[str, list[str]]) -> None:
    from transformers import AutoTokenizer

    folder = Path(os.environ["QWEN3_FOLDER"])
    assert read_shape(folder) == ASSUMED[NAME]
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert {text: tokenizer.convert_tokens_to_ids(text) for text in SPECIAL} == SPECIAL
    kind, texts = prompts
    turns = [{"role": "user", "content": texts[0]}]
    assert tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) == TEMPLATE.format(
        prompt=texts[0]
    )
    chats = [[{"role": "user", "content": text}] for text in texts]
    lengths = [len(ids) for ids in tokenizer.apply_chat_template(chats, add_generation_prompt=True)]
    assert max(lengths) <= PROMPT[kind]
