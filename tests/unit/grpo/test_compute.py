"""Precision and recomputation change how the steps are computed, not which; and what is counted as work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_loop_resume import merged
from torch.utils.flop_counter import FlopCounterMode
from toy_task import quiet, settings, task, weights_of

from grpo import loop as loop_module
from grpo.flops import forward_flops, iteration_flops, peak_flops
from grpo.learner import ComputeSettings, Learner
from grpo.loop import Loop, least_between_lines
from grpo.metrics import describe
from grpo.packing import pack
from grpo.policy import answer_logits
from grpo.qwen3 import Qwen3Shape

MakeLearner = Callable[..., Learner]
TIMES = ("seconds", "tokens_per_second", "model_flops_per_second", "mfu")


def replayed(learner: Learner, recorded: list, folder: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """One iteration on recorded rollouts (recorded here if there are none): its metrics, and the first gradients."""
    loop = Loop(learner, task(), settings(), folder)
    sample, step = loop._sample, learner.optimizer.step
    gradients: dict[str, torch.Tensor] = {}

    def replay(iteration: int) -> tuple:
        if not recorded:
            recorded.append(sample(iteration))
        return recorded[0]

    def watched() -> tuple:
        for name, parameter in learner.model.named_parameters():
            gradients.setdefault(name, parameter.main_grad.clone())
        return step()

    loop._sample, learner.optimizer.step = replay, watched
    row = loop.iterate(1, quiet)
    return {name: value for name, value in row.items() if not name.endswith(TIMES)}, gradients


def far(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Distance of two gradients as a share of the first one's norm."""
    norm = sum(float(x.square().sum()) for x in a.values()) ** 0.5
    return sum(float((a[name] - b[name]).square().sum()) for name in a) ** 0.5 / norm


def test_recomputed_activations_give_the_same_bits(make_learner: MakeLearner, tmp_path: Path) -> None:
    recorded: list = []
    kept = replayed(make_learner(), recorded, tmp_path)
    again = replayed(make_learner(ComputeSettings(recompute=True)), recorded, tmp_path)
    assert again[0] == kept[0]
    assert all(torch.equal(again[1][name], kept[1][name]) for name in kept[1])


def test_layers_really_run_again_for_the_backward_pass(make_learner: MakeLearner, tmp_path: Path) -> None:
    counts = []
    for recompute in (False, True):
        learner = make_learner(ComputeSettings(recompute=recompute))
        count = [0]
        for layer in learner.model.decoder.layers:
            layer.register_forward_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
        replayed(learner, [], tmp_path)
        counts.append(count[0])
    assert counts == [4, 8]  # 2 layers, 2 updates


def test_bfloat16_follows_float32_within_its_error(make_learner: MakeLearner, tmp_path: Path) -> None:
    recorded: list = []
    full, exact = replayed(make_learner(), recorded, tmp_path)
    half, rounded = replayed(make_learner(ComputeSettings(precision="bf16")), recorded, tmp_path)
    # A bfloat16 has 8 bits: a relative error of 0.4% in every number, some of which adds up.
    assert 0 < far(exact, rounded) < 0.1
    assert half["grad_norm"] == pytest.approx(full["grad_norm"], rel=0.05)
    for name in ("loss", "update_loss"):
        assert half[name] == pytest.approx(full[name], abs=0.02)
    other = replayed(make_learner(), [], tmp_path)[1]
    assert far(exact, other) == 0  # the control of the control: the rest is deterministic
    learner = make_learner()
    with torch.no_grad():
        next(learner.model.parameters()).mul_(1.5)
    assert far(exact, replayed(learner, recorded, tmp_path)[1]) > 0.1


def test_bfloat16_steps_that_are_too_small_for_it_are_kept_in_float32(
    make_learner: MakeLearner, tmp_path: Path
) -> None:
    learner = make_learner(ComputeSettings(precision="bf16"))
    norm = learner.model.decoder.final_layernorm.weight
    before = norm.detach().clone()
    Loop(learner, task(), settings(learning_rate=2e-4), tmp_path).iterate(1, quiet)
    assert norm.dtype is torch.bfloat16
    assert norm.main_param.dtype is torch.float32
    # Between 0.5 and 1.5 neighbours are 0.004 and more apart; two steps of Adam are 0.0004 at most.
    assert torch.equal(norm, before)
    moved = (norm.main_param - before.float()).abs()
    assert float((moved > 0).float().mean()) > 0.9
    assert float(moved.max()) < 5e-4


@pytest.mark.parametrize(
    "compute",
    [
        ComputeSettings(precision="bf16", recompute=True),
        ComputeSettings(precision="fp32", optimizer="offloaded"),
        ComputeSettings(precision="bf16", optimizer="offloaded"),
    ],
    ids=["recomputed in bf16", "offloaded in fp32", "offloaded in bf16"],
)
def test_a_killed_run_ends_with_the_same_weights(
    make_learner: MakeLearner, tmp_path: Path, compute: ComputeSettings
) -> None:
    whole = make_learner(compute)
    Loop(whole, task(), settings(), tmp_path / "whole").run(quiet)
    Loop(make_learner(compute), task(), settings(iterations=4), tmp_path / "killed").run(quiet)
    again = make_learner(compute)
    Loop(again, task(), settings(), tmp_path / "killed").run(quiet)
    assert weights_of(again) == weights_of(whole)
    assert [r["grad_norm"] for r in merged(tmp_path / "killed")] == [r["grad_norm"] for r in merged(tmp_path / "whole")]


# --- model FLOPs ---


def test_the_work_of_a_small_pass_by_hand() -> None:
    shape = Qwen3Shape(2, 4, 2, 1, 2, 3, 10, 1e6, 1e-6, True, 128)
    # A layer's matrices: query and output 4 x 4, key and value 4 x 2, gate, up and down 4 x 3: 84 weights.
    # 6 tokens, 2 layers:                                       2 x 84 x 6 x 2 = 2016
    # Keys seen: the prompt's 1 + 2 + 3, the answers' 4 + 5 and 4: 19; 4 numbers: 4 x 4 x 19 x 2 = 608
    # Logits of 3 answer tokens:                                    2 x 4 x 10 x 3 = 240
    assert forward_flops(shape, [3], [2, 1], group_size=2) == 2016 + 608 + 240
    assert iteration_flops(2864, updated=True) == 14320
    assert iteration_flops(2864, updated=False) == 5728


def test_the_matrices_work_is_what_torch_counts(model: torch.nn.Module, shape: Qwen3Shape) -> None:
    lengths = [5, 3, 4, 6]
    prompts = [torch.arange(7), torch.arange(4)]
    packed = pack(prompts, torch.arange(sum(lengths)), torch.tensor(lengths), group_size=2)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        answer_logits(model, packed)
    counted = sum(
        n for op, n in counter.get_flop_counts()["Global"].items() if "mm" in str(op) and "bmm" not in str(op)
    )
    seen = 7 * 8 / 2 + 4 * 5 / 2 + sum(n * (n + 1) / 2 for n in lengths) + (5 + 3) * 7 + (4 + 6) * 4
    attention = 4 * shape.heads * shape.head_dim * seen * shape.layers
    assert forward_flops(shape, [7, 4], lengths, 2) == counted + attention


def test_the_share_of_the_peak_is_of_known_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda", 0)
    for name, peak in (
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA B200", 2250e12),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),  # a seventh of it
        ("Some GPU", None),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _, name=name: name)
        assert peak_flops(cuda, "bf16") == peak
    assert peak_flops(torch.device("cpu"), "fp32") is None


@pytest.mark.parametrize(("every", "lines"), [(least_between_lines(torch.device("cuda", 0)), 6), (1000.0, 2)])
def test_on_a_gpu_each_iteration_has_a_line_with_its_speed_however_short_it_is(
    every: float,
    lines: int,
    make_learner: MakeLearner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(loop_module, "least_between_lines", lambda _: every)
    loop = Loop(make_learner(), task(), settings(), tmp_path)
    loop.peak = 1e12
    loop.run(quiet)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("iteration ")]
    assert len(said) == lines
    for line in said:
        assert "tokens/s, " in line
        assert "TFLOP/s, " in line
        assert "% of peak" in line


def test_speed_and_share_of_an_iteration(make_learner: MakeLearner, tmp_path: Path) -> None:
    loop = Loop(make_learner(), task(), settings(), tmp_path)
    row = loop.iterate(1, quiet)
    assert row["model_flops_per_second"] > 0
    assert row["mfu"] is None
    assert "tokens/s, " in describe(row)
    assert "TFLOP/s" in describe(row)
    assert "of peak" not in describe(row)
    loop.peak = row["model_flops_per_second"]
    assert 0 < loop.iterate(2, quiet)["mfu"] < 100
    assert "25.0% of peak" in describe(row | {"mfu": 0.25})
