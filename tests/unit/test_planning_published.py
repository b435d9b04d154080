"""The estimates against numbers that others published; each test names where they stand.

What is left open there (mean length of answers, GPUs of an engine) is said. The bounds of `make plan` come from here.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from common.datasheet import GPUS
from configuration import read_schema, resolve
from grpo.shape import Qwen3Shape
from planning.machine import SLIME, Task, own_loop
from planning.memory import BEFORE_SERVER, footprint, layer_activations
from planning.model import ASSUMED, cache_bytes, forward_flops, weights
from planning.pace import FACTOR, LEAST_WEIGHTS, UTILISATION, sampling_seconds, update_seconds
from planning.refusal import MEMORY_ERROR
from training_plan import described, plan_of

# How far the comparisons below lie apart at most, as plan and README say it.
STATES_ERROR, PEAK_ERROR = 0.03, 0.05
PROJECT = Path(__file__).parents[2]
SCHEMA = read_schema(PROJECT / "config" / "schema.yaml")
MIB, GIB = 1024**2, 1024**3
QWEN3_4B = ASSUMED["Qwen/Qwen3-4B-Thinking-2507"]


def shape(
    layers: int, hidden: int, heads: int, groups: int, ffn: int, vocabulary: int, tied: bool = True
) -> Qwen3Shape:
    """A model of which only the sizes count."""
    return Qwen3Shape(layers, hidden, heads, groups, hidden // heads, ffn, vocabulary, 1e4, 1e-6, tied, 8192)


# Training log of open-sci-ref 1.7B (github.com/LAION-AI/open-sci-ref-0.01) on LEONARDO, 2025-03-31: Megatron-LM on
# 252 A100, tensor 1, micro-batch 4 x 4096, bf16, distributed optimiser, flash attention, QK norm, SwiGLU, tied.
LAION = shape(24, 2048, 32, 32, 8192, 50304)


def test_readme_and_plan_say_what_is_shown_here() -> None:
    readme = " ".join((PROJECT / "README.md").read_text().split())
    states, peak = f"{100 * STATES_ERROR:.0f}%", f"{100 * PEAK_ERROR:.0f}%"
    assert f"weights and cache of two SGLang servers within {states}; the peak of the other training within {peak}" in (
        readme
    )
    settings = resolve(yaml.safe_load((PROJECT / "config" / "qwen3-4b.yaml").read_text()), SCHEMA)
    plan = plan_of(settings, Path("nowhere"), GPUS["h100"])
    assert plan is not None
    last = described(plan).splitlines()[-1]
    assert f"of two trainings and memory of two servers within {states}" in last
    assert f"one training's peak, with its own loss, within {peak} (allow {100 * MEMORY_ERROR:.0f}%)" in last


def test_weights_and_states_of_a_megatron_run() -> None:
    # "Number of parameters in most loaded shard in billions: 1.7138"
    # "Theoretical memory footprints: weight and optimizer=9884.48 MB"; "memory (MB) | allocated: 9909.07763671875"
    assert weights(LAION) == pytest.approx(1.7138e9, abs=0.0001e9)
    engine = SLIME
    states = weights(LAION) * (engine.weights + engine.gradients + engine.optimiser / 252) / MIB
    assert states == pytest.approx(9909.08, rel=0.005)


def test_peak_memory_of_a_megatron_run() -> None:
    # "max allocated: 50277.15625" MB, with --recompute-activations, which keeps all but scores, that flash attention
    # never has. Of the loss: logits in bfloat16, in float32, and their exponentials: 10 bytes.
    engine = dataclasses.replace(SLIME, recompute=False, loss=10)
    states = weights(LAION) * (engine.weights + engine.gradients + engine.optimiser / 252)
    tokens = 4 * 4096
    peak = states + layer_activations(LAION, 2, 1) * 24 * tokens + tokens * LAION.vocabulary * engine.loss
    assert peak / MIB == pytest.approx(50277, rel=PEAK_ERROR)
    # Control: without logits or with full recomputation, as if another run, it is far off.
    assert (peak - tokens * LAION.vocabulary * engine.loss) / MIB < 50277 / (1 + MEMORY_ERROR)


# Qwen3-4B on NVIDIA Megatron-Bridge, pretraining on 1 to 4 H200 (github.com/nagarajankarthik/paip at 2268a2c,
# W2D3/distributed_training.md, with the settings in W2D3/qwen3_pretrain_override.yaml; an earlier edition in
# github.com/aisingapore/PAIP-Pretrain): bf16, gradients and Adam's state in float32, 32 sequences a step.
H200 = GPUS["h200"].memory
PRETRAINING = dataclasses.replace(SLIME, recompute=False, loss=10, server=False)  # the loss as in the run above


def pretraining(model: Qwen3Shape, sharded: bool, tensor: int, data: int) -> float:
    """GB of weights, gradients and optimiser."""
    task = Task(tensor, 1, 1, data, 32, 1, 0, 1024, 1024, 0.0, 1)
    parts = footprint(model, dataclasses.replace(PRETRAINING, sharded=sharded), task, H200).training
    return sum(parts[name] for name in ("weights", "gradients", "optimiser")) / 1e9


@pytest.mark.parametrize(
    ("sharded", "tensor", "data", "allocated"),
    [
        # "mem-allocated-gigabytes after one training iteration".
        (False, 1, 1, 73.65),
        (False, 1, 4, 73.65),
        (True, 1, 2, 48.46),  # "FSDP with optimizer state sharding only"
        (True, 1, 4, 36.39),
        (False, 2, 1, 37.03),
        (False, 4, 1, 18.61),
    ],
)
def test_weights_and_states_of_the_same_model(sharded: bool, tensor: int, data: int, allocated: float) -> None:
    assert pretraining(QWEN3_4B, sharded, tensor, data) == pytest.approx(allocated, rel=STATES_ERROR)
    # Controls: an output layer of its own, keys and values for every head, a state that is not where it is.
    untied = dataclasses.replace(QWEN3_4B, tied_embeddings=False)
    ungrouped = dataclasses.replace(QWEN3_4B, query_groups=QWEN3_4B.heads)
    for other in (untied, ungrouped):
        assert pretraining(other, sharded, tensor, data) > 1.05 * allocated
    if data > 1:
        assert pretraining(QWEN3_4B, not sharded, tensor, data) != pytest.approx(allocated, rel=0.2)


@pytest.mark.parametrize(
    ("length", "sequences", "tensor", "context", "recompute", "fits"),
    [
        # "For a micro batch size of 16, a CUDA out of memory error is encountered."
        (1024, 8, 1, 1, False, True),
        (1024, 16, 1, 1, False, False),
        # Sequences of 16,384: without recomputation "errors related to insufficient memory"; "the training only works
        # when activation recomputation is set to full", or over two GPUs, whose step times are given.
        (16384, 1, 1, 1, False, False),
        (16384, 1, 1, 1, True, True),
        (16384, 1, 2, 1, False, True),
        (16384, 1, 1, 2, False, True),
    ],
)
def test_what_fits_an_h200_and_what_does_not(
    length: int, sequences: int, tensor: int, context: int, recompute: bool, fits: bool
) -> None:
    task = Task(tensor, 1, context, 1, 32, 1, 0, length, length * sequences // context, 0.0, 1)
    engine = dataclasses.replace(PRETRAINING, sharded=False, recompute=recompute)
    assert (sum(footprint(QWEN3_4B, engine, task, H200).training.values()) < H200) == fits


@pytest.mark.parametrize(
    ("length", "seconds", "teraflops"),
    [(1024, 3.37, 243.23), (1024, 2.14, 382.64), (1024, 1.86, 441.32), (16384, 56.33, 359.53)],
)
def test_operations_and_utilisation_of_the_same_model(length: int, seconds: float, teraflops: float) -> None:
    # On one H200: "Step time (s)" and "TFLOP/s/GPU" with 1, 2 and 8 sequences at a time, and with full recomputation.
    assert 3 * forward_flops(QWEN3_4B, length) * length * 32 / seconds / 1e12 == pytest.approx(teraflops, rel=0.003)
    assert 1 / FACTOR < UTILISATION * GPUS["h200"].bf16 / 1e12 / teraflops < FACTOR


@pytest.mark.parametrize(
    ("model", "length", "tokens", "teraflops"),
    [
        # NVIDIA NeMo Megatron-Bridge 25.11, docs.nvidia.com/nemo/megatron-bridge/latest/performance-summary.html,
        # DGX-H100: tokens/s/GPU and model TFLOP/s/GPU of the same run.
        (shape(32, 4096, 32, 8, 14336, 128256, tied=False), 8192, 14451, 744),
        (shape(80, 8192, 64, 8, 28672, 128256, tied=False), 8192, 1602, 719),
    ],
)
def test_operations_of_published_pretraining(model: Qwen3Shape, length: int, tokens: int, teraflops: int) -> None:
    assert 3 * forward_flops(model, length) * tokens / 1e12 == pytest.approx(teraflops, rel=0.002)


def test_operations_of_a_run_that_counts_all_of_the_attention() -> None:
    # The same log: "elapsed time per iteration (ms): 1211.9 | throughput per GPU (TFLOP/s/GPU): 171.7"; Megatron counts
    # attention without the causal mask: as for sequences twice as long here.
    assert 3 * forward_flops(LAION, 2 * 4096) * 4 * 4096 / 1.2119 / 1e12 == pytest.approx(171.7, rel=0.002)


@pytest.mark.parametrize(
    ("layers", "hidden", "heads", "batch", "gpus", "seconds", "utilisation"),
    [(48, 6144, 64, 4, 8, 1.10, 0.415), (96, 12288, 96, 64, 64, 13.75, 0.514)],
    ids=["22B", "175B"],
)
def test_utilisation_of_korthikanti_et_al(
    layers: int, hidden: int, heads: int, batch: int, gpus: int, seconds: float, utilisation: float
) -> None:
    # arXiv 2205.05198, tables 3 and 5: iteration time and model FLOPs utilisation on A100, 2048 tokens, vocabulary
    # 51,200. Their feed-forward layers are 4 hidden wide and have two matrices: 8/3 hidden with three.
    model = shape(layers, hidden, heads, heads, 8 * hidden // 3, 51200)
    flops = 3 * forward_flops(model, 2 * 2048) * batch * 2048
    assert flops / (gpus * seconds * GPUS["a100"].bf16) == pytest.approx(utilisation, rel=0.005)


def test_times_of_grpo_on_the_same_model() -> None:
    # github.com/vllm-project/vime/issues/244: Qwen3-4B, GRPO on a fork of slime, 8 x H800 (an H100's speed), 4 to train
    # with tensor 2 and 4 to sample; 32 x 8 answers of at most 2048 tokens, means over 50 steps. Left open: how many
    # answers ran to the limit. Published: rollout 23.8 s, training 16.8 s. The share of the bandwidth was chosen
    # with this run in view; the next test is independent of it.
    task = Task(2, 1, 1, 2, 256, 8, 150, 2048, 9216, 0.7, 1)
    h800 = GPUS["h100"]
    rollout = sampling_seconds(QWEN3_4B, h800, 64, 64, task.prompt, task.answer)
    assert 1 / FACTOR < rollout / 23.8 < FACTOR
    assert 1 / FACTOR < update_seconds(QWEN3_4B, SLIME, task, h800) / 16.8 < FACTOR


@pytest.mark.parametrize("published", [55.51, 87.94])
def test_speed_of_the_longest_answer_of_an_8b_model(published: float) -> None:
    # github.com/RL-Align/RL-Kernel/pull/377: Qwen3-8B on 8 x H100, 8 x 16 answers of at most 7168 tokens; tokens/s of
    # the longest answer, with two kinds of kernels. Left open: GPUs of an engine; taken as one, 16 answers each.
    model = dataclasses.replace(QWEN3_4B, hidden=4096, ffn=12288, tied_embeddings=False)
    assert weights(model) == pytest.approx(8.19e9, rel=0.001)
    speed = 7168 / sampling_seconds(model, GPUS["h100"], 16, 16, 200, 7168)
    assert 1 / FACTOR < speed / published < FACTOR


QWEN3_14B = dataclasses.replace(QWEN3_4B, layers=40, hidden=5120, heads=40, ffn=17408, tied_embeddings=False)


@pytest.mark.parametrize(
    ("gpus", "memory", "share", "weights_gib", "tokens", "cache_gib"),
    [
        # github.com/ugyhybnb/sglang-performance-test at 2265f92, 项目A-v2-服务基线.md: Qwen3-14B on 4 x RTX 4090
        # ("24564 MiB"), tp_size=4, mem_fraction_static=0.8: "Load weight end. ... mem usage=7.08 GB", "KV Cache is
        # allocated. #tokens: 298447, K size: 5.69 GB, V size: 5.69 GB". SGLang's GB are GiB. This run chose
        # BEFORE_SERVER: without it the cache would be 8% larger.
        (4, 24564 * MIB, 0.80, 7.08, 298447, 11.38),
        # github.com/xorbitsai/inference/issues/3481: Qwen3-14B on one GPU of 48 GB, of which "avail mem=19.67 GB, mem
        # usage=27.57 GB" gives what is free before; "#tokens: 91749, K size: 7.00 GB, V size: 7.00 GB". The share is
        # not said: 0.88 was the default for one GPU then.
        (1, (19.67 + 27.57) * GIB + BEFORE_SERVER, 0.88, 27.57, 91749, 14.00),
    ],
    ids=["4 x RTX 4090", "48 GB"],
)
def test_weights_and_cache_of_sglang(
    gpus: int, memory: float, share: float, weights_gib: float, tokens: int, cache_gib: float
) -> None:
    assert weights(QWEN3_14B) == pytest.approx(14.77e9, rel=0.001)
    # One GPU's part of a token.
    assert cache_bytes(QWEN3_14B, 2) / gpus == pytest.approx(cache_gib * GIB / tokens, rel=0.002)
    task = Task(gpus, 1, 1, 1, 1, 1, 0, 1, 1, share, gpus)
    found = footprint(QWEN3_14B, SLIME, task, memory)
    assert found.sampling["server's weights"] / GIB == pytest.approx(weights_gib, rel=STATES_ERROR)
    assert found.sampling["server's cache"] / GIB == pytest.approx(cache_gib, rel=STATES_ERROR)
    assert found.at_once is not None
    assert found.at_once * gpus == pytest.approx(tokens, rel=STATES_ERROR)
    # Controls: the output layer forgotten, and keys and values for every head.
    tied = footprint(dataclasses.replace(QWEN3_14B, tied_embeddings=True), SLIME, task, memory)
    assert tied.sampling["server's weights"] / GIB != pytest.approx(weights_gib, rel=0.05)
    ungrouped = footprint(dataclasses.replace(QWEN3_14B, query_groups=40), SLIME, task, memory)
    assert ungrouped.at_once is not None
    assert ungrouped.at_once * gpus < tokens / 4


def test_a_token_of_a_model_that_four_gpus_share() -> None:
    # The same, sglang-performance-test-final-report.md: answers of 64 tokens, "mean TPOT 12.13 ms" at 1.38 answers a
    # second of 0.89 s each: hardly more than one at a time. 4 x RTX 4090: 1.008 TB/s each.
    gpu = dataclasses.replace(GPUS["l40s"], bandwidth=1.008e12, bf16=165e12)
    step = sampling_seconds(QWEN3_14B, gpu, 1, 1, 512, 64, gpus=4) / 64
    assert 1 / FACTOR < step / 0.01213 < FACTOR


def test_cache_of_the_model_by_hand() -> None:
    assert cache_bytes(QWEN3_4B, 2) == 2 * 36 * 8 * 128 * 2 == 147_456


def test_what_was_measured_here_is_too_small_to_be_said_in_advance() -> None:
    # The demo's model on an H100 waits for launches.
    path = PROJECT / "benchmarks" / "results" / "train-cpu-and-h100.json"
    measured = json.loads(path.read_text())["median_of_iterations_6_and_later"]["cuda, 256 prompts"]
    tiny = Qwen3Shape(2, 64, 4, 2, 16, 192, 304, 1e4, 1e-6, True, 256)
    task = Task(1, 1, 1, 1, 256 * 8, 8, 19, 9, 16384, 0.7, 1)
    assert measured["update_seconds"] > 20 * update_seconds(tiny, own_loop(), task, GPUS["h100"])
    assert measured["rollout_seconds"] > 20 * sampling_seconds(tiny, GPUS["h100"], 2048, 2048, 19, 9, 4)
    assert weights(tiny) < LEAST_WEIGHTS
