"""infer.py for real, undisturbed: SGLang on the CPU with a tiny random Qwen3."""

from __future__ import annotations

from pathlib import Path

import pytest
from infer_run import LAST_PLACE, NOISE, SAMPLES, Run, difference, rows_of

from inference.sampling import Sampling

pytestmark = pytest.mark.slow

END = 2  # <|im_end|>


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
    assert difference(rows, others) <= LAST_PLACE
    sampling = Sampling(12, 0.8, seed=5)
    assert [row["seed"] for row in rows] == [sampling.seed_of(number) for number in range(SAMPLES)]


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


def test_bad_input_is_one_line_and_no_output(shop: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text((shop / "test.jsonl").read_text()[:-30])
    for change, message in (
        ({"samples": broken}, f"{broken}, line 200: not a JSON object"),
        ({"model": tmp_path / "none"}, "no such folder"),
        ({"temperature": 6.0}, "--temperature: given '6.0'; allowed: a number from 0 to 5"),
        ({"device": "cuda"}, "torch sees no GPU here"),
    ):
        run = Run(tmp_path / "run", shop, **change)
        assert run.start().wait(timeout=60) == 1
        assert run.said().startswith("infer: error: ")
        assert message in run.said()
        assert run.said().count("\n") == 1
        assert not list(run.folder.glob("*.json*"))
