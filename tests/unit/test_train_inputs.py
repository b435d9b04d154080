"""What training reads is checked before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.errors import InputError
from common.files import sha256, write_json, write_jsonl
from train import check_imported
from training.task import checked_samples

SHAPE = {"layers": 2}
ASKED = [{"role": "user", "content": "Buy or Sell?"}]
HOUR = {"current_price": 100.0, "next_price": 101.0}


@pytest.mark.parametrize(
    "change",
    [{"shape": {"layers": 3}}, {"shape": None}, {"inputs": {}}, {"inputs": []}],
)
def test_weights_of_another_base_model_or_without_their_record_are_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    base, weights = tmp_path / "base", tmp_path / "megatron"
    write_json(base / "config.json", {})
    record = {"shape": SHAPE, "inputs": {"base": sha256(base)}}
    write_json(weights / "parity.json", record)
    assert check_imported(weights, base, SHAPE) == sha256(base)
    write_json(weights / "parity.json", record | change)
    with pytest.raises(InputError, match=r"megatron: was not imported from .*base as it is now\. Run import_weights"):
        check_imported(weights, base, SHAPE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompt": "Buy?"}, "prompt is not a list of chat messages"),
        ({"prompt": [{"role": "user", "content": None}]}, "prompt is not a list of chat messages"),
        ({"prompt": [{"role": 3, "content": "Buy?"}]}, "prompt is not a list of chat messages"),
        ({"metadata": HOUR | {"next_price": 0}}, "metadata lacks prices above 0"),
        ({"metadata": []}, "metadata lacks prices above 0"),
    ],
)
def test_a_sample_that_cannot_be_asked_or_judged_is_refused_by_its_line(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = tmp_path / "train.jsonl"
    good = {"prompt": ASKED, "metadata": HOUR}
    write_jsonl(path, [good, good | change])
    with pytest.raises(InputError, match=rf"train\.jsonl, line 2: {words}.* Run samples again\."):
        checked_samples(path)


def test_a_price_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(
        '{"prompt": [{"role": "user", "content": ""}], "metadata": {"current_price": 1, "next_price": 1e999}}'
    )
    with pytest.raises(InputError, match=r"line 1: metadata lacks prices above 0"):
        checked_samples(path)
