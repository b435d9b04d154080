"""Our arguments, read by slime's own parser, where its sources are given.

SLIME_SOURCES names a folder with slime v0.2.1 (``train.py``, ``slime/``) and, beside them, Megatron-LM core_v0.14.0's
``megatron/``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_slime_arguments import PATHS, REQUIRED, SHAPE

import train
from grpo.checkpoint import TRACKER
from slime_engine import hooks
from slime_engine.arguments import Job, Lengths, Paths, command_line

SOURCES = os.environ.get("SLIME_SOURCES", "")
STUBS = Path(train.__file__).parent / "inference" / "cpu_stubs"
pytestmark = pytest.mark.skipif(
    not Path(SOURCES, "slime").is_dir(), reason="SLIME_SOURCES does not name a folder with slime's sources"
)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return made(tmp_path, monkeypatch, SHAPE, "--tensor=2", "--recompute")


def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: dict[str, Any], *more: str) -> Job:
    """The job of a shape, with the config.json of its model."""
    given = [*REQUIRED, "--updates-per-iteration=2", "--learning-rate=1e-06", "--engine=slime", "--device=cuda"]
    given += ["--spike-action=log", "--data=4", "--validate-every=50", *more]
    monkeypatch.setattr(sys, "argv", ["train.py", *(f"--{name}=x" for name in PATHS), *given])
    settings = train.arguments()
    base, reference = tmp_path / "base", tmp_path / "reference"
    base.mkdir()
    reference.mkdir()
    config = {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "num_hidden_layers": shape["layers"],
        "hidden_size": shape["hidden"], "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["query_groups"], "head_dim": shape["head_dim"],
        "intermediate_size": shape["ffn"], "vocab_size": shape["vocabulary"], "rope_theta": 5000000,
        "rms_norm_eps": 1e-06, "tie_word_embeddings": shape["tied_embeddings"], "max_position_embeddings": 262144,
    }  # fmt: skip
    (base / "config.json").write_text(json.dumps(config))
    (reference / "latest_checkpointed_iteration.txt").write_text("release")
    paths = Paths(base, reference, tmp_path / "save", tmp_path / "t.jsonl", tmp_path / "v.jsonl", tmp_path / "h.yaml")
    # JSON is YAML.
    hook = hooks.hook_settings(settings, tmp_path / "judgements.jsonl", ["<|im_end|>"])
    paths.hook_settings.write_text(json.dumps(hook))
    return Job(settings, paths, Lengths(900, 4096, 5004), shape)


def parsed(line: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    given = folder / "arguments.json"
    given.write_text(json.dumps(line))
    variables = os.environ | {
        "PYTHONPATH": os.pathsep.join([SOURCES, str(STUBS)]),
        "SGLANG_USE_CPU_ENGINE": "1",
        "CUDA_DEVICE_MAX_CONNECTIONS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    program = Path(__file__).with_name("own_parser.py")
    return subprocess.run([sys.executable, program, given], env=variables, capture_output=True, text=True)


def test_slimes_own_parser_takes_every_argument_and_means_the_same(job: Job, tmp_path: Path) -> None:
    done = parsed(command_line(job), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    expected = {
        "num_rollout": 500, "rollout_batch_size": 128, "n_samples_per_prompt": 8, "global_batch_size": 512,
        "num_steps_per_rollout": 2, "use_kl_loss": True, "kl_loss_coef": 0.04, "kl_loss_type": "k3", "kl_coef": 0.0,
        "entropy_coef": 0.001, "eps_clip": 0.2, "eps_clip_high": 0.28, "calculate_per_token_loss": True,
        "grpo_std_normalization": True, "rewards_normalization": True, "lr": 1e-6, "lr_decay_style": "constant",
        "lr_warmup_iters": 0, "weight_decay": 0.0, "clip_grad": 1.0, "attention_dropout": 0.0, "hidden_dropout": 0.0,
        "rollout_max_prompt_len": 900, "rollout_max_response_len": 4096, "rollout_max_context_len": 4996,
        "eval_max_response_len": 4096, "eval_temperature": 0.0, "eval_interval": 50, "sglang_context_length": 5004,
        "sglang_mem_fraction_static": 0.7, "save_interval": 100, "override_opt_param_scheduler": True,
        "use_checkpoint_opt_param_scheduler": False, "dist_ckpt_strictness": "log_unexpected", "seed": 0,
        "colocate": True, "rollout_num_gpus": 8, "offload_train": True, "offload_rollout": True,
        "tensor_model_parallel_size": 2, "sequence_parallel": True, "num_query_groups": 8, "kv_channels": 128,
        "group_query_attention": True, "qk_layernorm": True, "rotary_base": 5000000, "swiglu": True,
        "add_bias_linear": False, "normalization": "RMSNorm", "norm_epsilon": 1e-6, "vocab_size": 151936,
        "padded_vocab_size": 151936, "untie_embeddings_and_output_weights": False, "position_embedding_type": "rope",
        "start_rollout_id": 0, "finetune": True, "bf16": True, "ckpt_format": "torch_dist",
        "rollout_shuffle": False, "balance_data": False, "use_fault_tolerance": False, "async_save": None,
        "custom_rm_path": "slime_engine.hooks.reward",
        "custom_reward_post_process_path": "slime_engine.hooks.advantages", "hook_normalise_by_std": True,
        "hook_group_size": 8, "hook_reward_scale": 1000.0,
        "accumulate_allreduce_grads_in_fp32": True, "recompute_granularity": "full", "adam_beta2": 0.999,
        "data_parallel_size": 4,
    }  # fmt: skip
    assert {name: made.get(name) for name in expected} == expected


def test_slimes_own_parser_takes_the_other_switches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    untied = SHAPE | {"tied_embeddings": False}
    more = ["--no-slime-offload", "--kl-beta=0", "--no-recompute", "--slime-pipeline=2", "--slime-context=2"]
    done = parsed(command_line(made(tmp_path, monkeypatch, untied, *more)), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    expected = {
        "offload_train": False, "offload_rollout": False, "use_kl_loss": False, "kl_loss_coef": 0.0,
        "recompute_granularity": None, "untie_embeddings_and_output_weights": True, "sequence_parallel": False,
        "pipeline_model_parallel_size": 2, "context_parallel_size": 2, "data_parallel_size": 4, "rollout_num_gpus": 16,
    }  # fmt: skip
    assert {name: told.get(name) for name in expected} == expected


def test_slime_goes_on_where_the_tracker_says(job: Job, tmp_path: Path) -> None:
    job.paths.save.mkdir()
    (job.paths.save / TRACKER).write_text("199")  # as checkpoints.prepare leaves it
    done = parsed(command_line(job), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    # None: from the iteration that Megatron loads, by the tracker of --load. Without one it is 0, as above.
    expected = {"start_rollout_id": None, "load": str(job.paths.save), "finetune": False, "ckpt_step": None}
    expected |= {"no_load_optim": None, "no_load_rng": None}
    assert {name: told.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--num-layers", "28", "num_hidden_layers in hf config 36 is not equal to num_layers 28"),
        ("--global-batch-size", "500", "global_batch_size 500 is not equal to"),
    ],
)
def test_slimes_own_parser_refuses_what_does_not_fit(
    job: Job, tmp_path: Path, flag: str, value: str, message: str
) -> None:
    line = command_line(job)
    line[line.index(flag) + 1] = value
    done = parsed(line, tmp_path)
    assert done.returncode
    assert message in done.stderr


@pytest.mark.parametrize(("flag", "value"), [("--kv-channels", "80"), ("--num-query-groups", "4")])
def test_what_slime_lets_through_is_why_we_check_it(job: Job, tmp_path: Path, flag: str, value: str) -> None:
    line = command_line(job)
    line[line.index(flag) + 1] = value
    assert parsed(line, tmp_path).returncode == 0
