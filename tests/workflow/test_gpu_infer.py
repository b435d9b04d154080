"""`make test-gpu`: SGLang on CUDA. Answers do not depend on the batch, the cache or the copy of the model that gives
them, are drawn from the right distribution, and the GPU's memory is free again afterwards."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import gpu_results
import pytest
import torch
from infer_run import ROOT, SAMPLES, Run, kill, rows_of, wait_for, write_shop

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU, as without -m gpu"),
    pytest.mark.skipif(
        importlib.util.find_spec("sgl_kernel") is None,
        reason="sgl_kernel is not installed; the image infer-cuda has it",
    ),
    pytest.mark.timeout(900),
]
GPU: dict[str, Any] = {"device": "cuda", "timeout_s": 600, "attention": "triton", "memory_fraction": 0.5}
DRAWN = {**GPU, "temperature": 0.8, "seed": 5, "batch": 200}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Heads of 64: the kernels for GPUs take no smaller ones.
    return write_shop(tmp_path_factory.mktemp("shop"), context=512, thinking_template=True, head=64)


@pytest.fixture(scope="module")
def drawn(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished(tmp_path_factory.mktemp("drawn"), shop, **DRAWN)


def finished(folder: Path, shop: Path, **changes: Any) -> Run:
    run = Run(folder, shop, **changes)
    assert run.start().wait(timeout=600) == 0, run.said()
    return run


def ids(run: Run) -> list[list[int]]:
    return [row["output_ids"] for row in run.decisions()]


def used_mb() -> int:
    """Memory in use on the first GPU that is seen, by whomever."""
    free, total = torch.cuda.mem_get_info(0)
    return (total - free) >> 20


@pytest.mark.parametrize("change", [{"batch": 8}, {"prefix_cache": True}])
def test_answers_do_not_depend_on_the_batch_or_the_cache(
    drawn: Run, shop: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    assert ids(finished(tmp_path / "run", shop, **{**DRAWN, **change})) == ids(drawn)
    assert len({tuple(row) for row in ids(drawn)}) > SAMPLES // 2  # the control: they differ among themselves


@pytest.mark.parametrize("attention", ["fa3", "flashinfer"])
def test_other_kernels_repeat_too(shop: Path, tmp_path: Path, attention: str) -> None:
    one, other = (
        finished(tmp_path / str(batch), shop, **{**DRAWN, "attention": attention, "batch": batch})
        for batch in (200, 16)
    )
    assert ids(one) == ids(other)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_copies_answer_the_same_and_shared_models_answer(drawn: Run, shop: Path, tmp_path: Path) -> None:
    assert ids(finished(tmp_path / "data", shop, **DRAWN, data=2)) == ids(drawn)
    one, other = (finished(tmp_path / str(b), shop, **{**DRAWN, "tensor": 2, "batch": b}) for b in (200, 16))
    assert ids(one) == ids(other)


def test_tokens_are_drawn_by_their_probabilities(shop: Path, tmp_path: Path) -> None:
    """The first token of one question, asked 2000 times: SGLang's own seeds would give other shares."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (row, *_), count = rows_of(shop / "test.jsonl"), 2000
    samples = tmp_path / "same.jsonl"
    lines = ({**row, "metadata": {**row["metadata"], "id": f"test-{n:06d}"}} for n in range(count))
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    changes = {**DRAWN, "temperature": 0.5, "samples": samples, "max_new_tokens": 1, "batch": count}
    seen = Counter(tokens[0] for tokens in ids(finished(tmp_path / "run", shop, **changes)))

    tokenizer = AutoTokenizer.from_pretrained(shop / "tiny")
    model = AutoModelForCausalLM.from_pretrained(shop / "tiny", torch_dtype=torch.bfloat16).cuda().eval()
    prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_tensors="pt").cuda()
    with torch.no_grad():
        expected = (count * (model(prompt).logits[0, -1].float() / 0.5).softmax(-1)).tolist()
    often = [token for token, value in enumerate(expected) if value >= 8]
    square = sum((seen[token] - expected[token]) ** 2 / expected[token] for token in often)
    assert len(often) > 10
    assert square < len(often) + 5 * math.sqrt(2 * len(often))  # five standard deviations of chi-squared


def test_a_second_pass_finishes_what_was_cut(drawn: Run, shop: Path, tmp_path: Path) -> None:
    run = finished(tmp_path / "run", shop, **DRAWN, finish=True, prefix_cache=True)
    assert ids(run) == ids(drawn)
    cut = drawn.json("summary")["truncated"]
    assert (run.json("summary")["finished"], run.json("summary")["truncated"]) == (cut, 0)
    assert run.json("timing")["finishing"]["cached_tokens"] > 0


def test_memory_is_free_again_after_the_end_and_after_a_kill(shop: Path, tmp_path: Path) -> None:
    before = used_mb()
    run = Run(tmp_path / "run", shop, **{**DRAWN, "batch": 4, "max_new_tokens": 100})
    process = run.start()
    wait_for(lambda: run.answered() >= 8, process, 600)
    assert used_mb() > before + 1000  # the control
    kill(process)
    assert used_mb() < before + 500
    finished(tmp_path / "run", shop, **DRAWN)
    assert used_mb() < before + 500


def test_throughput_against_transformers(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "throughput.json"
    command = [sys.executable, ROOT / "benchmarks/inference_throughput.py", "--shape=0.6b", "--device=cuda"]
    command += [f"--samples={shop / 'test.jsonl'}", "--max-new-tokens=128", "--count=200"]
    done = subprocess.run(
        [*command, "--flags=--attention=triton --memory-fraction=0.5", f"--output={out}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(out.read_text())
    assert min(found[name]["tokens_per_second"] for name in ("sglang", "transformers")) > 0
    gpu_results.keep("inference-throughput", found, gpu_results.throughput_summary(found, "sglang", "transformers"))
