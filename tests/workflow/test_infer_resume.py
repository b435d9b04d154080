"""infer.py for real, disturbed: killed, terminated, its engine dead; and what is asked when it starts again."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import psutil
import pytest
from infer_run import LAST_PLACE, NOISE, SAMPLES, Run, all_gone, difference, family, kill, rows_of, wait_for

pytestmark = pytest.mark.slow


def test_a_killed_run_is_continued(greedy: Run, shop: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", shop)
    process = run.start()
    wait_for(lambda: run.answered() >= 40, process)
    kill(process)
    kept = run.answered()
    assert 40 <= kept < SAMPLES
    assert not (run.folder / "decisions.jsonl").exists()
    journal = run.journal()
    assert journal
    with open(journal, "a", encoding="utf-8") as handle:
        handle.write('{"id": "test-0001')

    run.done()
    assert f"{SAMPLES - kept} samples to ask, {kept} in the journal" in run.said()
    timing = run.json("timing")
    assert (timing["answers"], timing["resumed"]) == (SAMPLES - kept, kept)
    assert difference(run.decisions(), greedy.decisions()) <= LAST_PLACE
    assert run.json("summary") == greedy.json("summary")

    (run.folder / "decisions.jsonl").rename(run.folder / "before.jsonl")
    run.done()  # all there: no engine is started
    assert run.said() == "all 200 answers are in the journal\n"
    assert (run.folder / "decisions.jsonl").read_bytes() == (run.folder / "before.jsonl").read_bytes()


def test_a_run_killed_inside_a_batch_asks_what_is_missing_and_nothing_else(shop: Path, tmp_path: Path) -> None:
    # One batch of all: whatever is in the journal before the end was written inside it. Sampled hot, answers
    # end by chance, each at another length.
    hot = {"temperature": 1.5, "seed": 5, "max_new_tokens": 120, "batch": SAMPLES}
    whole = Run(tmp_path / "whole", shop, **hot).done()
    lengths = {len(row["output_ids"]) for row in whole.decisions()}
    assert len(lengths) > 20

    run = Run(tmp_path / "run", shop, **hot)
    process = run.start()
    wait_for(lambda: run.answered() >= 5, process)
    kill(process)
    journal = run.journal()
    assert journal
    kept = journal.read_bytes()
    first = [row["id"] for row in rows_of(journal)]
    assert 5 <= len(first) < SAMPLES

    run.done()
    assert journal.read_bytes().startswith(kept)  # the answers of before stand as they were
    asked = [row["id"] for row in rows_of(journal)][len(first) :]
    assert len(asked) == run.json("timing")["answers"] == SAMPLES - len(first)
    assert sorted(first + asked) == [row["id"] for row in whole.decisions()]
    assert difference(run.decisions(), whole.decisions()) <= LAST_PLACE
    assert run.json("summary") == whole.json("summary")

    other = Run(tmp_path / "other", shop, **{**hot, "seed": 6, "max_new_tokens": 12}).done()
    assert difference(other.decisions(), whole.decisions()) > LAST_PLACE  # the control


def test_a_setting_that_only_watched_the_training_asks_nothing_again(greedy: Run, shop: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny"
    shutil.copytree(shop / "tiny", model)
    shutil.copytree(greedy.folder / "journal", tmp_path / "run" / "journal")
    (model / "model.json").write_text('{"name": "tiny", "parameters": {"keep": 3}}')
    run = Run(tmp_path / "run", shop, model=model).done()
    assert run.said() == "all 200 answers are in the journal\n"
    assert run.decisions() == greedy.decisions()
    assert run.json("summary")["inputs"]["model"] != greedy.json("summary")["inputs"]["model"]

    (model / "generation_config.json").write_text('{"eos_token_id": [2, 5]}')
    process = run.start()  # the control
    wait_for(lambda: "200 samples to ask, 0 in the journal" in run.said(), process)
    process.kill()
    process.wait()


def test_a_terminated_run_leaves_nothing_behind(shop: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", shop, max_new_tokens=60, batch=2)
    process = run.start()
    wait_for(lambda: run.answered() >= 4, process)
    children = family(process)
    process.terminate()
    assert process.wait(timeout=30) == 143, run.said()
    assert all_gone(children)
    assert not any((run.folder / "tmp").iterdir())
    assert not list(run.folder.glob("*.json*"))
    assert run.answered() >= 4
    assert not [line for line in run.said().splitlines() if any(word in line for word in NOISE)], run.said()


def test_a_start_terminated_in_the_middle_of_a_fork_ends_too(shop: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", shop)
    process = run.start()
    children: list[psutil.Process] = []
    wait_for(lambda: bool(children.extend(family(process)) or children), process)
    process.terminate()
    assert process.wait(timeout=30) == 143, run.said()
    assert all_gone(children)
    assert not any((run.folder / "tmp").iterdir())


def test_a_dead_engine_is_said_in_one_line(shop: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", shop, max_new_tokens=60, batch=2)
    process = run.start()
    wait_for(lambda: run.answered() >= 4, process)
    children = family(process)
    next(child for child in children if "scheduler" in " ".join(child.cmdline())).kill()
    assert process.wait(timeout=30) == 1
    assert "infer: error: SGLang's process died (exit code -9)" in run.said().splitlines()[-1]
    assert all_gone(children)
    assert not any((run.folder / "tmp").iterdir())


@pytest.mark.long
def test_a_hanging_engine_is_given_up(shop: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", shop, max_new_tokens=60, batch=2, timeout_s=25)
    process = run.start()
    wait_for(lambda: run.answered() >= 4, process)
    children = family(process)
    next(child for child in children if "scheduler" in " ".join(child.cmdline())).send_signal(signal.SIGSTOP)
    assert process.wait(timeout=60) == 1
    assert "infer: error: no sign of life from SGLang for 25 s" in run.said().splitlines()[-1]
    assert all_gone(children)
