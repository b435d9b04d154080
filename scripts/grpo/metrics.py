"""An iteration's metrics for people, and the journal's rows as the training's record."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from common.errors import InputError
from grpo.task import Judgement


def describe(row: dict[str, Any]) -> str:
    """One iteration as a person reads it."""
    shares = f"buy {row['buy']:.0%}, invalid {row['invalid']:.1%}, " if "buy" in row else ""
    validation = row.get("validation")
    checked = f", validation reward {validation['reward']:+.3f}" if validation else ""
    kl, entropy = (f"{row[name]:.4f}" if row[name] is not None else "not finite" for name in ("kl", "entropy"))
    return (
        f"reward {row['reward']:+.3f}, {shares}KL {kl}, entropy {entropy}, "
        f"{row['tokens_per_second']:.0f} tokens/s{checked}"
    )


def show_rollouts(
    iteration: int,
    prompts: list[str],
    texts: list[str],
    judgements: list[Judgement],
    group_size: int,
    log: Callable[[str], None],
) -> None:
    """Print the first groups' prompts and some of their answers: people look at samples."""
    log(f"answers of iteration {iteration}:")
    # Texts lie group by group; as many groups as prompts were given are shown, three answers of each.
    for number, prompt in enumerate(prompts):
        log(f"  asked: {' '.join(prompt.split())}")
        first = number * group_size
        for text, judgement in islice(zip(texts, judgements, strict=True), first, first + 3):
            log(f"    {judgement.reward:+.3f}  {' '.join(text.split())}")


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
