"""slime itself, where its sources are given: its train.py, trainer, Megatron-LM, Ray and SGLang, on a CPU.

Real are all of slime's and Megatron's own code, Ray's processes, SGLang's server and router, the hand-over of weights,
the checkpoints; stand-ins are CUDA, NCCL, and the layers and Adam of TransformerEngine (`gpu_stand_ins`).
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from project_copy import copy_project
from slime_itself import MOST_S, SCRIPTS, SOURCES, Slime, Training, made
from slime_update import dumped
from transformers import AutoTokenizer

from grpo.schedule import batch_of
from slime_engine.logs import parse_line
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
    assert f"successfully loaded checkpoint from {training.own / 'slime'}" in training.log()
    # The trainer computes what SGLang sampled from, after each hand-over of weights, and leaves its reference.
    assert max(row["rollout_logprob_difference"] for row in rows) < 0.02
    assert rows[-1]["kl"] > 0
    # Every iteration, the resumed ones, too, asks the prompts that the other engine asks.
    samples = [json.loads(line) for line in (training.inputs / "samples/train.jsonl").read_text().splitlines()]
    classes = strata([row["metadata"] for row in samples], balance=True)
    tokenizer = AutoTokenizer.from_pretrained(training.inputs / "model/base")
    for iteration in (1, 2, 3, 4):
        texts = [tokenizer.decode(one["tokens"][: -one["response_lengths"]]) for one in dumped(tmp_path, iteration)]
        asked = [samples[number]["prompt"] for number in batch_of(iteration, classes, 16, 0)]
        prompts = [tokenizer.apply_chat_template(one, add_generation_prompt=True, tokenize=False) for one in asked]
        assert texts == [text for text in prompts for _ in range(4)]
    parity = training.export()
    assert parity["round_trip_bit_equal"]
    assert parity["tensors_changed_by_training"] == parity["tensors"]


@pytest.mark.parametrize(
    ("flags", "gpus"),
    [
        ((), 1),
        (("--tensor=2", "--recompute"), 2),
        (("--data=2", "--slime-engine-gpus=2"), 2),
        (("--slime-pipeline=2", "--no-slime-offload"), 2),
    ],
)
def test_its_update_is_that_of_the_own_loop(
    slime: Slime, inputs: Path, tmp_path: Path, flags: tuple[str, ...], gpus: int
) -> None:
    """On the same answers, advantages and learning rate; as far as bfloat16 goes."""
    weighty = ("--kl-beta=0.1", "--entropy=0.05")  # so that each part of the loss shows
    training = Training(slime, inputs, tmp_path / "train", (*weighty, *flags), gpus)
    training.run(2, SLIME_DUMP=f"{tmp_path}/dump/{{rollout_id}}_{{rank}}.pt")
    assert "with 0 dummy tokens (new size: 448)" in training.log()  # which SGLang would not have
    program = [sys.executable, Path(__file__).with_name("slime_update.py")]
    given = [tmp_path / "dump", inputs / "model", training.out / "checkpoint.json"]
    variables = os.environ | {"PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([*program, *given], capture_output=True, text=True, env=variables)
    assert done.returncode == 0, done.stderr
    found, row = json.loads(done.stdout.splitlines()[-1]), training.rows()[0]
    own, steps = found["same"], steps_in(training.log())
    print(f"\n{' '.join(flags) or 'one GPU'}")
    print(f"  first gradient's norm: slime {steps[0]['grad_norm']:.4f}, own loop {own['first_norm']:.4f}")
    for name in ("update_loss", "kl", "entropy", "clip_fraction", "grad_norm"):
        print(f"  {name}: slime {row[name]:.4f}, own loop {own[name]:.4f}")
    for case, one in found.items():
        print(f"  change of the weights, {case}: cosine {one['cosine']:.3f}, length {one['length']:.3f}")
    near = [case for case, one in found.items() if one["cosine"] > 0.9 and abs(one["length"] - 1) < 0.1]
    assert near == ["same"]
    # Behind the first step the policies part: a bfloat16's rounding can turn a weight's first step around.
    assert own["first_norm"] == pytest.approx(steps[0]["grad_norm"], rel=0.1)
    assert own["reference_difference"] < 0.01
    assert own["entropy"] == pytest.approx(row["entropy"], rel=0.01)
    for step in steps:
        loss = step["pg_loss"] - 0.05 * step["entropy_loss"] + 0.1 * step["kl_loss"]
        assert step["loss"] == pytest.approx(loss, abs=1e-6)
    assert training.export()["round_trip_bit_equal"]  # from a checkpoint that so many ranks wrote


def steps_in(log: str) -> list[dict[str, float]]:
    """What slime says of each optimiser step."""
    records = [parse_line(line) for line in log.splitlines()]
    found = {one.number: one.values for one in records if one is not None and one.kind == "step"}
    return [{name.removeprefix("train/"): value for name, value in found[n].items()} for n in sorted(found)]


@dataclass(frozen=True)
class Running:
    """A training that runs."""

    process: subprocess.Popen[str]
    started: list[psutil.Process]
    training: Training

    def named(self, title: str) -> list[psutil.Process]:
        return [one for one in self.started if title in " ".join(one.cmdline())]

    def ended(self) -> tuple[int, str]:
        """Its exit code and errors; nothing that it started is left."""
        _, said = self.process.communicate(timeout=MOST_S)
        left = [one for one in self.started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        assert left == []
        return self.process.returncode, said


@pytest.fixture
def running(training: Training) -> Iterator[Running]:
    """A training in its third iteration, and all processes that it started."""
    given = training.slime.variables(1)
    command = training.command(400)
    process = subprocess.Popen(command, env=given, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + MOST_S
        while "step 4: " not in training.log():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
        yield Running(process, psutil.Process(process.pid).children(recursive=True), training)
    finally:
        process.kill()


def test_nothing_is_left_when_it_is_ended(running: Running) -> None:
    for title in ("raylet", "ray::MegatronTrainRayActor", "ray::SGLangEngine", "sglang::scheduler", "slime/train.py"):
        assert running.named(title), "the control: it is there"
    running.process.send_signal(signal.SIGTERM)
    assert running.ended()[0] == 128 + signal.SIGTERM


@pytest.mark.parametrize("title", ["ray::MegatronTrainRayActor", "ray::RolloutManager", "raylet/raylet"])
def test_a_process_that_dies_ends_it_with_one_line(running: Running, title: str) -> None:
    running.named(title)[0].kill()
    code, said = running.ended()
    assert code == 1
    (line,) = [text for text in said.splitlines() if "error: " in text]
    assert re.match("train: error: (slime|ray): ended with exit code 1 ", line)


def test_on_one_machine_sglang_is_not_reached_from_others(running: Running) -> None:
    listening = {
        place.laddr for one in running.started for place in one.net_connections() if place.status == psutil.CONN_LISTEN
    }
    said = re.findall(r"(?:Router launched|HttpServerEngineAdapter) at:? (\S+):(\d+)", running.training.log())
    assert len(said) == 2
    for address, port in said:
        assert ipaddress.ip_address(address).is_loopback
        assert {place.ip for place in listening if place.port == int(port)} == {address}
