"""infer.py for real: SGLang on the CPU with a tiny random Qwen3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.tiny_model import sample_rows, write_tiny_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SAMPLES = 200
END = 2  # <|im_end|>
NOISE = ("Traceback", "Warning", "WARNING", "INFO", "ERROR", "stand-in")


class Run:
    """One call of infer.py: its arguments, its outputs, its processes."""

    def __init__(self, folder: Path, shop: Path, **changes: object) -> None:
        self.folder = folder
        values = {
            "model": shop / "tiny", "variant": "base", "samples": shop / "test.jsonl", "device": "cpu",
            "max-new-tokens": 12, "temperature": 0.0, "batch": 8, "timeout-s": 60,
            "journal": folder / "journal", "output-decisions": folder / "decisions.jsonl",
            "output-summary": folder / "summary.json", "output-timing": folder / "timing.json",
        }  # fmt: skip
        values |= {name.replace("_", "-"): value for name, value in changes.items()}
        self.command = [sys.executable, str(ROOT / "scripts" / "infer.py")]
        self.command += [word for name, value in values.items() for word in (f"--{name}", str(value))]
        self.folder.mkdir(exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)
        self.log = self.folder / "log"

    def start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "TMPDIR": str(self.folder / "tmp")}
        with open(self.log, "wb") as log:
            return subprocess.Popen(self.command, stdout=log, stderr=log, env=environment)

    def done(self) -> Run:
        assert self.start().wait(timeout=200) == 0, self.said()
        return self

    def said(self) -> str:
        return self.log.read_text()

    def decisions(self) -> list[dict[str, Any]]:
        return rows_of(self.folder / "decisions.jsonl")

    def json(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / f"{name}.json").read_text())

    def journal(self) -> Path | None:
        return next((self.folder / "journal").glob("*/answers.jsonl"), None)

    def answered(self) -> int:
        path = self.journal()
        return path.read_bytes().count(b"\n") if path else 0


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def wait_for(what: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, "it ended before its time"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def all_gone(processes: list[psutil.Process]) -> bool:
    gone, alive = psutil.wait_procs(processes, timeout=15)
    return bool(gone) and not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    write_tiny_model(folder / "tiny")
    rows = sample_rows(SAMPLES)
    rows[-1]["prompt"] = rows[0]["prompt"]  # the same question twice
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def greedy(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An undisturbed run."""
    return Run(tmp_path_factory.mktemp("greedy"), shop).done()


def test_every_sample_has_a_decision_in_order(greedy: Run) -> None:
    rows = greedy.decisions()
    assert [row["id"] for row in rows] == [f"test-{number:06d}" for number in range(SAMPLES)]
    assert all(row["status"] in ("truncated", "unparsable") and row["decision"] == "HOLD" for row in rows)
    assert all(row["seed"] is None and row["logprob"] < 0 for row in rows)
    summary = greedy.json("summary")
    assert (summary["model"], summary["variant"], summary["engine"]) == ("tiny", "base", "SGLang 0.5.6")
    assert summary["truncated"] + summary["unparsable"] == summary["samples"] == SAMPLES
    assert summary["parameters"]["temperature"] == 0.0
    assert not [value for value in summary["parameters"].values() if "/" in str(value)]
    timing = greedy.json("timing")
    assert (timing["answers"], timing["resumed"]) == (SAMPLES, 0)
    assert timing["tokens"] == sum(len(row["output_ids"]) for row in rows)


def test_a_user_reads_only_our_lines(greedy: Run) -> None:
    lines = greedy.said().splitlines()
    assert lines[0] == "tiny (base): 200 samples to ask, 0 in the journal"
    assert lines[1].startswith("SGLang 0.5.6 is ready on cpu after ")
    assert lines[-1].startswith("sample 200/200 (100%), ")
    assert lines[-1].endswith(" tokens/s")
    assert not [line for line in lines if any(word in line for word in NOISE)]
    assert len(lines) < 12


def test_greedy_answers_are_those_of_transformers(greedy: Run, shop: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shop / "tiny")
    model = AutoModelForCausalLM.from_pretrained(shop / "tiny", torch_dtype=torch.float32).eval()
    samples = rows_of(shop / "test.jsonl")
    for sample, row in list(zip(samples, greedy.decisions(), strict=True))[:32]:
        ids = tokenizer.apply_chat_template(sample["prompt"], add_generation_prompt=True, return_tensors="pt")
        out = model.generate(ids, max_new_tokens=12, do_sample=False, return_dict_in_generate=True, output_logits=True)
        assert out.sequences[0, ids.shape[1] :].tolist() == row["output_ids"]
        probabilities = [logits[0].log_softmax(-1) for logits in out.logits]
        total = sum(p[i].item() for p, i in zip(probabilities, row["output_ids"], strict=True))
        assert row["logprob"] == pytest.approx(total, abs=1e-3)


def test_a_killed_run_is_continued_to_the_same_bytes(greedy: Run, shop: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", shop)
    process = run.start()
    wait_for(lambda: run.answered() >= 40, process)
    children = family(process)
    process.kill()
    process.wait()
    assert all_gone(children)
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
    for name in ("decisions.jsonl", "summary.json"):
        assert (run.folder / name).read_bytes() == (greedy.folder / name).read_bytes()

    (run.folder / "decisions.jsonl").unlink()
    run.done()  # all there: no engine is started
    assert run.said() == "all 200 answers are in the journal\n"
    assert (run.folder / "decisions.jsonl").read_bytes() == (greedy.folder / "decisions.jsonl").read_bytes()


@pytest.fixture(scope="module")
def sampled(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """Two runs with the same seed and different batches, at the same time: each needs its own port."""
    folder = tmp_path_factory.mktemp("sampled")
    one = Run(folder / "one", shop, temperature=0.8, seed=5)
    other = Run(folder / "other", shop, temperature=0.8, seed=5, batch=64)
    first, second = one.start(), other.start()
    assert (first.wait(200), second.wait(200)) == (0, 0), one.said() + other.said()
    return one, other


def test_samples_repeat_to_the_token_whatever_the_batch(sampled: tuple[Run, Run]) -> None:
    rows, others = (run.decisions() for run in sampled)
    assert [row["output_ids"] for row in rows] == [row["output_ids"] for row in others]
    assert [row["logprob"] for row in rows] == pytest.approx([row["logprob"] for row in others], abs=1e-3)
    assert [row["seed"] for row in rows] == list(range(5, 5 + SAMPLES))


def test_each_sample_is_drawn_for_itself(sampled: tuple[Run, Run]) -> None:
    rows = sampled[0].decisions()
    assert rows[0]["prompt_sha256"] == rows[-1]["prompt_sha256"]  # the same question, with another seed
    assert len({tuple(row["output_ids"]) for row in rows}) == SAMPLES


def test_an_answer_ends_at_the_end_of_turn(sampled: tuple[Run, Run]) -> None:
    stopped = [row for row in sampled[0].decisions() if row["finish_reason"] == "stop"]
    assert stopped
    assert all(row["output_ids"][-1] == END and "<|im_end|>" not in row["text"] for row in stopped)
    assert all(row["status"] == "unparsable" for row in stopped)


def test_samples_are_draws_from_the_probabilities_of_transformers(sampled: tuple[Run, Run], shop: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from inference.sampling import gumbel

    tokenizer = AutoTokenizer.from_pretrained(shop / "tiny")
    model = AutoModelForCausalLM.from_pretrained(shop / "tiny", torch_dtype=torch.float32).eval()
    for sample, row in list(zip(rows_of(shop / "test.jsonl"), sampled[0].decisions(), strict=True))[:16]:
        prompt = tokenizer.apply_chat_template(sample["prompt"], add_generation_prompt=True)
        places = torch.arange(len(row["output_ids"])) + len(prompt) - 1
        with torch.no_grad():
            logits = model(torch.tensor([prompt + row["output_ids"]])).logits[0, places].double()
        seeds = torch.full_like(places, row["seed"])
        noise = gumbel(seeds, places, torch.arange(logits.shape[1]))
        assert (logits / 0.8 + noise).argmax(-1).tolist() == row["output_ids"]
        logprobs = (logits / 0.8).log_softmax(-1)[range(len(places)), row["output_ids"]]
        assert row["logprob"] == pytest.approx(logprobs.sum().item(), abs=1e-3)


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


def test_bad_input_is_one_line_and_no_output(shop: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text((shop / "test.jsonl").read_text()[:-30])
    for change, message in (
        ({"samples": broken}, f"{broken}, line 200: not a JSON object"),
        ({"model": tmp_path / "none"}, "no such folder"),
        ({"temperature": 1.0}, "--seed is missing"),
        ({"device": "cuda"}, "torch sees no GPU here"),
    ):
        run = Run(tmp_path / "run", shop, **change)
        assert run.start().wait(timeout=60) == 1
        assert run.said().startswith("infer: error: ")
        assert message in run.said()
        assert run.said().count("\n") == 1
        assert not list(run.folder.glob("*.json*"))
