"""The workflow, planned and run for real."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from project_copy import MINIMAL, PROJECT, Workflow, files

ONCE = {"market", "samples", "base_model", "import_weights", "train", "export_weights"}
OF_A_LEVERAGE = {"simulate", "evaluate", "plot", "deck", "tearsheet"}
RULES = ONCE | {"infer"} | OF_A_LEVERAGE
BTC = PROJECT.parent / "shared" / "data" / "btc_usd_1h.csv"

MODEL = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
ANSWERS = ["decisions.jsonl", "summary.json", "timing.json"]
FIGURES = [
    *["equity_curve", "drawdown", "decisions", "training"],
    *["null_distribution", "bootstrap_fan", "cost_latency", "leverage"],
]
FILES = [
    *["market/bars.csv", "market/summary.json"],
    *["samples/train.jsonl", "samples/validation.jsonl", "samples/test.jsonl"],
    *["model/base/model.json", "model/parity.json", "train/checkpoint.json", "train/metrics.jsonl"],
    *[f"model/{model}/{name}" for model in ("base", "trained") for name in MODEL],
    *[f"infer/{model}/{name}" for model in ("base", "trained") for name in ANSWERS],
    *[f"leverage-2/{name}" for name in ("equity.csv", "trades.csv", "metrics.json", "evidence.json")],
    *[f"leverage-2/{name}" for name in ("deck.pptx", "tearsheet.html")],
    *[f"leverage-2/{name}.{kind}" for name in FIGURES for kind in ("png", "svg")],
]


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- planned ---


def test_without_arguments_the_demo_is_planned_up_to_its_deck(workflow: Workflow) -> None:
    said = workflow.run("--dry-run")
    assert "results/demo/leverage-2/deck.pptx" in said
    stats = {line.split()[0] for line in said.split("Job stats:")[-1].splitlines() if line.strip()}
    assert stats >= RULES


def test_a_configuration_inherits_nothing_from_the_demo(workflow: Workflow) -> None:
    demo = workflow.folder / "config" / "config.yaml"
    demo.write_text(demo.read_text().replace("kl_beta: 0.04", "kl_beta: 0.9").replace("seed: 2025", "seed: 1"))
    said = workflow.run("--dry-run", "--printshellcmds", "--configfile", "config/null.yaml")
    assert "results/null-market/" in said
    assert "results/demo" not in said
    assert "--kl-beta=0.04" in said
    assert "--synthetic-seed=2025" in said
    control = workflow.run("--dry-run", "--printshellcmds")
    assert "--kl-beta=0.9" in control


def test_values_on_the_command_line_override_the_file(workflow: Workflow) -> None:
    arguments = ["--dry-run", "--printshellcmds"]
    override = ["--config", "run=other", "train={iterations: 7}", "simulate={leverage: [2.5, 3.0]}"]
    for file in ([], ["--configfile", "config/null.yaml"]):
        said = workflow.run(*arguments, *file, *override)
        assert "--iterations=7 " in said
        assert "--kl-beta=0.04" in said
        assert {f"results/other/leverage-{name}/deck.pptx" in said for name in ("2.5", "3")} == {True}
        assert "leverage-2/" not in said


def test_training_on_several_processes_starts_its_launcher_once(workflow: Workflow) -> None:
    said = workflow.run("--dry-run", "--printshellcmds", "--config", "train={tensor: 2, data: 2}")
    assert said.count("scripts/grpo/launch.py --standalone --nproc-per-node 4 scripts/train.py") == 1
    assert "launch.py" not in workflow.run("--dry-run", "--printshellcmds")


def test_inference_asks_for_a_gpu_for_each_process_of_each_copy(workflow: Workflow) -> None:
    arguments = ["--dry-run", "--printshellcmds", "--config"]
    said = workflow.run(*arguments, "device=cuda", "infer={tensor: 2, data: 4}", "probe={enabled: true}")
    for rule in ("infer", "probe"):
        assert f"scripts/{rule}.py" in said
    assert said.count("scripts/gpus.py --device=cuda --count=8 ") == 3
    assert said.count("--tensor=2 --data=4 ") == 3
    on_cpu = workflow.run(*arguments, "infer={data: 2}")
    assert on_cpu.count("scripts/gpus.py --device=cpu --count=0 ") == 3  # train, too


# --- run ---


@pytest.mark.slow
def test_the_minimal_run_makes_every_file_a_log_and_a_benchmark(minimal: tuple[Workflow, str]) -> None:
    workflow, said = minimal
    results = workflow.results("minimal")
    files(results, FILES)
    jobs = ONCE | {"infer-trained", "infer-base", *(f"{rule}-2" for rule in OF_A_LEVERAGE)}
    for folder in ("logs", "benchmarks"):  # other tests add a leverage of 3, and an archive
        found = {path.stem for path in (results / folder).iterdir() if not path.stem.endswith("-3")}
        assert found - {"archive"} == jobs
    assert "Slides: results/minimal/leverage-2/deck.pptx" in said
    assert "Page: results/minimal/leverage-2/tearsheet.html" in said
    assert list(workflow.folder.rglob("*.partial*")) == []


@pytest.mark.slow
def test_the_minimal_run_hangs_together(minimal: tuple[Workflow, str]) -> None:
    results = minimal[0].results("minimal")
    manifest = json.loads((results / "train/checkpoint.json").read_text())
    assert manifest["name"] == "iter_0000020"
    assert (results / "train" / manifest["checkpoint"]).is_dir()
    assert [row["iteration"] for row in rows(results / "train/metrics.jsonl")] == list(range(1, 21))
    tests = rows(results / "samples/test.jsonl")
    for model in ("trained", "base"):
        decisions = rows(results / f"infer/{model}/decisions.jsonl")
        assert [row["id"] for row in decisions] == [row["metadata"]["id"] for row in tests]
    metrics = json.loads((results / "leverage-2/metrics.json").read_text())
    assert metrics["leverage"] == 2
    assert metrics["market"]["hours"] == len(tests) == 300
    ends = {row["key"]: row["final_capital"] for row in metrics["strategies"]}
    assert round(ends["always_buy"]) == 52_437
    assert round(ends["always_sell"]) == 149_632


@pytest.mark.slow
def test_progress_is_in_the_terminal_and_in_the_log(minimal: tuple[Workflow, str]) -> None:
    workflow, said = minimal
    log = (workflow.results("minimal") / "logs" / "train.log").read_text()
    last = [line for line in log.splitlines() if line.startswith("iteration 20/20 (100%)")]
    assert len(last) == 1
    assert last[0] in said


@pytest.mark.slow
def test_results_do_not_name_the_machine(minimal: tuple[Workflow, str]) -> None:
    workflow, _ = minimal
    results = workflow.results("minimal")
    texts = [p for p in results.rglob("*") if p.suffix in (".json", ".jsonl", ".csv", ".svg", ".html")]
    assert [str(path) for path in texts if str(workflow.folder) in path.read_text()] == []


@pytest.mark.slow
def test_a_second_run_has_nothing_to_do(minimal: tuple[Workflow, str]) -> None:
    assert "Nothing to be done" in minimal[0].run("--configfile", "config/minimal.yaml")


@pytest.mark.slow
def test_a_training_that_is_stopped_saves_a_checkpoint_and_goes_on_from_it(
    minimal: tuple[Workflow, str], workflow: Workflow
) -> None:
    for part in ("results", ".snakemake"):
        shutil.copytree(minimal[0].folder / part, workflow.folder / part, dirs_exist_ok=True)
    log = workflow.results("minimal") / "logs" / "train.log"
    # Nothing is saved on the way, and no spike ends it: a handful of answers makes a noisy loss.
    endless = {"iterations": 100_000, "save_every": 100_000, "decay_iterations": 0, "spike_threshold": 1e9}

    def training(iterations: int) -> list[str | Path]:
        train = MINIMAL["train"] | endless | {"iterations": iterations}
        configuration = workflow.configuration("endless", MINIMAL | {"train": train})
        return ["results/minimal/train/checkpoint.json", "--configfile", configuration]

    saved = "0"
    # Ctrl-C, and a cluster that ends a job, signal every process: the shell, train.py and tee.
    for number in (signal.SIGINT, signal.SIGTERM):
        log.unlink()
        process = workflow.start(*training(100_000))
        wait_for("iteration ", log, process)
        os.killpg(process.pid, number)
        process.communicate(timeout=60)
        assert process.returncode != 0
        assert saved == "0" or f"resuming after iteration {saved}" in log.read_text()
        (saved,) = re.findall(r"iteration (\d+) is saved, run again to continue", log.read_text())
    workflow.run(*training(int(saved) + 1))
    assert f"resuming after iteration {saved}" in log.read_text()


def wait_for(text: str, log: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a log file says something."""
    for _ in range(600):
        if log.exists() and text in log.read_text():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    raise AssertionError(f"{log} never said {text!r}")


@pytest.mark.slow
def test_real_bitcoin_closes_run_through_every_stage(workflow: Workflow) -> None:
    if not BTC.is_file():
        pytest.skip(f"{BTC} is not there")
    settings = {
        "run": "btc",
        "market": {"name": "BTC-USD", "source": "csv", "csv": {"path": str(BTC)}},
        "samples": {"test": 0.2, "validation": 0.1},
        "base_model": {"tiny": {"warm_up": {"steps": 200}}},
        "train": {
            "iterations": 20,
            "prompts_per_iteration": 4,
            "group_size": 4,
            "warm_up_iterations": 2,
            "decay_iterations": 20,
        },
        "simulate": {"max_invalid_share": 0.5},
    }
    workflow.run("--configfile", workflow.configuration("btc", settings))
    results = workflow.results("btc")
    files(results, FILES)
    summary = json.loads((results / "market/summary.json").read_text())
    assert (summary["name"], summary["synthetic"], summary["bars"]) == ("BTC-USD", False, 1717)
    metrics = json.loads((results / "leverage-2/metrics.json").read_text())
    assert metrics["market"]["hours"] == len(rows(results / "samples/test.jsonl"))
    assert metrics["market"]["synthetic"] is False
