"""What `make plan` says of a training on GPUs, and what it refuses."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.cli import get_argument_parser

from common.datasheet import GPUS
from common.errors import InputError
from common.hub import snapshot
from configuration import read_schema, resolve
from plan import disk_bytes, estimate
from planning.model import ASSUMED, weights
from training_plan import described, node_memory, plan_of, problems, shape_of, task_of, unknown

PROJECT = Path(__file__).parents[2]
SCHEMA = read_schema(PROJECT / "config" / "schema.yaml")
PAPER = yaml.safe_load((PROJECT / "config" / "qwen3-4b.yaml").read_text())
NAME = "Qwen/Qwen3-4B-Thinking-2507"
H100 = GPUS["h100"]


def paper(tmp_path: Path, **train: Any) -> dict[str, Any]:
    """The paper run with an empty cache, as engine slime has it unless `train` says something else."""
    settings = resolve(PAPER, SCHEMA)
    settings["base_model"]["hub"]["cache"] = str(tmp_path / "cache")
    several = {"nodes": 1, "pipeline": 1, "context": 1, "engine_gpus": 1, "memory_fraction": 0.7}
    settings["train"] |= {"engine": "slime", **train, "slime": several | train.get("slime", {})}
    return settings


def found(settings: dict[str, Any], gpu: str = "h100") -> list[str]:
    plan = plan_of(settings, Path("nowhere"), GPUS[gpu])
    assert plan is not None
    return problems(plan)


def test_the_paper_run_fits_on_eight_gpus_with_slime(tmp_path: Path) -> None:
    plan = plan_of(paper(tmp_path), Path("nowhere"), H100)
    assert plan is not None
    assert problems(plan) == []
    assert plan.task.gpus == 8
    text = described(plan)
    assert "4.02 billion weights (assumed: its config.json is not there yet)" in text
    assert "engine slime on 8 x H100 80GB (tensor 2 x data 4)" in text
    assert "times within a factor of 2" in text
    assert 8 < plan.seconds["train"] / 3600 < 32
    # As metrics.jsonl counts them: of the answers alone, over all of an iteration's seconds.
    speed = 128 * 8 * 2048 / (plan.pace.rollout + plan.pace.update + plan.pace.handover)
    assert f"; {speed:,.0f} tokens of answers/s; 500 iterations" in text


def test_the_readme_says_what_the_plan_says(tmp_path: Path) -> None:
    readme = (PROJECT / "README.md").read_text()
    plan = plan_of(paper(tmp_path), Path("nowhere"), H100)
    assert plan is not None
    sampling, update = (sum(parts.values()) / 1e9 for parts in (plan.footprint.sampling, plan.footprint.training))
    hours = plan.seconds["train"] / 3600
    held = sum(plan.main_memory.values()) / 1e9
    assert f"{sampling:.0f} GB of each GPU while sampling, {update:.0f} GB in an update, {held:.0f} GB of" in readme
    assert f"; {held:.1f}, and what the programs take besides\n" in described(plan)
    assert f"{hours:.0f} h, {8 * hours:.0f} GPU-hours; {plan.seconds['infer'] / 3600:.0f} h on one GPU" in readme
    probe, variants = (plan.seconds[rule] / 60 for rule in ("probe", "variants"))
    assert f"{probe:.0f} min for the probe, {variants:.0f} min for the variant; " in readme
    own = plan_of(paper(tmp_path, engine="megatron"), Path("nowhere"), H100)
    assert own is not None
    assert f"({own.footprint.peak / 1e9:.0f} GB of each GPU)" in readme
    disk = disk_bytes(paper(tmp_path), weights(plan.shape), ["base_model", "import_weights", "train", "export_weights"])
    assert f"{disk / 1e9:.0f} GB for models and checkpoints" in readme


def test_the_own_loop_is_refused_for_it_with_what_would_help(tmp_path: Path) -> None:
    lines = found(paper(tmp_path, engine="megatron"))
    assert any("sampling takes" in line and "KV cache" in line and "engine: slime" in line for line in lines)
    assert all("\n" not in line for line in lines)


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"tokens_per_micro_batch": 65536}, "an update takes"),
        ({"tensor": 5, "data": 1}, "tensor 5 does not divide the model's heads (32)"),
        ({"max_new_tokens": 262144}, "exceed the model's 262144 positions"),
        ({"slime": {"memory_fraction": 0.09}}, "the server's pool, 9% of a GPU, does not hold"),
        ({"slime": {"memory_fraction": 0.99}}, "sampling takes"),
        ({"slime": {"offload": False}}, "an update takes 95 GB"),
        ({"slime": {"pipeline": 5}}, "pipeline 5 does not divide the model's layers (36)"),
        (
            {"tensor": 1, "data": 3, "slime": {"engine_gpus": 3}},
            "train.slime.engine_gpus: given 3; allowed: a divisor of the model's heads (32).",
        ),
    ],
)
def test_what_cannot_work_is_one_line(tmp_path: Path, train: dict[str, Any], words: str) -> None:
    assert any(words in line for line in found(paper(tmp_path, **train)))


def test_questions_that_no_gpu_holds_are_refused(tmp_path: Path) -> None:
    settings = paper(tmp_path)
    assert found(settings) == []
    settings["infer"]["memory_fraction"] = 0.1
    (line,) = found(settings)
    assert line.startswith("infer: H100 80GB does not hold the model and one answer of 8192 tokens: raise infer.tensor")
    settings["infer"] |= {"memory_fraction": 0.12, "tensor": 2}  # half of the model and of a token on each
    assert found(settings) == []
    settings["infer"] |= {"memory_fraction": 0.11, "tensor": 1, "max_new_tokens": 512}
    settings["variants"][0]["max_new_tokens"] = 16384  # 2.4 GB
    (line,) = found(settings)
    assert "one answer of 16384 tokens" in line


@pytest.mark.parametrize("gpu", ["h100", "h200", "b200", "l40s"])
@pytest.mark.parametrize(
    ("infer", "words"),
    [
        ({"max_new_tokens": 300_000}, "infer.max_new_tokens: 640 tokens of a prompt and 300000 new ones exceed"),
        ({"max_new_tokens": 262_144 - 639}, "exceed the model's 262144 positions."),
        ({"tensor": 3}, "infer.tensor: given 3; allowed: a divisor of the model's heads (32)."),
        ({"tensor": 64}, "infer.tensor: given 64; allowed: a divisor of the model's heads (32)."),
        ({"memory_fraction": 0.995}, "infer: asking takes"),
    ],
)
def test_what_cannot_be_asked_is_one_line(tmp_path: Path, gpu: str, infer: dict[str, Any], words: str) -> None:
    settings = paper(tmp_path)
    settings["infer"] |= infer
    lines = plan_of(settings, Path("nowhere"), GPUS[gpu]).unasked
    assert any(words in line for line in lines)
    assert all("\n" not in line for line in lines)


def test_what_can_just_be_asked_is_not_refused(tmp_path: Path) -> None:
    settings = paper(tmp_path)
    settings["infer"] |= {"max_new_tokens": 262_144 - 640, "tensor": 16, "memory_fraction": 0.95}
    assert found(settings) == []


def test_a_variant_is_refused_by_its_number_for_what_is_its_own(tmp_path: Path) -> None:
    settings = paper(tmp_path)
    own = dict.fromkeys(("temperature", "seed", "max_new_tokens", "iteration", "prompt", "mask"))
    settings["variants"] = [{**own, "name": "a", "seed": 1}, {**own, "name": "b", "max_new_tokens": 300_000}]
    (line,) = found(settings)
    assert line.startswith("variants.1.max_new_tokens: 640 tokens of a prompt and 300000 new ones exceed the model's")
    settings["infer"]["max_new_tokens"] = 300_000
    assert [line.partition(":")[0] for line in found(settings)] == ["infer.max_new_tokens"]


def test_a_broken_model_stops_no_workflow_where_it_asks_for_memory(tmp_path: Path) -> None:
    settings = paper(tmp_path, tensor=1, data=2)
    assert node_memory(settings, Path("nowhere")) > 120_000
    config = tmp_path / "model" / "base" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text("{")
    with pytest.raises(InputError):
        shape_of(settings, tmp_path)
    assert node_memory(settings, tmp_path) == 120_000


def test_a_larger_gpu_holds_what_a_smaller_one_does_not(tmp_path: Path) -> None:
    settings = paper(tmp_path, tokens_per_micro_batch=49152)
    assert found(settings)
    assert found(settings, "h200") == []


def test_one_gpu_is_enough_for_a_small_model(tmp_path: Path) -> None:
    folder = write_config(tmp_path / "small", hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, heads=16)
    settings = paper(tmp_path, tensor=1, data=1)
    settings["base_model"] |= {"source": "folder", "folder": str(folder)}
    plan = plan_of(settings, Path("nowhere"), H100)
    assert plan is not None
    assert plan.task.gpus == 1
    assert problems(plan) == []
    assert "0.60 billion weights (from its config.json)" in described(plan)


def write_config(folder: Path, heads: int, **values: int) -> Path:
    """A folder with the config.json of a Qwen3, and nothing else."""
    folder.mkdir(parents=True)
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151936,
        "rope_theta": 1000000,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "max_position_embeddings": 40960,
        **values,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_what_is_there_goes_before_what_is_assumed(tmp_path: Path) -> None:
    settings = paper(tmp_path)
    assert shape_of(settings, tmp_path / "run") == (ASSUMED[NAME], "assumed: its config.json is not there yet")
    hub = settings["base_model"]["hub"]
    write_config(
        snapshot(tmp_path / "cache", NAME, hub["commit"]),
        heads=32,
        hidden_size=2048,
        intermediate_size=6144,
        num_hidden_layers=28,
    )
    shape, origin = shape_of(settings, tmp_path / "run")
    assert (shape.hidden, origin) == (2048, "from its config.json")
    made = tmp_path / "run" / "model" / "base"
    write_config(made, heads=32, hidden_size=64, intermediate_size=192, num_hidden_layers=2)
    assert shape_of(settings, tmp_path / "run")[0].hidden == 64


def test_of_an_unknown_model_and_on_a_cpu_nothing_is_said(tmp_path: Path) -> None:
    settings = paper(tmp_path)
    assert plan_of(settings | {"device": "cpu"}, tmp_path, H100) is None
    settings["base_model"]["hub"]["name"] = "Owner/Unknown"
    assert plan_of(settings, tmp_path, H100) is None


def test_that_nothing_is_known_is_said_with_what_changes_it(tmp_path: Path) -> None:
    settings = paper(tmp_path)
    settings["base_model"]["hub"]["name"] = "Owner/Unknown"
    done = planned(tmp_path, settings)
    said = done.stdout.splitlines()[0]
    assert said.startswith("Owner/Unknown: nothing is known of its size, so neither memory nor hours, until its config")
    command = shlex.split(said.partition("config.json is there: ")[2])
    assert command.pop(0) == ".venv/bin/snakemake"
    given = get_argument_parser().parse_args(command)
    assert (given.targets, given.configfile) == (["fetch_model"], [tmp_path / "paper.yaml"])
    assert "rule fetch_model:" in (PROJECT / "rules" / "fetch_model.smk").read_text()
    settings["base_model"] |= {"source": "folder", "folder": "models/absent"}
    assert unknown(settings, tmp_path).startswith("models/absent: nothing is known of its size")


# As they are called.
@pytest.mark.parametrize(
    ("name", "billions"),
    [("0.6B", 0.60), ("1.7B", 1.72), ("4B", 4.02), ("8B", 8.19), ("14B", 14.77), ("32B", 32.76)],
)
def test_of_the_first_dense_models_the_size_is_known(tmp_path: Path, name: str, billions: float) -> None:
    settings = paper(tmp_path)
    settings["base_model"]["hub"]["name"] = f"Qwen/Qwen3-{name}"
    plan = plan_of(settings, tmp_path, H100)
    assert f"{billions:.2f} billion weights (assumed: its config.json is not there yet)" in described(plan)
    settings["train"]["max_new_tokens"] = 40960 - 639
    assert "exceed the model's 40960 positions" in found(settings)[0]


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    settings = paper(tmp_path)
    folder = write_config(tmp_path / "other", heads=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1)
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["LlamaForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(config))
    settings["base_model"] |= {"source": "folder", "folder": str(folder)}
    with pytest.raises(InputError, match="only Qwen3ForCausalLM"):
        plan_of(settings, tmp_path, H100)


def test_what_never_ran_takes_the_time_of_its_size_until_it_ran(tmp_path: Path) -> None:
    settings = paper(tmp_path)
    plan = plan_of(settings, Path("nowhere"), H100)
    train, infer = estimate({"train": 1, "infer": 2}, {}, settings, {}, [], plan)
    assert (train.seconds, infer.seconds) == (plan.seconds["train"], 2 * plan.seconds["infer"])
    assert train.gpu_hours == pytest.approx(8 * train.seconds / 3600)
    assert "size" in train.known_from
    (ran,) = estimate({"infer": 2}, {}, settings, {"infer-base": "s\n10\n"}, [], plan)
    assert ran.seconds == 20


def test_probe_and_variants_take_as_long_as_their_questions(tmp_path: Path) -> None:
    """Of as many hours as a server holds at once, or fewer: then the time follows the tokens alone."""
    settings = paper(tmp_path)
    settings["samples"]["test"] = settings["probe"]["hours"] = 1
    settings["infer"]["max_new_tokens"], settings["probe"]["enabled"] = 512, True
    own = dict.fromkeys(("temperature", "seed", "max_new_tokens", "iteration", "prompt", "mask"))
    settings["variants"] = [{**own, "name": "a", "seed": 1}, {**own, "name": "b", "max_new_tokens": 256}]
    found = plan_of(settings, Path("nowhere"), H100).seconds
    one = found["infer"]
    # As it is and changed in four ways, at once; a step reads the weights once for all five.
    assert one < found["probe"] < 1.1 * one
    assert 1.4 * one < found["variants"] < 1.5 * one  # the second is half as long, and reads less before
    settings["samples"]["test"] = settings["probe"]["hours"] = 1000
    found = plan_of(settings, Path("nowhere"), H100).seconds
    assert found["probe"] == pytest.approx(5 * found["infer"])
    rows = estimate(
        dict.fromkeys(("infer", "probe", "variants"), 1), {}, settings, {}, [], plan_of(settings, Path("nowhere"), H100)
    )
    assert [row.seconds for row in rows] == [found[row.rule] for row in rows]
    settings["probe"]["enabled"], settings["variants"] = False, []
    assert set(plan_of(settings, Path("nowhere"), H100).seconds) == {"train", "infer"}


def test_no_more_questions_run_at_a_time_than_the_batch_has(tmp_path: Path) -> None:
    settings = paper(tmp_path)

    def seconds(batch: int, data: int = 1) -> float:
        settings["infer"] |= {"batch": batch, "data": data}
        return plan_of(settings, Path("nowhere"), H100).seconds["infer"]

    all_at_once = seconds(10_000)
    # One after another, each has the weights read for itself alone: by hand, 8192 steps for each of 1706 hours.
    grown = 640 + 8192 / 2
    step = (weights(ASSUMED[NAME]) * 2 + grown * 147_456) / (0.5 * H100.bandwidth)
    assert seconds(1) == pytest.approx(1706 * 8192 * step)
    assert seconds(1) > 2 * seconds(4) > 4 * all_at_once
    assert seconds(1000) == all_at_once  # more than fit
    assert seconds(8, data=2) == pytest.approx(seconds(4) / 2)  # copies share the batch


def test_all_ways_to_split_count_as_gpus(tmp_path: Path) -> None:
    several = {"pipeline": 2, "context": 3, "nodes": 4}
    assert task_of(paper(tmp_path, tensor=2, data=4, slime=several)).gpus == 48


def test_the_program_prints_the_plan_before_the_data_are_there_and_refuses(tmp_path: Path) -> None:
    settings = paper(tmp_path, engine="megatron")
    del settings["train"]["slime"]
    done = planned(tmp_path, settings, "--gpu", "a100")
    assert done.returncode == 1
    assert "billion weights" in done.stdout
    assert "A100" in done.stdout
    assert done.stderr.startswith("plan: error: train: ")
    assert "Traceback" not in done.stderr


def planned(folder: Path, settings: dict[str, Any], *flags: str) -> subprocess.CompletedProcess[str]:
    """What the program says of a configuration, written to `paper.yaml`."""
    (folder / "paper.yaml").write_text(yaml.safe_dump(settings))
    return subprocess.run(
        [sys.executable, PROJECT / "rules" / "plan.py", "--configfile", folder / "paper.yaml", *flags],
        capture_output=True,
        text=True,
        cwd=folder,
    )
