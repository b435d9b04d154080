"""probe.py for real: SGLang on the CPU with a tiny random Qwen3, on masked and on unmasked prompts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.tiny_model import write_tiny_model

from common.files import write_jsonl
from trading.bars import write_bars
from trading.samples import make_samples
from trading.synthetic import Calibration, Settings, synthetic_bars

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SAMPLES, HOURS = 30, 12
# A random model says nothing that could be read: most answers are HOLD, and none changes.
ENGINE = ["--device=cpu", "--max-new-tokens=6", "--temperature=0", "--batch=64", "--timeout-s=120"]


def call(script: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / f"{script}.py"), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def prepared(folder: Path, mask: bool) -> list[str]:
    """Samples and a model's decisions on them; the flags of the probe."""
    bars, _ = synthetic_bars(Settings(bars=300), Calibration(hours=0))
    write_bars(folder / "bars.csv", bars)
    samples, _ = make_samples(bars, "report", mask, SAMPLES, 0)
    write_jsonl(folder / "test.jsonl", samples["test"])
    write_tiny_model(folder / "model", context=4096)
    files = [f"--model={folder / 'model'}", f"--samples={folder / 'test.jsonl'}", *ENGINE]
    outputs = [f"--output-{name}={folder / name}" for name in ("decisions", "summary", "timing")]
    done = call("infer", *files, f"--journal={folder / 'journal'}", "--variant=trained", *outputs)
    assert done.returncode == 0, done.stderr
    return [
        *(*files, f"--bars={folder / 'bars.csv'}", f"--journal={folder / 'probe-journal'}"),
        *(f"--decisions={folder / 'decisions'}", f"--summary={folder / 'summary'}"),
        *(
            "--prompt=report",
            "--mask" if mask else "--no-mask",
            f"--hours={HOURS}",
            f"--output={folder / 'probe.json'}",
        ),
    ]


def probed(folder: Path, flags: list[str], *more: str) -> tuple[dict[str, Any], str]:
    done = call("probe", *flags, *more)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "probe.json").read_text()), done.stderr


def test_masked_prompts_give_nothing_to_ask_but_the_control(tmp_path: Path) -> None:
    flags = prepared(tmp_path, mask=True)
    found, said = probed(tmp_path, flags, "--names", "Synthetic market")
    assert f"{HOURS} samples to ask, 0 in the journal" in said
    assert found["control"] == {"asked_again": HOURS, "decisions_changed": 0}
    assert all(counts["prompts_changed"] == 0 for counts in found["changes"].values())
    assert "nothing by which to recognise the period" in found["reading"]
    assert str(tmp_path) not in json.dumps(found)

    again, said = probed(tmp_path, flags, "--names", "Synthetic market")
    assert said == f"all {HOURS} answers are in the journal\n"
    assert again == found

    (tmp_path / "probe.json").unlink()
    done = call("probe", *flags, "--no-mask")
    assert done.returncode == 1
    assert done.stderr.startswith("probe: error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "probe.json").exists()


def test_unmasked_prompts_are_asked_with_each_change_that_they_show(tmp_path: Path) -> None:
    flags = prepared(tmp_path, mask=False)
    found, said = probed(tmp_path, flags)
    assert f"{4 * HOURS} samples to ask, 0 in the journal" in said  # as they are, dates, price, all three
    assert found["control"] == {"asked_again": HOURS, "decisions_changed": 0}
    differing = {change: counts["prompts_changed"] for change, counts in found["changes"].items()}
    assert differing == {"dates": HOURS, "name": 0, "price": HOURS, "all": HOURS}
    journal = next((tmp_path / "probe-journal").glob("*/answers.jsonl"))
    answers = {row["id"]: row for row in map(json.loads, journal.read_text().splitlines())}
    said_before = {name.split("/")[1]: row["logprob"] for name, row in answers.items() if name.startswith("again/")}
    said_now = {name.split("/")[1]: row["logprob"] for name, row in answers.items() if name.startswith("price/")}
    assert len(said_now) == HOURS
    assert said_now != said_before  # the model did read other prompts
    assert list(found["inputs"]) == ["model", "bars", "samples", "decisions", "summary"]

    # The control fails where the decisions are not what the model says: here they are forged.
    path = tmp_path / "decisions"
    true, forged = ('"HOLD", "status": "truncated"', '"BUY", "status": "ok"')
    path.write_text(path.read_text().replace(f'"decision": {true}', f'"decision": {forged}'))
    other, said = probed(tmp_path, flags)
    assert said == f"all {4 * HOURS} answers are in the journal\n"
    assert other["control"]["decisions_changed"] == HOURS
    assert other["reading"].startswith(f"Asked again with nothing changed, {HOURS} of {HOURS} decisions changed")
