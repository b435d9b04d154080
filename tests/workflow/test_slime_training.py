"""train.py --engine slime, as the rule calls it, on stand-ins for Ray and slime: start, logs, files, resume, end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from slime_stand_ins import build
from tests.tiny_model import sample_rows, write_tiny_model
from train_files import file_flags

from common.files import write_json, write_jsonl
from grpo.flops import forward_flops, iteration_flops
from grpo.schedule import batch_of
from grpo.shape import Qwen3Shape
from slime_engine.commit import WRITTEN_AGAINST
from slime_engine.nodes import ALONE
from trading.strata import strata

pytestmark = pytest.mark.slow
SCRIPTS = Path(__file__).parents[2] / "scripts"
FLAGS = [
    *("--engine=slime", "--device=cuda", "--iterations=4", "--prompts-per-iteration=4", "--group-size=2"),
    *("--updates-per-iteration=2", "--max-new-tokens=8", "--learning-rate=0.01", "--warm-up-iterations=2"),
    "--decay-iterations=0",
    *("--precision=bf16", "--optimizer=distributed", "--recompute", "--spike-action=log"),
    *("--save-every=2", "--validate-every=2", "--show-rollouts-every=4", "--keep=1"),
]


def samples(split: str, count: int) -> list[dict[str, Any]]:
    rows = sample_rows(count)
    for number, row in enumerate(rows):
        row["metadata"] |= {"id": f"{split}-{number:06d}", "split": split, "next_price": 101.0 if number % 2 else 99.0}
    return rows


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, imported, and samples."""
    folder = tmp_path_factory.mktemp("inputs")
    base = write_tiny_model(folder / "base")
    write_json(base / "model.json", {"name": "Tiny", "weights": 1, "source": "test"})
    write_jsonl(folder / "train.jsonl", samples("train", 10))
    write_jsonl(folder / "validation.jsonl", samples("validation", 3))
    command = [sys.executable, SCRIPTS / "import_weights.py", "--base", base, "--output", folder / "megatron"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


class Training:
    """One training's folder, and how it is started."""

    done: subprocess.CompletedProcess[str]

    def __init__(self, inputs: Path, folder: Path) -> None:
        self.inputs, self.folder = inputs, folder
        self.variables = os.environ | build(folder / "stand-ins") | {"CUDA_VISIBLE_DEVICES": "0"}
        self.out = folder / "train"

    def command(self, *more: str) -> list[str | Path]:
        files = file_flags(self.inputs / "megatron", self.inputs / "base", self.inputs, self.out)
        return [sys.executable, SCRIPTS / "train.py", *FLAGS, *files, *more]

    def run(self, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.command(*more), env=self.variables | variables, capture_output=True, text=True)
        assert self.strays() == []
        return done

    def end_where_it_hangs(self, number: int, **variables: str) -> None:
        """Start it, send it a signal once slime hangs, and wait until nothing of it is left."""
        running = subprocess.Popen(
            self.command(), env=self.variables | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 120
        while (
            not list(self.out.glob("checkpoints/*/slime.log"))
            or b"hanging" not in (self.own / "slime.log").read_bytes()
        ):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert len(self.strays()) == 2  # the control: they are there while it runs
        running.send_signal(number)
        running.wait(60)
        assert running.returncode == (128 + number if number == signal.SIGTERM else -number)
        while self.strays():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        running.communicate()

    def strays(self) -> list[int]:
        """Processes that the stand-ins started, left alone, and that still live."""
        path = self.folder / "stand-ins" / "strays"
        ids = [int(one) for one in path.read_text().split()] if path.exists() else []
        return [one for one in ids if Path(f"/proc/{one}").exists() and not ended(one)]

    def started(self, program: str) -> dict[str, Any]:
        return json.loads((self.folder / "stand-ins" / f"{program}.json").read_text())

    @property
    def own(self) -> Path:
        (folder,) = (self.out / "checkpoints").iterdir()
        return folder

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / "metrics.jsonl").read_text().splitlines()]


def ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture(scope="module")
def finished(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A training that was run once, and what it printed."""
    training = Training(inputs, tmp_path_factory.mktemp("finished"))
    training.done = training.run()
    return training


@pytest.fixture
def training(inputs: Path, tmp_path: Path) -> Training:
    return Training(inputs, tmp_path)


def test_a_training_leaves_metrics_manifest_and_a_checkpoint_of_the_last_iteration(finished: Training) -> None:
    training, done = finished, finished.done
    assert done.returncode == 0, done.stderr
    manifest = json.loads((training.out / "checkpoint.json").read_text())
    assert (manifest["engine"], manifest["name"], manifest["iteration"]) == ("slime", "iter_0000004", 4)
    assert manifest["checkpoint"].endswith("/slime/iter_0000003")  # slime counts from 0
    assert (training.out / manifest["checkpoint"] / ".metadata").is_file()
    assert (manifest["versions"]["slime"], manifest["versions"]["slime_commit"]) == ("0.2.1", WRITTEN_AGAINST)
    assert "warning" not in done.stdout
    assert manifest["device_name"] == "1 x NVIDIA H100 80GB HBM3"
    rows = training.rows()
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    # Answers 0, 3, 6 of eight say Buy, 2 and 5 nothing that counts.
    assert (rows[0]["buy"], rows[0]["invalid"]) == (3 / 8, 2 / 8)
    assert (rows[0]["kl"], rows[0]["entropy"], rows[0]["clip_fraction"], rows[0]["grad_norm"]) == (0.5, 0.7, 0.25, 1.5)
    assert (rows[0]["tokens_per_second"], rows[0]["reference_seconds"]) == (2.4, 1.0)
    # An iteration's seconds are its own; slime's step time holds what follows on the one before, too.
    assert [(row["seconds"], row["handover_seconds"]) for row in rows] == [(10.0, 2.0)] * 4
    assert [row["step_seconds"] for row in rows] == [40.0, 10.0, 43.0, 10.0]
    forward = forward_flops(Qwen3Shape(**manifest["shape"]), [4] * 4, [3] * 8, 2)
    speed = iteration_flops(forward, updated=True) / 10
    assert [(row["model_flops_per_second"], row["mfu"]) for row in rows] == [(speed, speed / 989e12)] * 4
    assert [row["incomplete"] for row in rows] == [False] * 4
    assert [row["learning_rate"] for row in rows] == [0.005, 0.01, 0.01, 0.01]
    assert [("validation" in row) for row in rows] == [False, True, False, True]
    assert set(rows[1]["validation"]) == {"reward", "buy", "invalid"}
    assert "answers of iteration 4:" in done.stdout
    assert [path.name for path in sorted(training.own.glob("slime/iter_*"))] == ["iter_0000003"]  # keep: 1


def test_ray_and_slime_are_started_for_this_job_alone(finished: Training) -> None:
    training = finished
    ray, slime = training.started("ray"), training.started("train")
    assert ray["argv"][:3] == ["start", "--head", "--block"]
    assert {"--num-gpus=1", "--num-cpus=3"} <= set(ray["argv"])  # a CPU a GPU and two more, or slime waits for ever
    address = slime["environment"]["RAY_ADDRESS"]
    assert address == ray["environment"]["RAY_ADDRESS"]
    assert f"--port={address.rpartition(':')[2]}" in ray["argv"]
    assert ray["environment"]["SLIME_HOST_IP"] == ALONE  # nobody else asks slime's router
    for environment in (ray["environment"], slime["environment"]):
        assert environment["CUDA_DEVICE_MAX_CONNECTIONS"] == "1"
        imports, megatron, *_ = environment["PYTHONPATH"].split(":")
        assert sorted(path.name for path in Path(imports).iterdir()) == ["grpo", "slime_engine", "trading"]
        assert (Path(megatron) / "megatron" / "core").is_dir()
        assert (environment["no_proxy"], environment["http_proxy"]) == ("*", "")
    assert slime["cwd"] == str(training.own)  # not in the image, which is read-only


def test_it_goes_on_from_the_last_whole_checkpoint(training: Training) -> None:
    failed = training.run(STAND_IN_FAILS_AT="3")
    assert failed.returncode == 1
    (line,) = [text for text in failed.stderr.splitlines() if "error" in text]
    assert "RuntimeError: CUDA out of memory (stand-in)" in line
    assert "run again to go on from iteration 2" in line
    done = training.run("--keep=2")
    assert "resuming after iteration 2" in done.stdout
    assert "> starting at 2" in (training.own / "slime.log").read_text()
    assert [row["iteration"] for row in training.rows()] == [1, 2, 3, 4]
    # A save that a kill cut short is no checkpoint: slime writes the data's state last.
    (training.own / "slime" / "rollout" / "global_dataset_state_dict_3.pt").unlink()
    longer = training.run("--iterations=8")
    assert "resuming after iteration 2" in longer.stdout
    assert [row["iteration"] for row in training.rows()] == list(range(1, 9))
    # Whatever was killed, iteration 7 asks the prompts that the other engine's asks.
    classes = strata([row["metadata"] for row in samples("train", 10)], balance=True)
    asked = [json.loads(line) for line in (training.folder / "stand-ins" / "asked.jsonl").read_text().splitlines()]
    assert [row["rollout"] for row in asked] == [0, 1, 2, 2, 3, *range(2, 8)]
    for row in asked:
        assert row["ids"] == [f"train-{number:06d}" for number in batch_of(row["rollout"] + 1, classes, 4, 0)]
    (training.folder / "stand-ins" / "packages" / ".git" / "HEAD").write_text("ab" * 20)
    again = training.run("--iterations=8")
    assert again.returncode == 0
    assert f"train: warning: slime is at commit {'ab' * 20}, this project was written against" in again.stdout
    assert json.loads((training.out / "checkpoint.json").read_text())["versions"]["slime_commit"] == "ab" * 20
    assert "resuming" not in again.stdout  # nothing is started for what is done


@pytest.mark.parametrize(("number", "stubborn"), [(signal.SIGTERM, True), (signal.SIGKILL, False)])
def test_nothing_is_left_when_it_is_ended(training: Training, number: int, stubborn: bool) -> None:
    more = {"STAND_IN_STUBBORN": "1"} if stubborn else {}
    training.end_where_it_hangs(number, STAND_IN_HANGS_AT="1", **more)
    assert not (training.out / "checkpoint.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_training_that_is_ended_during_a_validation_can_be_finished(training: Training, number: int) -> None:
    # slime has saved iteration 2 by then.
    training.end_where_it_hangs(number, STAND_IN_HANGS_IN_EVAL="1")
    done = training.run()
    assert done.returncode == 0, done.stderr
    assert "resuming after iteration 2" in done.stdout
    rows = training.rows()
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    assert [row["incomplete"] for row in rows] == [False] * 4
    assert [("validation" in row) for row in rows] == [False, False, False, True]  # the second one's was not finished


def test_a_row_that_a_kill_lost_comes_back_as_incomplete(training: Training) -> None:
    assert training.run(STAND_IN_FAILS_AT="3").returncode == 1
    journal = training.own / "metrics.jsonl"
    kept = [line for line in journal.read_text().splitlines() if json.loads(line)["iteration"] != 2]
    journal.write_text("".join(f"{line}\n" for line in kept))
    (training.own / "judgements.jsonl").unlink()
    done = training.run()
    assert done.returncode == 0, done.stderr
    assert "metrics of 1 iterations were lost, the first is 2" in done.stdout
    rows = training.rows()
    assert [row["incomplete"] for row in rows] == [False, True, False, False]
    lost = rows[1]
    assert {lost[name] for name in ("reward", "loss", "kl", "entropy", "seconds", "tokens_per_second")} == {None}
    # Whether its loss was a spike nobody knows; slime's steps are never skipped.
    assert (lost["spike"], lost["slowest_over_median"]) == (None, None)
    assert (lost["skipped"], lost["learning_rate"]) == (False, 0.01)
    assert [row["spike"] for row in rows if not row["incomplete"]] == [False] * 3
    manifest = json.loads((training.out / "checkpoint.json").read_text())
    assert (manifest["spikes"], manifest["judged"]) == (0, 3)


def test_spikes_in_a_row_stop_it(training: Training) -> None:
    spikes = {"STAND_IN_SPIKES": "2 3 4 5 6 7"}
    stopped = training.run("--iterations=8", "--spike-limit=5", **spikes, STAND_IN_HANGS_AT="7")
    assert stopped.returncode == 1
    assert "iteration 3: spiky loss 18.0000, last accepted 0.0100; logged only" in stopped.stdout
    (line,) = [text for text in stopped.stderr.splitlines() if "error" in text]
    assert "train: error: iteration 7: spiky loss 54.0000, last accepted 45.0000, 5 in a row; the last good" in line
    # Not pruned (keep: 1), because those after it hold spikes.
    assert "checkpoint is that of iteration 2 in " in line
    assert [path.name for path in training.own.glob("slime/iter_*")] == ["iter_0000001"]
    assert (training.own / "slime" / "after_good" / "iter_0000005").is_dir()
    assert not (training.out / "checkpoint.json").exists()
    # The workflow's next attempt does not wait for GPUs to spike again, until a setting changes.
    log = (training.own / "slime.log").read_bytes()
    again = training.run("--iterations=8", "--spike-limit=5", **spikes)
    assert (again.returncode, again.stderr.splitlines()) == (1, [line])
    assert (training.own / "slime.log").read_bytes() == log
    done = training.run("--iterations=8", "--spike-limit=20", **spikes)
    assert done.returncode == 0, done.stderr
    assert "resuming after iteration 2" in done.stdout
    assert "> starting at 2" in (training.own / "slime.log").read_text()  # slime, too: its weights and its data
    assert [row["iteration"] for row in training.rows()] == list(range(1, 9))
    assert not (training.own / "stopped.json").exists()
    assert not (training.own / "slime" / "after_good").exists()


def test_a_ray_that_does_not_start_is_one_line(training: Training) -> None:
    done = training.run(STAND_IN_NO_RAY="1")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("train: error: ray: ended with exit code 1 before it was ready; see ")
    assert "ports are taken" in (training.own / "ray.log").read_text()
