"""The prompts that slime asks, by its own data source where its sources are given: the other engine's, in its order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from test_slime_own_parser import SOURCES, pytestmark  # noqa: F401 - skips where there are no sources
from tests.tiny_model import sample_rows, write_tiny_model

from common.files import write_jsonl
from grpo.schedule import batch_of
from slime_engine.cluster import link_imports
from trading.strata import strata


def test_slime_asks_what_the_other_engine_asks_and_goes_on_where_it_was(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    rows = sample_rows(11)
    for number, row in enumerate(rows):
        row["metadata"] |= {"id": f"train-{number:06d}", "next_price": 101.0 if number % 3 else 99.0}
    write_jsonl(tmp_path / "train.jsonl", rows)
    args = {
        "rollout_global_dataset": True, "hf_checkpoint": str(base), "dump_details": None,
        "prompt_data": str(tmp_path / "train.jsonl"), "rollout_max_prompt_len": 200, "input_key": "prompt",
        "multimodal_keys": None, "label_key": "label", "metadata_key": "metadata", "tool_key": None,
        "apply_chat_template": True, "apply_chat_template_kwargs": {}, "rollout_seed": 5, "rollout_shuffle": False,
        "buffer_filter_path": None, "n_samples_per_prompt": 2, "save": str(tmp_path), "load": str(tmp_path),
        "hook_samples": 11, "hook_seed": 5, "hook_prompts_per_iteration": 4, "hook_balance_directions": True,
    }  # fmt: skip
    (tmp_path / "arguments.json").write_text(json.dumps(args))
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([SOURCES, str(link_imports(tmp_path / "imports"))])}
    program = Path(__file__).with_name("own_data_source.py")
    done = subprocess.run(
        [sys.executable, program, tmp_path / "arguments.json"], env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    classes = strata([row["metadata"] for row in rows], balance=True)
    for iteration, groups in enumerate(told["asked"], start=1):
        expected = [f"train-{number:06d}" for number in batch_of(iteration, classes, 4, 5)]
        assert [group[0][0] for group in groups] == expected
        # The hook tells iterations by these numbers.
        assert [one[1] for group in groups for one in group] == list(range((iteration - 1) * 8, iteration * 8))
    assert told["again"] == told["asked"][4]
    assert told["missing"].endswith("the data's state is missing, prompts would be asked in another order")
