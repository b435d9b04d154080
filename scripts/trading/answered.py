"""Where the records of decisions lie: what says which samples they answer, and the samples. Standard library only."""

from __future__ import annotations

from pathlib import Path


def records_of(decisions: Path) -> list[Path]:
    """All of them, there or not."""
    return [summary_of(decisions), *samples_of(decisions)]


def summary_of(decisions: Path) -> Path:
    """What infer says of its decisions, the SHA-256 of the samples with it."""
    return decisions.parent / "summary.json"


def samples_of(decisions: Path) -> tuple[Path, Path]:
    """Where the samples may lie: beside decisions on prompts of their own, and where a run keeps its own."""
    return decisions.parent / "samples.jsonl", decisions.parent.parent.parent / "samples" / "test.jsonl"
