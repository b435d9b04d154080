"""What SGLang is told, by its own reading: a misspelt argument, or one that means something else there, fails here.

Its ServerArgs is built as on a GPU of 80 GB, in a program of its own, without one.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_model import write_tiny_model

from common.errors import InputError
from inference.model import Model, read_model
from inference.settings import ATTENTION, CACHED, HEAD_SIZES, Hardware, Load, engine_settings

ROOT = Path(__file__).parents[2]
MODEL = Model(Path("qwen"), "Qwen3", 151_936, 262_144, 32, 8, 128, 9728, 2 * 4 * 36 * 8 * 128, frozenset({151_645}))
THINKING = Load(batch=2048, longest=34_000, max_new_tokens=32_768, greedy=False, constrained=True)
PROGRAM = """
import json, sys
sys.path.insert(0, "scripts")
from inference.processes import prepare_process
from inference.settings import Hardware
prepare_process(Hardware("cpu"), 1)
from sglang.srt import server_args
server_args.get_device_memory_capacity = lambda device: 80 * 1024
found = []
for settings in json.loads(sys.stdin.read()):
    try:
        taken = server_args.ServerArgs(**settings)
        taken.check_server_args()
        found.append({name: getattr(taken, name) for name in [*settings, "sampling_backend", "chunked_prefill_size"]})
    except Exception as error:
        found.append(f"{type(error).__name__}: {error}")
print(json.dumps(found))
"""


def read_by_sglang(*settings: Any) -> list[Any]:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(command, input=json.dumps(settings), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Settings on CUDA: each attention, and a model spread over processes, copied, and both."""
    model = read_model(write_tiny_model(tmp_path_factory.mktemp("model") / "tiny", context=262_144))
    hardware = [Hardware("cuda", attention=name, prefix_cache=name in CACHED) for name in ATTENTION]
    hardware += [Hardware("cuda", tensor=2, prefix_cache=True), Hardware("cuda", data=8), Hardware("cuda", 2, 4)]
    return [dict(engine_settings(model, one, THINKING, 900)) for one in hardware]


@pytest.fixture(scope="module")
def found(settings: list[dict[str, Any]]) -> list[Any]:
    """How SGLang reads them; behind them one that it changes, and two that it must refuse."""
    changed = {**settings[ATTENTION.index("flashinfer")], "disable_radix_cache": False}
    misspelt = {**settings[0], "mem_fraction": 0.5}
    other_kernels = {**settings[0], "attention_backend": "torch_native"}
    return read_by_sglang(*settings, changed, misspelt, other_kernels)


def test_sglang_takes_every_argument_as_it_is_given(settings: list[dict[str, Any]], found: list[Any]) -> None:
    for given_, taken in zip(settings, found, strict=False):
        assert isinstance(taken, dict), taken
        assert {name: taken[name] for name in given_} == given_
        assert taken["sampling_backend"] == "pytorch"  # the one that draws by seeds


def test_the_cache_is_refused_with_kernels_for_which_sglang_turns_it_off(found: list[Any]) -> None:
    assert found[-3]["disable_radix_cache"] is True  # what was said to it is that it keeps one
    for attention in set(ATTENTION) - set(CACHED):
        with pytest.raises(InputError, match=f"prefix_cache: with infer.attention: {attention}"):
            Hardware("cuda", attention=attention, prefix_cache=True).check()
        Hardware("cuda", attention=attention).check()
        Hardware("cpu", attention=attention, prefix_cache=True).check()  # has other kernels
    for attention in CACHED:
        Hardware("cuda", attention=attention, prefix_cache=True).check()


def test_heads_that_sglang_has_no_kernels_for_on_cuda_are_refused() -> None:
    # SGLang's own condition, beside which it imports vLLM.
    source = Path(str(importlib.metadata.distribution("sglang").locate_file("sglang/srt/layers/rotary_embedding.py")))
    (sizes,) = re.findall(r"not \(_is_cuda or _is_npu\) or self\.head_size not in \[([\d, ]+)\]", source.read_text())
    rotated = {int(size) for size in sizes.split(",")}
    assert rotated == {*HEAD_SIZES, 512}
    for size in (16, 80, *sorted(rotated)):
        model = dataclasses.replace(MODEL, head_size=size)
        Hardware("cpu").check_model(model)
        if size in HEAD_SIZES:
            Hardware("cuda").check_model(model)
            continue
        with pytest.raises(InputError, match=f"qwen: heads of {size}; on CUDA SGLang has kernels for 64, 128, 256"):
            Hardware("cuda").check_model(model)


def test_a_misspelt_argument_and_other_kernels_are_refused(found: list[Any]) -> None:
    misspelt, other_kernels = found[-2:]
    assert "unexpected keyword argument 'mem_fraction'" in misspelt
    assert "attention backends are supported for deterministic inference" in other_kernels


# --- by themselves


def settings_on(hardware: Hardware, load: Load = THINKING) -> Any:
    return engine_settings(MODEL, hardware, load, 300)


def test_on_cuda_it_is_deterministic_in_16_bits_with_the_memory_that_was_set() -> None:
    greedy = Load(1706, 34_000, 32_768, greedy=True)
    for load in (THINKING, greedy):
        found = settings_on(Hardware("cuda", memory_fraction=0.7), load)
        assert found["enable_deterministic_inference"] is True
        assert (found["dtype"], found["attention_backend"], found["mem_fraction_static"]) == ("bfloat16", "fa3", 0.7)
    assert settings_on(Hardware("cpu"), greedy)["enable_deterministic_inference"] is False


def test_the_context_is_as_long_as_the_longest_answer_needs_and_no_longer() -> None:
    assert 34_000 < settings_on(Hardware("cuda"))["context_length"] < 34_100
    full = Load(8, MODEL.context, 32_768, greedy=True)
    assert settings_on(Hardware("cuda"), full)["context_length"] == MODEL.context


def test_a_grammar_and_the_tokenizer_are_loaded_for_a_second_pass_only() -> None:
    found = settings_on(Hardware("cuda"))
    assert (found["grammar_backend"], found["skip_tokenizer_init"]) == ("llguidance", False)
    found = settings_on(Hardware("cuda"), Load(8, 100, 50, greedy=True))
    assert (found["grammar_backend"], found["skip_tokenizer_init"]) == ("none", True)


@given(st.integers(1, 40_000))
def test_an_unfinished_answer_says_that_it_lives_but_not_too_often(tokens: int) -> None:
    every = settings_on(Hardware("cuda"), Load(8, tokens + 100, tokens, greedy=True))["stream_interval"]
    assert every >= 50
    assert tokens / every <= 32


def test_processes_that_share_a_model_get_a_port_to_meet_at() -> None:
    assert settings_on(Hardware("cuda"))["nccl_port"] == 0  # any
    assert settings_on(Hardware("cuda", data=4))["nccl_port"] == 0
    assert settings_on(Hardware("cuda", tensor=2))["nccl_port"] is None  # SGLang looks for one


def test_the_copies_share_the_batch() -> None:
    assert settings_on(Hardware("cuda", data=8))["max_running_requests"] == 256


def test_answers_may_depend_on_kernels_and_on_how_a_model_is_split_but_not_on_its_copies() -> None:
    one = Hardware("cuda").meaning()
    assert Hardware("cuda", data=8, memory_fraction=0.5).meaning() == one
    for other in (Hardware("cuda", tensor=2), Hardware("cuda", attention="triton"), Hardware("cpu")):
        assert other.meaning() != one
    assert Hardware("cpu", data=2).meaning() == {"device": "cpu"}


@pytest.mark.parametrize(("tensor", "what"), [(5, "32 attention heads"), (64, "32 attention heads")])
def test_a_model_is_split_evenly_or_not_at_all(tensor: int, what: str) -> None:
    for fine in (1, 2, 4, 8, 16, 32):
        MODEL.check_split(fine)
    with pytest.raises(InputError, match=what):
        MODEL.check_split(tensor)
