"""The reward, called by slime itself where its sources are given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_slime_hooks import arguments, sample
from test_slime_own_parser import SOURCES, pytestmark  # noqa: F401 - skips where there are no sources

from slime_engine import hooks
from slime_engine.cluster import link_imports


def test_slime_gets_the_reward_of_its_own_samples(tmp_path: Path) -> None:
    answers = [("<answer>Buy</answer><|im_end|>", "completed"), ("<answer>Bu", "truncated")]
    samples = []
    for index, (response, status) in enumerate(answers):
        samples.append(vars(sample(response, index)) | {"status": status, "label": ""})
    given = vars(arguments(tmp_path)) | {"custom_rm_path": hooks.REWARD}
    path = tmp_path / "given.json"
    path.write_text(json.dumps({"samples": samples, "arguments": given}))
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([SOURCES, str(link_imports(tmp_path / "imports"))])}
    program = Path(__file__).with_name("own_reward.py")
    done = subprocess.run([sys.executable, program, path], env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx([10.01, -10.0])
    rows = [json.loads(line) for line in (tmp_path / "judgements.jsonl").read_text().splitlines()]
    assert [(row["iteration"], row["group"], row["number"], row["invalid"]) for row in rows] == [
        (1, 0, 0, False),
        (1, 0, 1, True),
    ]
