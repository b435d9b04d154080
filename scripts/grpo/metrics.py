"""An iteration's metrics for people, and the journal's rows as the training's record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common.errors import InputError
from grpo.task import Judgement


def describe(row: dict[str, Any]) -> str:
    """One iteration as a person reads it."""
    shares = f"buy {row['buy']:.0%}, invalid {row['invalid']:.1%}, " if "buy" in row else ""
    validation = row.get("validation")
    checked = f", validation reward {validation['reward']:+.3f}" if validation else ""
    return (
        f"reward {row['reward']:+.3f}, {shares}KL {row['kl']:.4f}, entropy {row['entropy']:.3f}, "
        f"{row['tokens_per_second']:.0f} tokens/s{checked}"
    )


def show_rollouts(
    iteration: int, texts: list[str], judgements: list[Judgement], group_size: int, log: Callable[[str], None]
) -> None:
    """Print the first answers of the first two groups: people look at samples."""
    log(f"answers of iteration {iteration}:")
    for place in range(0, min(2 * group_size, len(texts)), max(1, group_size // 2)):
        log(f"  group {place // group_size + 1}, reward {judgements[place].reward:+.3f}: {texts[place]!r}")


def merged_metrics(rows: list[dict[str, Any]], iterations: int) -> list[dict[str, Any]]:
    """The journal's rows up to `iterations`, one each: where a resumed run did one again, the later one.

    Raises
    ------
    InputError
        If an iteration is missing.
    """
    latest = {row["iteration"]: row for row in rows if row["iteration"] <= iterations}
    missing = [n for n in range(1, iterations + 1) if n not in latest]
    if missing:
        raise InputError(
            f"metrics.jsonl: iteration {missing[0]} is missing though a checkpoint after it exists. "
            "Delete the checkpoint folder and train again."
        )
    return [latest[n] for n in range(1, iterations + 1)]
