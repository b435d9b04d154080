"""The workflow, planned and run for real."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from pptx import Presentation
from project_copy import MINIMAL, PROJECT, Workflow, files

ONCE = {"market", "samples", "base_model", "import_weights", "train", "export_weights"}
OF_A_LEVERAGE = {"simulate", "evaluate", "plot", "deck", "tearsheet"}
RULES = ONCE | {"infer"} | OF_A_LEVERAGE
BTC = PROJECT.parent / "shared" / "data" / "btc_usd_1h.csv"

VARIANT = "sampled-1"  # of the minimal run: another way to ask
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
    override.append("variants=[]")  # the demo's ask a checkpoint of iteration 400
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
    given = ("device=cuda", "base_model={tiny: {head_dim: 64}}", "infer={tensor: 2, data: 4}", "probe={enabled: true}")
    said = workflow.run(*arguments, *given)
    for rule in ("infer", "probe", "variants"):
        assert f"scripts/{rule}.py" in said
    assert said.count("scripts/gpus.py --device=cuda --count=8 ") == 4
    assert said.count("--tensor=2 --data=4 ") == 4
    on_cpu = workflow.run(*arguments, "infer={data: 2}")
    assert on_cpu.count("scripts/gpus.py --device=cpu --count=0 ") == 4  # train, too


# --- run ---


@pytest.mark.slow
def test_the_minimal_run_makes_every_file_a_log_and_a_benchmark(minimal: tuple[Workflow, str]) -> None:
    workflow, said = minimal
    results = workflow.results("minimal")
    files(results, [*FILES, *(f"infer/{VARIANT}/{name}" for name in ANSWERS)])
    jobs = ONCE | {"infer-trained", "infer-base", *(f"{rule}-2" for rule in OF_A_LEVERAGE)}
    jobs |= {"variants"}
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
    for model in ("trained", "base", VARIANT):
        decisions = rows(results / f"infer/{model}/decisions.jsonl")
        assert [row["id"] for row in decisions] == [row["metadata"]["id"] for row in tests]
    metrics = json.loads((results / "leverage-2/metrics.json").read_text())
    assert metrics["leverage"] == 2
    assert metrics["market"]["hours"] == len(tests) == 300
    ends = {row["key"]: row["final_capital"] for row in metrics["strategies"]}
    assert round(ends["always_buy"]) == 52_437
    assert round(ends["always_sell"]) == 149_632


@pytest.mark.slow
def test_the_variants_of_a_run_are_counted_and_tested_and_an_earlier_checkpoint_can_be_one(
    minimal: tuple[Workflow, str], workflow: Workflow
) -> None:
    for part in ("results", ".snakemake"):
        shutil.copytree(minimal[0].folder / part, workflow.folder / part, dirs_exist_ok=True)
    results = workflow.results("minimal")
    checkpoint = {"name": "iteration-10", "iteration": 10}
    settings = MINIMAL | {"variants": [*MINIMAL["variants"], checkpoint]}
    workflow.run("--configfile", workflow.configuration("checkpoint", settings))
    log = (results / "logs" / "variants.log").read_text()
    assert "all 300 answers are in the journal" in log  # the first one's
    assert "(iteration-10): 300 samples to ask, 0 in the journal" in log
    names = ["trained", VARIANT, "iteration-10"]
    said = {name: rows(results / f"infer/{name}/decisions.jsonl") for name in names}
    assert said["iteration-10"][0]["seed"] is None
    assert len({row["seed"] for row in said[VARIANT]}) == len(said[VARIANT])
    for name in names[1:]:  # other answers to the same questions
        assert [row["prompt_sha256"] for row in said[name]] == [row["prompt_sha256"] for row in said["trained"]]
        assert [row["logprob"] for row in said[name]] != [row["logprob"] for row in said["trained"]]
    assert json.loads((results / "model/iteration-10/model.json").read_text())["source"] == "iter_0000010"
    tests = json.loads((results / "leverage-2/evidence.json").read_text())["tests"]
    assert list(tests["base"]["variants"]["total_return"]) == names
    assert 0 < tests["reality_check"]["p_value"] <= 1
    different = len({tuple(row["decision"] for row in one) for one in said.values()})
    assert tests["sharpe"]["settings"]["trials"] == {"declared": 1, "ledger": different, "at_hand": 3, "used": 3}
    assert f"Total return of the {len(names)} variants" in deck_text(results / "leverage-2/deck.pptx")
    # A checkpoint that training does not keep is refused before anything runs.
    late = MINIMAL | {"variants": [checkpoint | {"iteration": 11}]}
    refused = workflow.snakemake("--dry-run", "--configfile", workflow.configuration("late", late))
    assert "variants.0.iteration: given 11; allowed: 10;" in refused.stderr


def deck_text(path: Path) -> str:
    """All cells of all tables on the slides."""
    shapes = [shape for slide in Presentation(str(path)).slides for shape in slide.shapes if shape.has_table]
    return " ".join(cell.text for shape in shapes for row in shape.table.rows for cell in row.cells)


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
def test_the_report_is_one_page_with_a_caption_for_every_figure(minimal: tuple[Workflow, str], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    minimal[0].run("--report", page, "--configfile", "config/minimal.yaml")
    text = page.read_text()
    (line,) = re.findall(r"^ *var results = (\{.*\});?$", text, re.M)
    shown = {path: entry for path, entry in json.loads(line).items() if "/leverage-2/" in path}
    assert shown.keys() == {f"results/minimal/leverage-2/{name}.png" for name in FIGURES}
    for path, entry in shown.items():
        caption = (PROJECT / "rules" / "captions" / f"{Path(path).stem}.rst").read_text().split(".")[0]
        assert caption in entry["caption"]
        assert "Leverage 2." in entry["caption"]
        # The figure itself, not a link to it.
        image = base64.b64decode(entry["data_uri"].partition("base64,")[2])
        assert image == (minimal[0].folder / path).read_bytes()
    assert "From hourly market bars to slides" in text
    assert re.findall(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=[\"'](?!data:)[^\"']+", text) == []


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
