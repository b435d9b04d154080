"""What an archive's cards say."""

from __future__ import annotations

from pathlib import Path

from archive_inputs import NAME

from archiving.cards import model_card
from common.files import read_json


def test_the_model_card_tells_slimes_commit_or_that_it_is_not_known(project: Path) -> None:
    results = project / "results" / NAME
    manifest, parity = (read_json(results / name) for name in ("train/checkpoint.json", "model/parity.json"))
    inference, evidence = (read_json(results / f"{n}.json") for n in ("infer/trained/summary", "leverage-2/evidence"))
    for commit, words in (("ab" * 20, f"slime 0.2.1, slime_commit {'ab' * 20}."), (None, "slime_commit not known.")):
        manifest["versions"] = {"slime": "0.2.1", "slime_commit": commit}
        assert words in model_card(manifest, inference, parity, [evidence], {})
