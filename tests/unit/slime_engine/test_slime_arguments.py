"""The table of arguments: complete, and what it says for given settings."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import train
from common.errors import InputError
from slime_engine.arguments import ARGUMENTS, DONE_HERE, Job, Lengths, Paths, command_line, refuse
from slime_engine.layout import Layout
from slime_engine.model import check_parallel, check_vocabulary, check_weights, model_arguments, rows_multiple
from slime_engine.refusals import REFUSED

# Qwen3-4B-Thinking-2507, as its config.json is assumed to say.
SHAPE = {
    "layers": 36, "hidden": 2560, "heads": 32, "query_groups": 8, "head_dim": 128, "ffn": 9728,
    "vocabulary": 151936, "rope_base": 5e6, "norm_epsilon": 1e-06, "tied_embeddings": True, "max_positions": 262144,
}  # fmt: skip
REQUIRED = ["--iterations=500", "--prompts-per-iteration=128", "--group-size=8", "--max-new-tokens=4096"]
COMPUTE = ["--precision=bf16", "--optimizer=distributed", "--recompute"]
PATHS = ("weights", "base", "train", "validation", "checkpoints", "output-manifest", "output-metrics")


def settings(monkeypatch: pytest.MonkeyPatch, *more: str) -> argparse.Namespace:
    given = [
        *REQUIRED,
        "--learning-rate=1e-06",
        "--engine=slime",
        "--device=cuda",
        "--spike-action=log",
        *COMPUTE,
        *more,
    ]
    monkeypatch.setattr(sys, "argv", ["train.py", *(f"--{name}=x" for name in PATHS), *given])
    return train.arguments()


def job(given: argparse.Namespace, validation: bool = True) -> Job:
    at = Path
    paths = Paths(at("/b"), at("/r"), at("/s"), at("/t.jsonl"), at("/v.jsonl") if validation else None, at("/h.yaml"))
    return Job(given, paths, Lengths(900, given.max_new_tokens, 900 + given.max_new_tokens + 8), SHAPE)


def values(line: list[str]) -> dict[str, list[str]]:
    """Values of each flag."""
    found: dict[str, list[str]] = {}
    for word in line:
        if word.startswith("--"):
            assert word not in found, "given twice"
            found[word] = []
        else:
            found[list(found)[-1]].append(word)
    return found


def test_every_setting_of_training_is_mapped_done_here_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    mapped = {name for argument in ARGUMENTS for name in argument.settings}
    refused = {refusal.setting for refusal in REFUSED}
    known = {name for name, value in vars(settings(monkeypatch)).items() if not isinstance(value, Path)}
    assert mapped | set(DONE_HERE) | refused == known
    assert not mapped & set(DONE_HERE)


def test_the_line_of_the_paper_run(monkeypatch: pytest.MonkeyPatch) -> None:
    line = values(command_line(job(settings(monkeypatch, "--updates-per-iteration=2", "--data=8"))))
    expected = {
        "--advantage-estimator": "grpo", "--num-rollout": "500", "--rollout-batch-size": "128",
        "--n-samples-per-prompt": "8", "--num-steps-per-rollout": "2", "--global-batch-size": "512",
        "--eps-clip": "0.2", "--eps-clip-high": "0.28", "--kl-loss-coef": "0.04", "--kl-loss-type": "k3",
        "--entropy-coef": "0.001", "--lr": "1e-06", "--attention-dropout": "0.0", "--hidden-dropout": "0.0",
        "--rollout-max-prompt-len": "900", "--rollout-max-response-len": "4096", "--rollout-max-context-len": "4996",
        "--sglang-context-length": "5004", "--save-interval": "100", "--load": "/s", "--save": "/s",
        "--rotary-base": "5000000", "--num-query-groups": "8", "--kv-channels": "128", "--vocab-size": "151936",
        "--norm-epsilon": "1e-06", "--actor-num-nodes": "1", "--actor-num-gpus-per-node": "8",
        "--num-gpus-per-node": "8", "--custom-rm-path": "slime_engine.hooks.reward",
        "--custom-reward-post-process-path": "slime_engine.hooks.advantages",
    }  # fmt: skip
    assert {name: line[name] for name in expected} == {name: [value] for name, value in expected.items()}
    assert line["--eval-prompt-data"] == ["validation", "/v.jsonl"] if "--eval-interval" in line else True
    switches = {"--use-kl-loss", "--calculate-per-token-loss", "--qk-layernorm", "--colocate"}
    assert all(line[name] == [] for name in switches)
    absent = {"--disable-grpo-std-normalization", "--sequence-parallel", "--untie-embeddings-and-output-weights"}
    assert not (absent | {"--balance-data", "--rollout-shuffle", "--use-fault-tolerance", "--async-save"}) & line.keys()


@pytest.mark.parametrize(
    ("flag", "there", "gone"),
    [
        ("--kl-beta=0", [], ["--use-kl-loss", "--kl-loss-coef", "--kl-loss-type"]),
        ("--tensor=2", ["--sequence-parallel"], []),
        ("--no-slime-offload", ["--no-offload-train", "--no-offload-rollout"], []),
        ("--no-recompute", [], ["--recompute-granularity", "--recompute-method", "--recompute-num-layers"]),
        ("--validate-every=50", ["--eval-interval", "--eval-prompt-data", "--eval-temperature"], []),
        ("--validate-every=0", [], ["--eval-interval", "--eval-prompt-data", "--eval-temperature"]),
    ],
)
def test_switches(monkeypatch: pytest.MonkeyPatch, flag: str, there: list[str], gone: list[str]) -> None:
    line = command_line(job(settings(monkeypatch, flag)))
    assert set(there) <= set(line)
    assert not set(gone) & set(line)


def test_without_validation_samples_nothing_is_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    line = command_line(job(settings(monkeypatch, "--validate-every=50"), validation=False))
    assert not [word for word in line if "eval" in word]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--spike-action=skip"],
            "train.spike_action: given skip; allowed: log or stop, because slime takes its steps before",
        ),
        (["--device=cpu"], "device: given cpu; allowed: cuda"),
        (["--iterations=1"], "train.iterations: given 1; allowed: 2 or more"),
        (["--save-every=1"], "train.save_every: given 1; allowed: 2 or more"),
        (
            ["--iterations=25", "--save-every=10"],
            "train.iterations: given 25; allowed: up to save_every, or a multiple of it",
        ),
    ],
)
def test_what_slime_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch, flags: list[str], message: str) -> None:
    refuse(settings(monkeypatch))  # the control
    with pytest.raises(InputError, match=message):
        refuse(settings(monkeypatch, *flags))


@pytest.mark.parametrize(("iterations", "save_every"), [(500, 100), (20, 100), (2, 2), (100, 100)])
def test_the_last_iteration_is_saved(monkeypatch: pytest.MonkeyPatch, iterations: int, save_every: int) -> None:
    given = settings(monkeypatch, f"--iterations={iterations}", f"--save-every={save_every}")
    refuse(given)
    (interval,) = values(command_line(job(given)))["--save-interval"]
    # slime.utils.misc.should_run_periodic_action, for the last rollout.
    assert (iterations - 1 + 1) % int(interval) == 0
    assert int(interval) >= 2  # Megatron cannot read the number of a checkpoint after the first rollout


def test_settings_of_slime_are_no_part_of_another_engines_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *(f"--{n}=x" for n in PATHS), *REQUIRED, "--learning-rate=1"])
    assert not [name for name in vars(train.arguments()) if name.startswith("slime")]


# --- the model ---


def sizes(**changed: Any) -> dict[str, tuple[int, ...]]:
    s = {**SHAPE, **changed}
    layers, d, h = s["layers"], s["head_dim"], s["hidden"]
    attention, mlp = "decoder.layers.self_attention.", "decoder.layers.mlp."
    return {
        "embedding.word_embeddings.weight": (s["vocabulary"], h),
        f"{attention}linear_qkv.weight": (layers, (s["heads"] + 2 * s["query_groups"]) * d, h),
        f"{attention}linear_qkv.layer_norm_weight": (layers, h),
        f"{attention}q_layernorm.weight": (layers, d),
        f"{attention}k_layernorm.weight": (layers, d),
        f"{attention}linear_proj.weight": (layers, h, s["heads"] * d),
        f"{mlp}linear_fc1.weight": (layers, 2 * s["ffn"], h),
        f"{mlp}linear_fc1.layer_norm_weight": (layers, h),
        f"{mlp}linear_fc2.weight": (layers, h, s["ffn"]),
        "decoder.final_layernorm.weight": (h,),
    }


def test_arguments_that_fit_the_weights_pass() -> None:
    check_weights(model_arguments(SHAPE), sizes())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"head_dim": 80}, "--kv-channels: config.json says 128, the weights say 80"),
        ({"query_groups": 4}, "--num-query-groups: config.json says 8, the weights say 4"),
        ({"vocabulary": 151669}, "--vocab-size: config.json says 151936, the weights say 151669"),
        ({"layers": 28}, "--num-layers: config.json says 36, the weights say 28"),
    ],
)
def test_weights_of_another_shape_are_refused(changed: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_weights(model_arguments(SHAPE), sizes(**changed))


@pytest.mark.parametrize("weight", [name for name in sizes() if "q_layernorm" not in name])
def test_a_weight_that_slime_would_leave_random_is_missed(weight: str) -> None:
    without = {name: size for name, size in sizes().items() if name != weight}
    with pytest.raises(InputError, match=f"the weights lack {weight}"):
        check_weights(model_arguments(SHAPE), without)


def test_a_head_of_its_own_is_missed_where_the_embeddings_are_not_tied() -> None:
    untied = model_arguments({**SHAPE, "tied_embeddings": False})
    check_weights(untied, sizes() | {"output_layer.weight": (151936, 2560)})
    with pytest.raises(InputError, match=r"the weights lack output_layer\.weight"):
        check_weights(untied, sizes())


def test_norms_of_queries_and_keys_that_are_not_there_are_refused() -> None:
    without = {name: size for name, size in sizes().items() if "q_layernorm" not in name}
    with pytest.raises(InputError, match="--qk-layernorm"):
        check_weights(model_arguments(SHAPE), without)


@pytest.mark.parametrize(
    ("vocabulary", "tensor", "multiple", "rows"),
    [
        (151936, 1, 128, 151936),
        (151936, 2, 64, 151936),  # with Megatron's 128 it were 152,064
        (151936, 8, 16, 151936),
        (448, 1, 64, 448),
        (1024, 2, 128, 1024),
        (303, 1, 1, 303),
        (304, 3, 128, 384),  # what the ranks cannot share out has to be filled up
    ],
)
def test_no_rows_of_the_vocabulary_are_added_where_it_divides(
    vocabulary: int, tensor: int, multiple: int, rows: int
) -> None:
    assert rows_multiple(vocabulary, tensor) == multiple
    assert math.ceil(vocabulary / (multiple * tensor)) * multiple * tensor == rows  # as Megatron fills it up


def test_a_rope_base_that_megatron_cannot_express_is_refused() -> None:
    with pytest.raises(InputError, match=r"rope_theta is 1000000\.5"):
        model_arguments({**SHAPE, "rope_base": 1000000.5})


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (
            lambda: check_parallel(SHAPE, 16, 1, 1),
            r"tensor \(16\) does not divide the model's query_groups \(8\)",
        ),
        (lambda: check_parallel(SHAPE, 2, 5, 1), r"pipeline \(5\) does not divide the model's layers \(36\)"),
        (
            lambda: check_parallel(SHAPE, 1, 1, 3),
            r"engine_gpus: given 3; allowed: a divisor of the model's heads \(32\)",
        ),
        (lambda: check_vocabulary(100, 101), "the tokenizer has ids up to 100, the embedding 100 rows"),
        (lambda: Layout(3, 2, 1, 1, 4).check(1), r"train.slime.nodes: given 3; allowed: a divisor of the GPUs"),
        (lambda: Layout(1, 2, 1, 1, 4).check(3), r"train.slime.engine_gpus: given 3; allowed: a divisor"),
    ],
)
def test_parts_that_do_not_divide_are_refused(check: Callable[[], None], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check()


def test_parts_that_divide_pass() -> None:
    check_parallel(SHAPE, 8, 4, 32)  # four GPUs of a server then hold the same keys and values
    check_vocabulary(100, 100)
    Layout(2, 2, 1, 1, 8).check(8)


def test_slime_that_is_not_installed_is_one_line(tmp_path: Path) -> None:
    for name in ("train", "validation"):
        (tmp_path / name).touch()
    given = [f"--{name}={tmp_path / name}" for name in PATHS]
    more = [*REQUIRED, *COMPUTE, "--learning-rate=1", "--engine=slime", "--device=cuda", "--spike-action=log"]
    done = subprocess.run([sys.executable, train.__file__, *given, *more], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "train: error: train.engine: slime is asked for, but ray is not installed here. "
        "Run with --software-deployment-method apptainer: the image train-slime has it."
    ]
