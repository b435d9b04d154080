"""What a change reruns, and what not: asked of Snakemake after one real, finished run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from project_copy import MINIMAL, Workflow, changed

from trading.bars import read_bars
from trading.evidence.trials import record_variants, window_of

pytestmark = pytest.mark.slow

# What a rule makes, by its first file; what follows from it, in order.
MARKET, SAMPLES = "market/bars.csv", "samples/train.jsonl"
BASE, WEIGHTS = "model/base", "model/megatron"
TRAIN, EXPORT = "train/checkpoint.json", "model/trained"
INFER_TRAINED, INFER_BASE = "infer/trained/decisions.jsonl", "infer/base/decisions.jsonl"
VARIANTS = "infer/sampled-1/decisions.jsonl"
OF_A_LEVERAGE = ("equity.csv", "evidence.json", "equity_curve.png", "deck.pptx", "tearsheet.html")
SIMULATE, EVALUATE, PLOT, DECK, TEARSHEET = (f"leverage-2/{name}" for name in OF_A_LEVERAGE)
STAGES = (
    MARKET, SAMPLES, BASE, WEIGHTS, TRAIN, EXPORT, INFER_TRAINED, INFER_BASE, VARIANTS,
    SIMULATE, EVALUATE, PLOT, DECK, TEARSHEET,
)  # fmt: skip

REPORT = {PLOT, DECK, TEARSHEET}
FROM_EVALUATE = {EVALUATE} | REPORT
TRADING = {SIMULATE} | FROM_EVALUATE
FROM_TRAIN = {TRAIN, EXPORT, INFER_TRAINED, VARIANTS} | TRADING
ADDED = {VARIANTS} | FROM_EVALUATE
FROM_SAMPLES = {SAMPLES, INFER_BASE} | FROM_TRAIN
FROM_MARKET = {MARKET} | FROM_SAMPLES
FROM_BASE = {BASE, WEIGHTS, INFER_BASE} | FROM_TRAIN


def stages(planned: set[str]) -> set[str]:
    return planned & set(STAGES)


@pytest.fixture
def finished(minimal: tuple[Workflow, str]) -> Workflow:
    return minimal[0]


def test_nothing_changed_nothing_runs(finished: Workflow) -> None:
    assert finished.planned(finished.configuration("same", MINIMAL)) == set()


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("market.name", "Another", FROM_MARKET),
        ("market.gaps", "allow", FROM_MARKET),
        ("market.synthetic.momentum", 0, FROM_MARKET),
        ("samples.validation", 32, FROM_SAMPLES),
        ("samples.mask", False, FROM_SAMPLES),
        ("base_model.name", "Another", FROM_BASE),
        ("base_model.tiny.warm_up.steps", 201, FROM_BASE),
        ("train.kl_beta", 0.05, FROM_TRAIN),
        ("train.iterations", 19, FROM_TRAIN),
        ("train.reward.invalid", -8, FROM_TRAIN),
        ("infer.max_new_tokens", 33, {INFER_TRAINED, INFER_BASE, VARIANTS} | TRADING),
        ("infer.trained.temperature", 1, {INFER_TRAINED, VARIANTS} | TRADING),
        ("variants", [*MINIMAL["variants"], {"name": "sampled-2", "temperature": 1, "seed": 2}], ADDED),
        ("infer.base.seed", 1, {INFER_BASE} | TRADING),
        ("probe.enabled", True, FROM_EVALUATE),
        ("simulate.capital", 50_000, TRADING),
        ("simulate.invalid", "SELL", TRADING),
        ("simulate.fee_bps", 5, TRADING),
        ("simulate.maintenance_margin", 0.01, TRADING),
        ("evaluate.trials", 15, FROM_EVALUATE),
        ("evaluate.break_even_bps", 2, FROM_EVALUATE),
        ("deck.author", "A. Trader", {DECK}),
        ("device", "cuda", {INFER_BASE} | FROM_TRAIN),
    ],
)
def test_a_changed_setting_reruns_the_rules_that_read_it_and_what_follows(
    finished: Workflow, path: str, value: Any, expected: set[str]
) -> None:
    configuration = finished.configuration("changed", changed(MINIMAL, path, value))
    assert stages(finished.planned(configuration)) == expected


def test_equal_values_written_in_another_way_rerun_nothing(finished: Workflow) -> None:
    settings = MINIMAL
    for path, value in [
        ("simulate.leverage", [2.0]),
        ("simulate.capital", 100_000.0),
        ("train.learning_rate", "1e-3"),
        ("infer.base.temperature", 1.0),
        ("market.csv.path", "another/source.csv"),  # of a source that is not used
        ("base_model.folder", "another/source"),
        ("base_model.hub.name", "Another/Model"),
    ]:
        settings = changed(settings, path, value)
    assert finished.planned(finished.configuration("same", settings)) == set()


def test_another_run_shares_nothing(finished: Workflow) -> None:
    configuration = finished.configuration("changed", MINIMAL | {"run": "another"})
    assert stages(finished.planned(configuration)) == set(STAGES)


def test_another_leverage_runs_simulate_to_deck_and_leaves_the_rest_untouched(
    finished: Workflow,
) -> None:
    results = finished.results("minimal")

    def state() -> dict[str, int]:
        return {
            str(path.relative_to(results)): path.stat().st_mtime_ns for path in results.rglob("*") if path.is_file()
        }

    before = state()
    said = finished.run("--configfile", finished.configuration("leverage", changed(MINIMAL, "simulate.leverage", [3])))
    after = state()
    new = set(after) - set(before)
    assert {name: after[name] for name in before} == before
    assert {f"leverage-3/{name}" for name in OF_A_LEVERAGE} <= new
    assert {name.split("/")[0] for name in new} == {"leverage-3", "logs", "benchmarks", "host"}
    assert "6 of 6 steps (100%) done" in said  # simulate, evaluate, plot, deck, tearsheet, all
    both = finished.configuration("both", changed(MINIMAL, "simulate.leverage", [2, 3.0]))
    assert finished.planned(both) == set()


def test_a_trial_of_another_run_has_the_tests_made_again_once(finished: Workflow, workflow: Workflow) -> None:
    for part in ("results", ".snakemake"):
        shutil.copytree(finished.folder / part, workflow.folder / part, dirs_exist_ok=True)
    configuration = Path("config/minimal.yaml")
    evidence = workflow.results("minimal") / EVALUATE
    bars = read_bars(workflow.results("minimal") / MARKET)
    seconds, closes = bars.time.astype("int64").tolist(), bars.close.tolist()
    ledger = workflow.folder / "results/ledger"

    def trials() -> int:
        return json.loads(evidence.read_text())["tests"]["sharpe"]["settings"]["trials"]["ledger"]

    before = trials()
    # The control: what was tried on earlier hours is no news.
    record_variants(ledger, window_of(seconds[:500], closes[:500]), "other", [("trained", [1.0] * 499)])
    assert workflow.planned(configuration) == set()
    record_variants(ledger, window_of(seconds[-100:], closes[-100:]), "other", [("trained", [1.0] * 99)])
    assert stages(workflow.planned(configuration)) == FROM_EVALUATE
    # With a second leverage at the same time, and no further run afterwards.
    both = workflow.configuration("both", changed(MINIMAL, "simulate.leverage", [2, 3]))
    workflow.run("--configfile", both)
    assert trials() == before + 1
    assert workflow.planned(both) == set()


# --- code ---


def edit(workflow: Workflow, file: str, old: str, new: str) -> None:
    """Replace the first place where `old` stands."""
    path = workflow.folder / "scripts" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.fixture
def editable(finished: Workflow) -> Workflow:
    """The finished run; afterwards its code is as it was."""
    saved = finished.folder / "scripts.saved"
    shutil.copytree(finished.folder / "scripts", saved)
    yield finished
    shutil.rmtree(finished.folder / "scripts")
    saved.rename(finished.folder / "scripts")


def planned_after_edit(workflow: Workflow) -> set[str]:
    return stages(workflow.planned(Path("config/minimal.yaml")))


def test_a_mended_line_in_the_accounting_reruns_simulate_and_what_follows(editable: Workflow) -> None:
    edit(editable, "trading/accounting.py", "\nFloats = ", "\nMENDED = 1\nFloats = ")
    assert planned_after_edit(editable) == TRADING


def test_a_mended_line_in_a_statistical_test_reruns_evaluate_and_what_follows(editable: Workflow) -> None:
    edit(editable, "trading/evidence/null.py", "\nFloats = ", "\nMENDED = 1\nFloats = ")
    assert planned_after_edit(editable) == FROM_EVALUATE


def test_a_changed_style_of_the_page_makes_the_page_again(editable: Workflow) -> None:
    edit(editable, "tearsheet_page/page.css", "{", "{ ")
    assert planned_after_edit(editable) == {TEARSHEET}


def test_edited_comments_and_docstrings_rerun_nothing(editable: Workflow) -> None:
    for file in ("train.py", "grpo/loop.py", "grpo/loss.py", "grpo/qwen3.py", "infer.py", "trading/accounting.py"):
        edit(editable, file, '"""', '"""Reworded: ')
        edit(editable, file, "from __future__ import annotations\n", "from __future__ import annotations  # why\n")
    assert planned_after_edit(editable) == set()


def test_edited_lines_of_the_training_do_not_train_again(editable: Workflow) -> None:
    for file in ("grpo/loss.py", "grpo/loop.py", "grpo/advantages.py", "train.py"):
        path = editable.folder / "scripts" / file
        path.write_text(path.read_text() + "\n\nANOTHER_LINE = 1\n")
    assert planned_after_edit(editable) == set()


def test_a_raised_version_of_the_training_trains_again(editable: Workflow) -> None:
    edit(editable, "training/key.py", "TRAINING_VERSION = ", "TRAINING_VERSION = 1000")
    assert planned_after_edit(editable) == FROM_TRAIN


def test_what_says_which_samples_anothers_decisions_answer_is_an_input(finished: Workflow, tmp_path: Path) -> None:
    results = finished.results("minimal")
    other = tmp_path / "other/infer/trained"
    other.mkdir(parents=True)
    for name in ("decisions.jsonl", "summary.json"):
        shutil.copy(results / "infer/trained" / name, other / name)
    named = changed(MINIMAL, "evaluate.variants", [f"other={other / 'decisions.jsonl'}"])
    configuration = finished.configuration("minimal-and-another", named)
    finished.run("--configfile", configuration)
    assert finished.planned(configuration) == set()
    summary = other / "summary.json"
    summary.write_text(summary.read_text() + "\n")
    assert stages(finished.planned(configuration)) == FROM_EVALUATE
