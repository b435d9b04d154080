"""Memory and time of a training: counted by hand on a small model, and what has to hold for any."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_model import write_tiny_model

from common.datasheet import GPUS
from grpo.hugging_face import read_tensors
from grpo.shape import Qwen3Shape, read_shape
from planning.machine import SLIME, Task, own_loop
from planning.memory import (
    OVERHEAD,
    OVERHEAD_WITH_SERVER,
    footprint,
    layer_activations,
    main_memory,
    micro_batch,
    own_layer_activations,
)
from planning.model import ASSUMED, cache_bytes, forward_flops, weights
from planning.pace import pace, sampling_seconds, update_seconds

REAL = ASSUMED["Qwen/Qwen3-4B-Thinking-2507"]
SMALL = Qwen3Shape(
    layers=2,
    hidden=8,
    heads=4,
    query_groups=2,
    head_dim=4,
    ffn=10,
    vocabulary=100,
    rope_base=1e4,
    norm_epsilon=1e-6,
    tied_embeddings=True,
    max_positions=64,
)
TASK = Task(2, 1, 1, 4, 1024, 8, 640, 2048, 8192, 0.7, 1)
H100 = GPUS["h100"]


def test_weights_are_those_of_the_tensors(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "tiny")
    tensors = read_tensors(folder, meta=True)
    assert weights(read_shape(folder)) == sum(tensor.numel() for tensor in tensors.values())


def test_a_small_model_by_hand() -> None:
    # A layer: queries 8 x 16, keys and values 2 x 8 x 8, output 16 x 8, feed-forward 3 x 8 x 10; norms 2 x 8 + 2 x 4.
    layer = 128 + 128 + 128 + 240
    assert weights(SMALL) == 2 * (layer + 24) + 8 + 100 * 8
    assert weights(dataclasses.replace(SMALL, tied_embeddings=False)) == weights(SMALL) + 800
    # Two for each weight of a matrix; attention: 2 layers, 2 products, 2 operations, 16 numbers, 5 tokens on average.
    assert forward_flops(SMALL, 10) == 2 * (2 * layer + 800) + 2 * 2 * 2 * 16 * 5
    assert cache_bytes(SMALL, 2) == 2 * 2 * 2 * 4 * 2
    # Norms and matrices 4 x 8; queries and keys 24; queries, keys, values, output 16 + 8 + 8 + 16; 3 x 10.
    assert layer_activations(SMALL, 2, 1) == 2 * (32 + 24 + 48 + 30)
    assert layer_activations(SMALL, 2, 2) == 32 + 24 + 48 + 30


def test_states_of_both_engines_by_hand() -> None:
    count = weights(REAL)
    own = footprint(REAL, own_loop(), dataclasses.replace(TASK, tensor=1, data=1), H100.memory).training
    # 20 bytes a weight: values, gradients, two moments, reference, all in float32.
    assert sum(own[name] for name in ("weights", "gradients", "optimiser", "reference")) == 20 * count
    slime = footprint(REAL, SLIME, TASK, H100.memory).training
    assert slime["weights"] + slime["gradients"] == 6 * count / 2
    assert slime["optimiser"] == 12 * count / 2 / 4
    assert (own["overhead"], slime["overhead"]) == (OVERHEAD, OVERHEAD_WITH_SERVER)


def test_states_of_the_own_loop_in_bfloat16_by_hand() -> None:
    count = weights(REAL)

    def states(optimizer: str) -> float:
        task = dataclasses.replace(TASK, tensor=1, data=4)
        parts = footprint(REAL, own_loop("bf16", optimizer), task, H100.memory).training
        return sum(parts[name] for name in ("weights", "gradients", "optimiser", "reference")) / count

    # Values 2, gradients 4, master weights and two moments 12, reference 2.
    assert states("replicated") == pytest.approx(20)
    assert states("distributed") == pytest.approx(8 + 12 / 4)
    assert states("offloaded") == pytest.approx(8)


def test_what_waits_in_main_memory_by_hand() -> None:
    # Two ranks share 8 x 32, 16 x 8, 20 x 8 and 10 x 8 in each of two layers, and 100 x 8: 128, 64, 80, 40 and 400
    # weights each, of 2 bytes: 256, 128, 160, 80 and 800, which take 256, 128, 256, 128 and 1024 bytes.
    copy = 2 * (2 * (256 + 128 + 256 + 128) + 1024)
    count = weights(SMALL)
    # Four copies of the model, each with weights and reference; and values 2, gradients 4, optimiser 12 / 4.
    parts = main_memory(SMALL, SLIME, TASK)
    assert parts == {"copies of weights": 4 * 2 * copy, "released trainers": 4 * (2 + 4 + 12 / 4) * count}
    kept = main_memory(SMALL, dataclasses.replace(SLIME, released=False), TASK)
    assert kept == {"copies of weights": 4 * 2 * copy}
    # Weights and gradients of 4 bytes each, twice a copy; and two moments.
    own = main_memory(SMALL, own_loop("bf16", "offloaded"), TASK)
    assert own == {"offloaded optimiser": 4 * (2 * 2 * copy + 8 * count)}
    assert main_memory(SMALL, own_loop("bf16", "distributed"), TASK) == {}
    # A pipeline's last stage has a tied embedding once more.
    stages = dataclasses.replace(TASK, pipeline=2)
    more = main_memory(SMALL, SLIME, stages)["released trainers"] - parts["released trainers"]
    assert more == 4 * (2 + 4 + 12 / 4) * 800


def test_the_own_loop_packs_whole_groups_and_slime_whole_answers() -> None:
    assert micro_batch(SLIME, TASK) == (8192, 8192)
    assert micro_batch(SLIME, dataclasses.replace(TASK, micro_batch=10)) == (2688, 2688)
    group = 640 + 8 * 2048
    assert micro_batch(own_loop(), TASK) == (group, 8 * 2048)
    twice = dataclasses.replace(TASK, micro_batch=2 * group)
    assert micro_batch(own_loop(), twice) == (2 * group, 2 * 8 * 2048)


def test_recomputation_keeps_an_input_a_layer_and_one_layer_more() -> None:
    kept = footprint(REAL, dataclasses.replace(SLIME, recompute=False), TASK, H100.memory).training["activations"]
    again = footprint(REAL, SLIME, TASK, H100.memory).training["activations"]
    assert kept == 36 * 8192 * layer_activations(REAL, 2, 2)
    assert again == 8192 * (36 * 2560 * 2 / 2 + layer_activations(REAL, 2, 2))
    # The own loop's ranks each hold a layer's whole input.
    own = own_loop("bf16", "distributed", recompute=True)
    (tokens, _), parts = micro_batch(own, TASK), footprint(REAL, own, TASK, H100.memory).training
    assert parts["activations"] == tokens * (36 * 2560 * 2 + own_layer_activations(REAL, 2, TASK))
    longer = update_seconds(REAL, SLIME, TASK, H100)
    assert longer / update_seconds(REAL, dataclasses.replace(SLIME, recompute=False), TASK, H100) == pytest.approx(
        6 / 5
    )


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 64), st.integers(1, 4096))
def test_more_ranks_take_no_more_memory_and_more_answers_no_less(
    tensor: int, data: int, samples: int, answer: int
) -> None:
    for engine in (SLIME, own_loop(), own_loop("bf16", "distributed", True)):
        task = dataclasses.replace(TASK, tensor=tensor, data=data, samples=samples * data, answer=answer)
        here = footprint(REAL, engine, task, H100.memory)
        split = footprint(REAL, engine, dataclasses.replace(task, tensor=2 * tensor), H100.memory)
        assert sum(split.training.values()) <= sum(here.training.values())
        shared = footprint(REAL, engine, dataclasses.replace(task, data=2 * data), H100.memory)
        assert shared.peak <= here.peak
        # In a full micro-batch of the own loop's, longer answers are fewer groups, whose prompts are repeated less.
        if engine.server or task.prompt + task.group * task.answer >= task.micro_batch:
            longer = footprint(REAL, engine, dataclasses.replace(task, answer=answer + 1), H100.memory)
            assert longer.peak >= here.peak
        assert all(size >= 0 for part in (here.training, here.sampling) for size in part.values())


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 4000))
def test_sampling_takes_as_long_as_it_has_waves(answers: int, at_once: int, length: int) -> None:
    some = sampling_seconds(REAL, H100, answers, at_once, 640, length)
    assert some > 0
    assert sampling_seconds(REAL, H100, 2 * answers, at_once, 640, length) >= some
    assert sampling_seconds(REAL, H100, answers, 2 * at_once, 640, length) <= some * 1.0001
    assert sampling_seconds(REAL, GPUS["h200"], answers, at_once, 640, length) <= some


def test_a_step_that_reads_the_weights_alone_by_hand() -> None:
    # One short answer: 8.04 GB at half of 3.35 TB/s, 100 times.
    seconds = sampling_seconds(REAL, H100, 1, 1, 0, 100)
    assert seconds == pytest.approx(100 * weights(REAL) * 2 / (0.5 * 3.35e12), rel=0.01)


def test_of_a_tiny_model_no_time_is_said() -> None:
    assert pace(SMALL, SLIME, TASK, H100, None) is None
