"""Rules that Snakemake hands over run on a cluster, too, where it has no number of cores to hand over with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

RULES = Path(__file__).parents[2] / "rules"
HANDED_OVER = [path for path in sorted(RULES.glob("*.smk")) if "handover: True" in path.read_text()]


@pytest.mark.parametrize("path", HANDED_OVER, ids=lambda path: path.stem)
def test_a_rule_that_is_handed_over_asks_for_something(path: Path) -> None:
    """Otherwise Snakemake takes all resources of the call: "Threads must be given as an int" with --profile slurm."""
    rules = re.split(r"^rule \w+:$", path.read_text(), flags=re.MULTILINE)[1:]
    assert [rule for rule in rules if "handover: True" in rule and "\n    resources:\n" not in rule] == []


def test_there_are_such_rules() -> None:
    assert {path.stem for path in HANDED_OVER} >= {"archive", "containers", "fetch_model"}
