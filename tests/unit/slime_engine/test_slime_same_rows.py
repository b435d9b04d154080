"""A row of slime's metrics is a row of the other engine's: the same keys, types and units."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_slime_run import made, say
from tests.unit.grpo.conftest import make_learner, shape, tensors, weights  # noqa: F401 - fixtures
from tests.unit.grpo.toy_task import quiet, settings, task

from grpo.learner import Learner
from grpo.loop import Loop
from grpo.rollout import Rollouts
from grpo.task import Judgement
from slime_engine.collect import Collector
from slime_engine.run import sizes_of

# The mean and the spread of the same rewards, in float32 there and float64 here.
SAME = ("iteration", "reward", "reward_std", "buy", "invalid", "flat_groups", "response_tokens", "learning_rate")
TOLD = ("update_loss", "kl", "entropy", "clip_fraction", "grad_norm")  # by slime, in its own lines
# The loss before the first step, which slime does not tell, and a ratio over ranks, for which it has one over time.
OTHER = ("loss", "slowest_over_median")


@pytest.fixture
def own(make_learner: Callable[..., Learner], tmp_path: Path) -> tuple[Loop, dict[str, Any]]:  # noqa: F811
    """The other engine, and a row of it; its answers are in the hook's journal."""
    loop = Loop(make_learner(), task(), settings(warm_up_iterations=4), tmp_path)
    loop.peak = 1e12
    judge = loop._judge

    def noted(numbers: list[int], rollouts: Rollouts) -> tuple[list[Judgement], list[str]]:
        judgements, texts = judge(numbers, rollouts)
        with open(tmp_path / "judged", "w") as journal:
            for place, judgement in enumerate(judgements):
                group, number = divmod(place, 4)
                row = {"split": "train", "iteration": 1, "group": group, "number": number, "reward": judgement.reward}
                row |= {"buy": bool(judgement.shares["buy"]), "invalid": bool(judgement.shares["invalid"])}
                row |= {"tokens": int(rollouts.lengths[place]), "prompt_tokens": len(rollouts.prompts[group])}
                journal.write(json.dumps(row) + "\n")
        return judgements, texts

    loop._judge = noted  # type: ignore[method-assign]
    return loop, loop.iterate(1, quiet)


def of_slime(folder: Path, loop: Loop, own_row: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """The row that becomes of slime's lines if they tell what the other engine did, in half a second more."""
    run = made(folder)
    one = {"slime_nodes": 1, "tensor": 1, "data": 1, "slime_pipeline": 1, "slime_context": 1}
    given = vars(loop.settings) | {"updates_per_iteration": 2, "kl_beta": 0.1} | one | changed
    shape_ = loop.learner.shape.as_dict()
    run.collector = Collector(sizes_of(type(run.settings)(**given), 0, shape_, "NVIDIA L40S"), folder / "judged")
    names = {"loss": "update_loss", "kl_loss": "kl", "entropy_loss": "entropy", "pg_clipfrac": "clip_fraction"}
    told = {f"train/{name}": own_row[of] for name, of in (names | {"grad_norm": "grad_norm"}).items()}
    update = own_row["reference_seconds"] + own_row["update_seconds"]
    trainer = {"actor_train": own_row["update_seconds"], "ref_log_probs": own_row["reference_seconds"]}
    trainer |= {"train": update, "update_weights": 0.3, "sleep": 0.1, "wake_up": 0.1, "save_model": 90.0}
    times = {f"perf/{name}_time": seconds for name, seconds in trainer.items()}
    say(
        run,
        f"rollout.py:611 - perf 0: {{'perf/rollout_time': {own_row['rollout_seconds']}}}",
        *(f"model.py:674 - step {step}: {told}" for step in (0, 1)),
        f"train_metric_utils.py:44 - perf 0: {times}",
    )
    (row,) = run.journal.rows
    return row


def test_a_row_of_slimes_has_the_other_engines_keys_types_and_units(
    own: tuple[Loop, dict[str, Any]], tmp_path: Path
) -> None:
    loop, theirs = own
    row = of_slime(tmp_path, loop, theirs)
    assert [name for name in theirs if name not in row] == []
    assert {name: type(row[name]) for name in theirs} == {name: type(value) for name, value in theirs.items()}
    for name in (*SAME, *TOLD):
        assert row[name] == pytest.approx(theirs[name], rel=1e-5), name
    parts = ("rollout_seconds", "reference_seconds", "update_seconds")
    assert {name: row[name] for name in parts} == {name: theirs[name] for name in parts}
    seconds = sum(theirs[name] for name in parts)
    assert seconds == pytest.approx(theirs["seconds"], rel=0.2)
    # The push of the weights counts, the save does not: the other engine's seconds hold none.
    assert row["seconds"] == pytest.approx(seconds + 0.5)
    for name in ("tokens_per_second", "model_flops_per_second"):
        assert row[name] * row["seconds"] == pytest.approx(theirs[name] * theirs["seconds"], rel=1e-5), name
    assert row["mfu"] * 362e12 == pytest.approx(row["model_flops_per_second"])
    assert theirs["mfu"] * 1e12 == pytest.approx(theirs["model_flops_per_second"])
    assert (row["spike"], row["skipped"], row["slowest_over_median"]) == (False, False, 1.0)
    checked = {*SAME, *TOLD, *OTHER, *parts, "seconds", "tokens_per_second", "model_flops_per_second", "mfu"}
    assert set(theirs) == checked | {"spike", "skipped"}


def test_what_is_not_known_of_an_iteration_is_null(own: tuple[Loop, dict[str, Any]], tmp_path: Path) -> None:
    loop, theirs = own
    whole = of_slime(tmp_path, loop, theirs)["model_flops_per_second"]
    journal = tmp_path / "judged"
    kept = journal.read_text().splitlines()
    for lines in (kept[1:], [json.dumps({k: v for k, v in json.loads(one).items() if k[:2] != "pr"}) for one in kept]):
        (tmp_path / "metrics.jsonl").unlink()
        journal.write_text("\n".join(lines) + "\n")
        row = of_slime(tmp_path, loop, theirs)
        assert set(theirs) <= set(row)
        assert (row["model_flops_per_second"], row["mfu"]) == (None, None)
    (tmp_path / "metrics.jsonl").unlink()
    journal.write_text("\n".join(kept) + "\n")
    # Without a reference nobody asks its forward pass.
    row = of_slime(tmp_path, loop, theirs, kl_beta=0.0)
    assert row["model_flops_per_second"] == pytest.approx(whole * 4 / 5)
    assert row["kl"] is None
