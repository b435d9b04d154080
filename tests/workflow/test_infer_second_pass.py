"""infer.py for real with --finish: what a too small max_new_tokens cuts is closed and answered in a second pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from infer_run import LAST_PLACE, Run, difference, kill, rows_of, wait_for, write_shop

from inference.finishing import CLOSING, closing, finishing
from inference.sampling import Sampling
from trading.answers import parse_answer

pytestmark = pytest.mark.slow

SAMPLES = 48
# Hot enough that some answers end by themselves before the limit.
DRAWN = {"temperature": 1.5, "seed": 5, "max_new_tokens": 12, "batch": 16}
ANSWERS = ("Buy", "Sell")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # A template that opens the thought itself, as Qwen3-Thinking's does; the tags are special tokens, as the demo's.
    return write_shop(tmp_path_factory.mktemp("shop"), SAMPLES, context=512, thinking_template=True, special_tags=True)


@pytest.fixture(scope="module")
def plain(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Without a second pass."""
    return Run(tmp_path_factory.mktemp("plain"), shop, **DRAWN).done()


@pytest.fixture(scope="module")
def finished(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With it, and a prefix cache."""
    return Run(tmp_path_factory.mktemp("finished"), shop, finish=True, prefix_cache=True, **DRAWN).done()


def second_journal(run: Run) -> list[Path]:
    """The journals of a run but the first one, oldest first."""
    return sorted(run.folder.glob("journal/*/answers.jsonl"), key=lambda path: path.stat().st_ctime)[1:]


def test_every_cut_answer_is_finished_and_no_other(plain: Run, finished: Run) -> None:
    before, rows = plain.decisions(), finished.decisions()
    # Random words hold tags: with two thoughts in it, no answer can be finished.
    cut = [row["id"] for row in before if row["status"] == "truncated" and closing(row["text"])]
    assert 0 < len(cut) < SAMPLES
    assert [row["id"] for row in rows if row["status"] == "finished"] == cut
    assert [row["id"] for row in rows if "finish" in row] == cut
    assert {row["decision"] for row in rows if row["status"] == "finished"} == {"BUY", "SELL"}
    # The first pass is what it is without a second one.
    for one, other in zip(before, rows, strict=True):
        assert (one["text"], one["output_ids"], one["seed"]) == (other["text"], other["output_ids"], other["seed"])
    for row in rows:
        if row["status"] == "finished":
            whole = row["text"][: row["finish"]["kept"]] + row["finish"]["text"]
            assert parse_answer(whole, truncated=False) == (row["decision"], "ok")
            assert row["finish"]["text"] in [
                f"{added}<answer>{word}</answer>" for added in (CLOSING, "\n\n", "") for word in ANSWERS
            ]


def test_they_are_counted_apart(plain: Run, finished: Run) -> None:
    before, summary = plain.json("summary"), finished.json("summary")
    assert (before["finished"], before["buy"], before["sell"]) == (0, 0, 0)
    assert summary["finished"] + summary["truncated"] == before["truncated"]
    assert summary["truncated"] < summary["finished"]
    assert summary["unparsable"] == before["unparsable"]
    assert summary["buy"] + summary["sell"] == summary["finished"]
    timing = finished.json("timing")
    assert (timing["answers"], timing["finishing"]["answers"]) == (SAMPLES, summary["finished"])
    assert f"tiny (base): {summary['finished']} cut answers to ask, 0 in the journal" in finished.said()
    assert " truncated, " in finished.said()


def test_the_prefix_cache_is_used_and_reported(plain: Run, finished: Run) -> None:
    without, timing = plain.json("timing"), finished.json("timing")
    assert (without["cached_tokens"], without["prompt_tokens"] > 0) == (0, True)
    assert without["prompt_tokens"] == timing["prompt_tokens"]
    # Of a second pass its prompt and its thought are there, as far as they were not needed for others since.
    second = timing["finishing"]
    assert 0.05 * second["prompt_tokens"] < second["cached_tokens"] < second["prompt_tokens"]
    assert "of prompts from the cache" in finished.said()


def test_the_second_pass_draws_from_the_probabilities_of_the_two_answers(finished: Run, shop: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from inference.sampling import gumbel

    tokenizer: Any = AutoTokenizer.from_pretrained(shop / "tiny")
    model = AutoModelForCausalLM.from_pretrained(shop / "tiny", torch_dtype=torch.float32).eval()
    texts = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    sampling = finishing(Sampling(12, 1.5, seed=5))
    closed = tokenizer(CLOSING + "<answer>", add_special_tokens=False)["input_ids"]
    looked_at = 0
    for number, (sample, row) in enumerate(zip(rows_of(shop / "test.jsonl"), finished.decisions(), strict=True)):
        if row["status"] != "finished" or CLOSING not in row["finish"]["text"] or looked_at == 8:
            continue
        looked_at += 1
        assert row["finish"]["seed"] == sampling.seed_of(number)
        prompt = tokenizer.apply_chat_template(sample["prompt"], add_generation_prompt=True)
        prompt = [*prompt, *row["output_ids"], *closed]
        said, ids = "", row["finish"]["output_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].double() / 1.5
        for place, token in enumerate(ids):
            if not said:  # the only place where there is something to choose: the rest is forced
                allowed = [
                    n for n, text in enumerate(texts) if text and any(a.startswith(said + text) for a in ANSWERS)
                ]
                where = torch.tensor([len(prompt) - 1 + place])
                noise = gumbel(torch.tensor([row["finish"]["seed"]]), where, torch.tensor(allowed))[0]
                chosen = int((logits[place, allowed] + noise).argmax())
                assert token == allowed[chosen]
                logprob = logits[place, allowed].log_softmax(-1)[chosen].item()
                assert row["finish"]["logprob"] == pytest.approx(logprob, abs=1e-3)
            said += texts[token] if token != tokenizer.eos_token_id else ""
        assert said in ANSWERS
    assert looked_at == 8


def test_a_run_killed_in_its_second_pass_loses_nothing(finished: Run, shop: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", shop, finish=True, **{**DRAWN, "batch": 2})
    process = run.start()
    wait_for(lambda: any(path.read_bytes().count(b"\n") >= 4 for path in second_journal(run)), process)
    kill(process)
    (second,) = second_journal(run)
    kept = second.read_bytes()
    asked = kept.count(b"\n")
    total = finished.json("summary")["finished"]
    assert 4 <= asked < total
    assert not (run.folder / "decisions.jsonl").exists()

    run.done()
    assert f"all {SAMPLES} answers are in the journal" in run.said()
    assert f"{total - asked} cut answers to ask, {asked} in the journal" in run.said()
    assert second.read_bytes().startswith(kept)
    rows, others = run.decisions(), finished.decisions()
    assert difference(rows, [{**row, "finish": mine["finish"]} if "finish" in row else row
                             for row, mine in zip(others, rows, strict=True)]) <= LAST_PLACE  # fmt: skip
    for row, other in zip(rows, others, strict=True):
        assert ("finish" in row) == ("finish" in other)
        if "finish" in row:
            assert row["finish"]["output_ids"] == other["finish"]["output_ids"]
            assert abs(row["finish"]["logprob"] - other["finish"]["logprob"]) <= LAST_PLACE


def test_answers_of_before_are_used_when_a_second_pass_is_switched_on(plain: Run, finished: Run, shop: Path) -> None:
    run = Run(plain.folder, shop, finish=True, **DRAWN).done()
    assert f"all {SAMPLES} answers are in the journal" in run.said()
    assert [row["decision"] for row in run.decisions()] == [row["decision"] for row in finished.decisions()]
