"""slime itself, where its sources are given: its train.py, trainer, Megatron-LM, Ray and SGLang, on a CPU.

Real are all of slime's and Megatron's own code, Ray's processes, SGLang's server and router, the hand-over of weights,
the checkpoints; stand-ins are CUDA, NCCL, and the layers and Adam of TransformerEngine (`slime_on_cpu`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from project_copy import copy_project
from slime_itself import MOST_S, SCRIPTS, SOURCES, Slime, Training, made
from slime_update import dumped
from transformers import AutoTokenizer

from grpo.schedule import batch_of
from trading.strata import strata

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (SOURCES / "slime").is_dir(), reason="SLIME_SOURCES does not name slime's sources"),
]


@pytest.fixture(scope="module")
def slime(tmp_path_factory: pytest.TempPathFactory) -> Slime:
    return made(tmp_path_factory.mktemp("slime"))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The minimal run's model, imported, and samples."""
    workflow = copy_project(tmp_path_factory.mktemp("inputs") / "project")
    wanted = ("model/megatron", "samples/train.jsonl")
    workflow.run("--configfile", "config/minimal.yaml", "--", *(f"results/minimal/{name}" for name in wanted))
    return workflow.results("minimal")


@pytest.fixture
def training(slime: Slime, inputs: Path, tmp_path: Path) -> Training:
    return Training(slime, inputs, tmp_path / "train")


def test_it_trains_goes_on_and_is_exported(training: Training, tmp_path: Path) -> None:
    dump = {"SLIME_DUMP": f"{tmp_path}/{{rollout_id}}_{{rank}}.pt"}
    training.run(2, **dump)
    assert (training.out / training.manifest()["checkpoint"]).name == "iter_0000001"  # slime counts from 0
    assert "resuming after iteration 2" in training.run(4, **dump)
    manifest, rows = training.manifest(), training.rows()
    assert (manifest["iteration"], Path(manifest["checkpoint"]).name) == (4, "iter_0000003")
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    assert [row["iteration"] for row in rows if "validation" in row] == [2, 4]
    assert {name for row in rows for name, value in row.items() if value is None} == set()
    # The schedule goes on.
    assert [row["learning_rate"] for row in rows] == [0.00025, 0.0005, 0.00075, 0.001]
    assert f"successfully loaded checkpoint from {training.own / 'slime'}" in training.log()
    # The trainer computes what SGLang sampled from, after each hand-over of weights, and leaves its reference.
    assert max(row["rollout_logprob_difference"] for row in rows) < 0.02 < rows[-1]["kl"]
    # Every iteration, the resumed ones, too, asks the prompts that the other engine asks.
    samples = [json.loads(line) for line in (training.inputs / "samples/train.jsonl").read_text().splitlines()]
    classes = strata([row["metadata"] for row in samples], balance=True)
    tokenizer = AutoTokenizer.from_pretrained(training.inputs / "model/base")
    for iteration in (1, 2, 3, 4):
        texts = [tokenizer.decode(one["tokens"][: -one["response_lengths"]]) for one in dumped(tmp_path, iteration)]
        asked = [samples[number]["prompt"] for number in batch_of(iteration, classes, 4, 0)]
        made = [tokenizer.apply_chat_template(one, add_generation_prompt=True, tokenize=False) for one in asked]
        assert texts == [text for text in made for _ in range(4)]
    parity = training.export()
    assert parity["round_trip_bit_equal"]
    assert parity["tensors_changed_by_training"] == parity["tensors"]


@pytest.mark.parametrize(
    ("flags", "gpus"),
    [
        ((), 1),
        (("--tensor=2", "--recompute"), 2),
        (("--data=2", "--slime-engine-gpus=2", "--prompts-per-iteration=8"), 2),
        (("--slime-pipeline=2", "--no-slime-offload"), 2),
    ],
)
def test_its_update_is_that_of_the_own_loop(
    slime: Slime, inputs: Path, tmp_path: Path, flags: tuple[str, ...], gpus: int
) -> None:
    """On the same answers, advantages and learning rate; as far as bfloat16 goes."""
    training = Training(slime, inputs, tmp_path / "train", flags, gpus)
    training.run(2, SLIME_DUMP=f"{tmp_path}/dump/{{rollout_id}}_{{rank}}.pt")
    program = [sys.executable, Path(__file__).with_name("slime_update.py")]
    given = [tmp_path / "dump", inputs / "model", training.out / "checkpoint.json"]
    done = subprocess.run(
        [*program, *given], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(SCRIPTS)}
    )
    assert done.returncode == 0, done.stderr
    own, row = json.loads(done.stdout.splitlines()[-1]), training.rows()[0]
    print(f"\n{' '.join(flags) or 'one GPU'}")
    for name in ("update_loss", "kl", "entropy", "clip_fraction", "grad_norm"):
        print(f"  {name}: slime {row[name]:.4f}, own loop {own[name]:.4f}")
    assert own["reference_difference"] < 0.02
    assert own["entropy"] == pytest.approx(row["entropy"], rel=0.03)
    assert own["grad_norm"] == pytest.approx(row["grad_norm"], rel=0.15)
    assert own["kl"] == pytest.approx(row["kl"], rel=0.3, abs=0.002)
    assert own["clip_fraction"] == pytest.approx(row["clip_fraction"], abs=0.03)
    assert own["update_loss"] == pytest.approx(row["update_loss"], abs=0.01)
    assert training.export()["round_trip_bit_equal"]  # from a checkpoint that so many ranks wrote


def test_nothing_is_left_when_it_is_ended(training: Training) -> None:
    given = training.slime.variables(1)
    running = subprocess.Popen(training.command(400), env=given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + MOST_S
    while "step 4: " not in training.log():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.5)
    started = psutil.Process(running.pid).children(recursive=True)
    # The control: Ray's, slime's and SGLang's are there.
    titles = " ".join(" ".join(process.cmdline()) for process in started)
    assert all(name in titles for name in ("raylet", "ray::MegatronTrainRayActor", "sglang::scheduler", "train.py"))
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 128 + signal.SIGTERM
    running.communicate()
    assert [process for process in started if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("program", ["ray::MegatronTrainRayActor", "raylet/raylet"])
def test_a_process_that_dies_ends_it_with_one_line(training: Training, program: str) -> None:
    given = training.slime.variables(1)
    running = subprocess.Popen(
        training.command(400), env=given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + MOST_S
    while "step 4: " not in training.log():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.5)
    started = psutil.Process(running.pid).children(recursive=True)
    (victim,) = [process for process in started if program in " ".join(process.cmdline()[:1])]
    victim.kill()
    _, said = running.communicate(timeout=MOST_S)
    assert running.returncode == 1
    (line,) = [text for text in said.splitlines() if "error: " in text]
    assert line.startswith(
        ("train: error: slime: ended with exit code 1 (", "train: error: ray: ended with exit code 1 ")
    )
    assert [process for process in started if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []
