"""variants.py around the engine: what a variant shares with the trained model, and which prompts it is given."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import infer
import variants
from common.errors import InputError
from common.files import read_jsonl, write_jsonl
from trading.bars import Bars, write_bars
from trading.samples import make_samples

CLOSES = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, 300)))
BARS = Bars(np.datetime64("2025-01-01T00:00:00", "s") + np.arange(300) * np.timedelta64(1, "h"), CLOSES)


ASKED = ["--model=model/trained", "--device=cpu", "--max-new-tokens=8", "--temperature=0", "--batch=1", "--timeout-s=9"]


@pytest.fixture
def args(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """What variants.py is called with, as it reads it itself."""
    write_bars(tmp_path / "bars.csv", BARS)
    flags = [*ASKED, f"--bars={tmp_path}/bars.csv", f"--samples={tmp_path}/test.jsonl"]
    flags += ["--prompt=report", "--mask", "--variants=[]"]
    flags += [f"--journal={tmp_path}/journal", f"--output={tmp_path}/infer"]
    monkeypatch.setattr("sys.argv", ["variants.py", *flags])
    return variants.arguments()


def samples(style: str, mask: bool) -> list[dict[str, Any]]:
    return make_samples(BARS, style, mask, 50, 0)[0]["test"]


def test_a_variant_is_asked_as_the_trained_model_but_for_its_own(
    args: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own,) = variants.listed('[{"name": "hot", "temperature": 1, "seed": 3, "model": "model/iteration-4"}]')
    found = variants.settings(own, args)
    assert (found.temperature, found.seed, found.model) == (1.0, 3, Path("model/iteration-4"))
    assert (found.max_new_tokens, found.samples, found.variant) == (8, args.samples, "hot")
    assert found.output_decisions == args.output / "hot/decisions.jsonl"
    # infer records what it is called with: all that it knows, and nothing else.
    command = ["infer.py", *ASKED, "--samples=s", "--variant=trained", "--journal=j"]
    monkeypatch.setattr("sys.argv", [*command, *(f"--output-{kind}=f" for kind in variants.OUTPUTS)])
    assert set(vars(found)) == set(vars(infer.arguments()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("sampled", "not a list of objects with a name"),
        ('[{"seed": 1}]', "not a list of objects with a name"),
        ('[{"name": "a", "top_p": 1}]', "unknown key top_p"),
        ('[{"name": "a"}, {"name": "a"}]', "a name of its own"),
    ],
)
def test_what_is_no_list_of_variants_is_refused(given: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        variants.listed(given)


def test_other_prompts_are_those_that_samples_would_make_for_the_same_hours(args: argparse.Namespace) -> None:
    given = samples("report", True)
    write_jsonl(args.samples, given)
    for own, expected in (
        ({}, given),
        ({"mask": True}, given),
        ({"mask": False}, samples("report", False)),
        ({"prompt": "compact"}, samples("compact", True)),
    ):
        found = variants.settings({"name": "a", **own}, args)
        assert (found.samples == args.samples) == (expected == given)
        rows = read_jsonl(found.samples)
        assert [row["prompt"] for row in rows] == [row["prompt"] for row in expected]
        assert [row["metadata"] for row in rows] == [row["metadata"] for row in given]
    assert samples("report", False)[0]["prompt"] != given[0]["prompt"]


def test_hours_that_the_prompts_cannot_look_back_from_are_refused(args: argparse.Namespace) -> None:
    given = samples("report", True)
    given[0]["metadata"]["timestamp"] = "2025-01-04T00:00:00Z"  # bar 72: enough for report, too few for compact
    write_jsonl(args.samples, given)
    with pytest.raises(InputError, match=r"line 1: .* fewer than 120 before, which prompts of style compact look back"):
        variants.settings({"name": "short", "prompt": "compact"}, args)
