"""Tensor and data ranks under torchrun on gloo follow the single process, fed the same rollouts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
SCRIPTS = HERE.parents[1] / "scripts"

pytestmark = pytest.mark.slow

MAKE_WEIGHTS = """
import sys, torch
from pathlib import Path
from grpo import parallel
from grpo.checkpoint import save
from grpo.qwen3 import build_model
from grpo.weights import expected_shapes, to_megatron
from parallel_task import SHAPE

def main():
    parallel.start("cpu")
    g = torch.Generator().manual_seed(1)
    tensors = {n: torch.rand(s, generator=g) + 0.5 if len(s) == 1 else 0.2 * torch.randn(s, generator=g)
               for n, s in expected_shapes(SHAPE).items()}
    model = build_model(SHAPE)
    model.load_state_dict(to_megatron(tensors, SHAPE), strict=False)
    save(Path(sys.argv[1]), 0, model)
    parallel.stop()

if __name__ == "__main__":
    main()
"""


def launch(processes: int, *args: object, engine_layers: bool = False) -> None:
    path = [SCRIPTS, HERE, *([HERE / "gpu_stand_ins" / "packages"] if engine_layers else [])]
    starter = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            *(starter if processes > 1 else []),
            str(HERE / "parallel_driver.py"),
        ]
        + [str(a) for a in args],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("parallel")
    script = folder / "make_weights.py"
    script.write_text(MAKE_WEIGHTS)
    subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(folder / "weights")],
        env={**os.environ, "PYTHONPATH": f"{SCRIPTS}:{HERE}", "CUDA_VISIBLE_DEVICES": ""},
        check=True,
        capture_output=True,
    )

    def go(name: str, processes: int, *more: object) -> dict:
        output = folder / f"{name}.pt"
        common = ["--weights", folder / "weights/iter_0000000", "--recorded", folder / "recorded.pt"]
        launch(processes, *common, "--output", output, *more, engine_layers="--engine-layers" in more)
        return torch.load(output, weights_only=False)

    return go


@pytest.fixture(scope="module")
def single(run) -> dict:
    return run("single", 1)


def worst_gradient(a: dict, b: dict) -> float:
    """Largest difference over all steps and parameters, as a share of that parameter's largest gradient."""
    return max(
        float((x[name] - y[name]).abs().max() / x[name].abs().max().clamp(min=1e-12))
        for x, y in zip(a["gradients"], b["gradients"], strict=True)
        for name in x
    )


def worst_loss(a: dict, b: dict) -> float:
    return max(
        abs(x[name] - y[name])
        for x, y in zip(a["rows"], b["rows"], strict=True)
        for name in ("loss", "update_loss", "grad_norm")
    )


@pytest.mark.parametrize("axis", ["tensor", "data"])
def test_two_ranks_follow_one(run, single: dict, axis: str) -> None:
    two = run(axis, 2, f"--{axis}", 2)
    assert len(two["gradients"]) == 40
    assert worst_loss(single, two) < 1e-4
    assert worst_gradient(single, two) < 1e-4


def test_two_ranks_with_adam_on_the_host_follow_one(run, single: dict) -> None:
    two = run("offloaded", 2, "--tensor", 2, "--optimizer", "offloaded")
    assert worst_loss(single, two) < 1e-4
    assert worst_gradient(single, two) < 1e-4


@pytest.mark.parametrize(
    ("processes", "more"),
    [(1, ()), (2, ("--tensor", 2, "--recompute")), (2, ("--data", 2, "--optimizer", "distributed"))],
    ids=["one process", "tensor ranks", "data ranks that share out the optimiser"],
)
def test_layers_of_transformer_engine_follow_the_local_ones(
    run, single: dict, processes: int, more: tuple[object, ...]
) -> None:
    """On a stand-in with its names, arguments and weights: from the same checkpoint, and through one of their own."""
    name = "engine-" + "-".join(map(str, more))
    made = run(name, processes, "--engine-layers", "--resume-after", 10, *more)
    assert len(made["gradients"]) == 40
    assert worst_loss(single, made) < 1e-4
    if "distributed" not in more:  # else a rank has the sum of its own share only
        assert worst_gradient(single, made) < 1e-4


@pytest.mark.usefixtures("single")  # which records the rollouts
def test_a_shared_out_optimiser_that_is_loaded_takes_the_same_steps(run) -> None:
    """As on a GPU: bfloat16 weights, float32 ones with the optimiser, shared out over two ranks."""
    more = ("--engine-layers", "--precision", "bf16", "--data", 2, "--optimizer", "distributed")
    through = run("through", 2, *more)
    resumed = run("resumed", 2, *more, "--resume-after", 10)
    assert worst_loss(through, resumed) == 0


def test_a_shared_out_optimiser_that_is_not_loaded_shows(run, single: dict) -> None:
    more = ("--data", 2, "--optimizer", "distributed", "--resume-after", 10, "--resume-without-state")
    assert worst_loss(single, run("forgotten", 2, "--engine-layers", *more)) > 1e-3


def test_without_finalised_gradients_they_do_not(run, single: dict) -> None:
    control = run("control", 2, "--tensor", 2, "--not-finalised")
    assert worst_gradient(single, control) > 1e-2


@pytest.mark.parametrize("axis", ["tensor", "data"])
def test_a_delayed_rank_is_reported_as_a_straggler(run, single: dict, axis: str) -> None:
    delayed = run(f"delayed-{axis}", 2, f"--{axis}", 2, "--delay-rank", 1)
    assert sum("straggler" in line for line in delayed["lines"]) >= 15
    assert len(single["lines"]) == 0


@pytest.mark.parametrize("prompts", [1, 3])
def test_fewer_validation_prompts_than_one_for_each_rank_are_judged_all_the_same(run, prompts: int) -> None:
    alone = run(f"validation-alone-{prompts}", 1, "--validation", prompts)
    assert alone.keys() == {"reward", "long"}
    two = run(f"validation-data-{prompts}", 2, "--data", 2, "--validation", prompts)
    assert two == pytest.approx(alone)


FAILS = """
import os, sys, time
if os.environ["RANK"] == "1":
    print("what is wrong", file=sys.stderr)
    sys.exit(3)
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("launcher", "traceback"),
    [([str(SCRIPTS / "grpo/launch.py")], False), (["-m", "torch.distributed.run"], True)],
    ids=["launch.py", "torchrun, the control"],
)
def test_where_one_process_fails_its_own_words_are_the_last_and_its_exit_code_that_of_all(
    tmp_path: Path, launcher: list[str], traceback: bool
) -> None:
    script = tmp_path / "fails.py"
    script.write_text(FAILS)
    done = subprocess.run(
        [sys.executable, *launcher, "--standalone", "--nproc-per-node", "2", str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "what is wrong" in done.stderr
    assert ("Traceback" in done.stderr) == traceback
    assert done.returncode == (1 if traceback else 3)
