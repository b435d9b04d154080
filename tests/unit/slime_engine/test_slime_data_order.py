"""The prompts that slime asks: the other engine's, in its order, on a stand-in for slime's data source and on its own.

The latter where SLIME_SOURCES is set (`test_slime_own_parser`): so the stand-in is as slime is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from slime_stand_ins import build
from test_slime_own_parser import SOURCES
from test_slime_own_parser import pytestmark as own
from tests.tiny_model import sample_rows, write_tiny_model

from common.files import write_jsonl
from grpo.schedule import batch_of
from slime_engine.cluster import link_imports
from trading.strata import strata

pytestmark = pytest.mark.parametrize("sources", ["a stand-in", pytest.param("slime's own", marks=own)])
FALLS = {0, 3, 6, 9}
ROWS = sample_rows(12)
for number, row in enumerate(ROWS):
    row["metadata"] |= {"id": f"train-{number:06d}", "next_price": 99.0 if number in FALLS else 101.0}


def told(folder: Path, sources: str, **changed: Any) -> dict[str, Any]:
    """What `ask_data_source.py` prints: seven iterations of 4 prompts, of which the last three were asked twice."""
    if sources == "a stand-in":
        path, base = build(folder / "stand-ins")["PYTHONPATH"], folder
    else:
        path, base = SOURCES, write_tiny_model(folder / "base")
    write_jsonl(folder / "train.jsonl", ROWS)
    args = {
        "rollout_global_dataset": True, "hf_checkpoint": str(base), "dump_details": None,
        "prompt_data": str(folder / "train.jsonl"), "rollout_max_prompt_len": 200, "input_key": "prompt",
        "multimodal_keys": None, "label_key": "label", "metadata_key": "metadata", "tool_key": None,
        "apply_chat_template": True, "apply_chat_template_kwargs": {}, "rollout_seed": 5, "rollout_shuffle": False,
        "buffer_filter_path": None, "n_samples_per_prompt": 2, "save": str(folder), "load": str(folder),
        "hook_samples": len(ROWS), "hook_seed": 5, "hook_prompts_per_iteration": 4, "hook_balance_directions": True,
    }  # fmt: skip
    (folder / "arguments.json").write_text(json.dumps(args | changed))
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([path, str(link_imports(folder / "imports"))])}
    program = Path(__file__).with_name("ask_data_source.py")
    done = subprocess.run(
        [sys.executable, program, folder / "arguments.json"], env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def numbers(batches: list[Any]) -> list[list[int]]:
    """Of the prompts of each iteration."""
    return [[int(group[0][0].removeprefix("train-")) for group in groups] for groups in batches]


def test_prompts_come_in_the_other_engines_order_and_go_on_where_it_was(tmp_path: Path, sources: str) -> None:
    found = told(tmp_path, sources)
    classes = strata([row["metadata"] for row in ROWS], balance=True)
    asked = numbers(found["asked"])
    assert asked == [batch_of(iteration, classes, 4, 5) for iteration in range(1, 8)]
    for iteration, groups in enumerate(found["asked"]):
        # The hook tells iterations and groups by these numbers.
        assert [one[1] for group in groups for one in group] == list(range(iteration * 8, iteration * 8 + 8))
        assert [[one[2] for one in group] for group in groups] == [[iteration * 4 + place] * 2 for place in range(4)]
        assert all(group[0][0] == group[1][0] for group in groups)
    assert found["again"] == found["asked"][4:]  # after a save, in another process of slime
    # Each batch is half falls; each epoch, of two iterations, asks each of the four once, in an order of its own.
    falls = [[number for number in batch if number in FALLS] for batch in asked]
    epochs = [falls[i] + falls[i + 1] for i in (0, 2, 4)]
    assert all(sorted(epoch) == sorted(FALLS) for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1
    assert found["said"] == {
        "missing": f"{tmp_path}/rollout/global_dataset_state_dict_7.pt: the data's state is missing, prompts would be "
        "asked in another order",
        "another": f"{tmp_path}/rollout/global_dataset_state_dict_5.pt: stands at prompt 16, expected 24",
        "handed back": "4 groups were handed back, which would be asked again in place of an iteration's own",
        "size": "asked for 3 prompts at place 0 of a batch of 4",
        "place": "asked for 4 prompts at place 1 of a batch of 4",
        "dropped": f"slime read 12 of 13 samples from {tmp_path}/train.jsonl",
    }


def test_without_balance_each_epoch_asks_each_prompt_once_in_the_order_of_its_seed(
    tmp_path: Path, sources: str
) -> None:
    orders = []
    for seed in (5, 6):
        (folder := tmp_path / str(seed)).mkdir()
        asked = numbers(told(folder, sources, hook_balance_directions=False, hook_seed=seed)["asked"])
        first, second = (list(chain(*asked[i : i + 3])) for i in (0, 3))
        assert sorted(first) == sorted(second) == list(range(12))
        orders += [tuple(first), tuple(second)]
    assert len(set(orders)) == 4
