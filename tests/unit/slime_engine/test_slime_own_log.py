"""Lines of metrics that slime's own code logs, where its sources are given: read as they are."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_slime_own_parser import SOURCES, STUBS, pytestmark  # noqa: F401 - skips where there are no sources

from slime_engine.collect import _WHOLE, Collector, Sizes
from slime_engine.logs import parse_line
from slime_engine.speed import iteration_seconds

# What comes out of a running Megatron or Ray only: lines of steps and rollouts, and how the other hooks are called.
FORMS = [
    ("backends/megatron_utils/model.py", 'logger.info(f"{role_tag}step {accumulated_step_id}: {log_dict}")'),
    ("backends/megatron_utils/data.py", 'logger.info(f"{metric_name} {rollout_id}: {reduced_log_dict}")'),
    (
        "backends/megatron_utils/model.py",
        "custom_before_train_step_hook(args, rollout_id, step_id, model, optimizer, opt_param_scheduler)",
    ),
    *(
        ("backends/megatron_utils/actor.py", f"    @timer\n    def {name}(self")
        for name in ("sleep", "wake_up", "update_weights", "save_model")
    ),
    ("backends/megatron_utils/actor.py", 'with timer("data_preprocess"):'),
    ("ray/rollout.py", "return self.custom_reward_post_process_func(self.args, samples)"),
]


def test_what_slime_logs_is_read(tmp_path: Path) -> None:
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([SOURCES, str(STUBS)]), "SGLANG_USE_CPU_ENGINE": "1"}
    program = Path(__file__).with_name("own_log.py")
    done = subprocess.run([sys.executable, program], env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if re.search(r"(perf|eval) 6: ", line)]
    records = [parse_line(f"(RolloutManager pid=12, ip=10.0.0.2) {line}") for line in lines]
    assert [(record.kind, record.number) for record in records] == [("perf", 6), ("eval", 6), ("perf", 6)]
    rollout, evaluation, trainer = (record.values for record in records)
    assert math.isnan(evaluation["eval/validation"])
    assert rollout["perf/rollout_time"] == 4.0
    assert (trainer["perf/train_time"], trainer["perf/step_time"]) == (6.0, 10.5)
    collector = Collector(Sizes(1, 2, 1, 0.1, 0, 0, True), tmp_path / "journal")
    for record in records:
        collector.take(record)
    assert collector.parts[7].perf.keys() >= _WHOLE
    assert iteration_seconds(collector.parts[7].perf) == 4.0 + 6.0 + 2.0


@pytest.mark.parametrize(("file", "words"), FORMS)
def test_what_is_not_run_here_stands_in_slimes_sources(file: str, words: str) -> None:
    assert words in Path(SOURCES, "slime", file).read_text()
