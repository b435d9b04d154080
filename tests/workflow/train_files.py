"""How train.py is told its files."""

from __future__ import annotations

from pathlib import Path


def file_flags(weights: Path, base: Path, samples: Path, out: Path) -> list[str]:
    """Its flags: the folder ``samples`` holds train.jsonl and validation.jsonl, all that it leaves goes to ``out``."""
    files = {
        "weights": weights,
        "base": base,
        "train": samples / "train.jsonl",
        "validation": samples / "validation.jsonl",
        "checkpoints": out / "checkpoints",
        "output-manifest": out / "checkpoint.json",
        "output-metrics": out / "metrics.jsonl",
    }
    return [f"--{name}={path}" for name, path in files.items()]
