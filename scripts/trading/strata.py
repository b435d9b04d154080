"""Classes of training samples that a batch draws from equally."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def strata(hours: Sequence[Mapping[str, Any]], balance: bool) -> list[list[int]]:
    """All samples, or those before a rise and those before a fall: batches draw equally from each.

    Normalised advantages see only which side was right, so a training part with more falls than
    rises teaches "always sell". The labels are those of the training part alone.

    Parameters
    ----------
    hours
        Metadata of the samples: current_price and next_price.
    balance
        Whether to tell rises from falls.

    Raises
    ------
    ValueError
        If there are only rises or only falls.
    """
    if not balance:
        return [list(range(len(hours)))]
    moves = [hour["next_price"] - hour["current_price"] for hour in hours]
    rises = [number for number, move in enumerate(moves) if move > 0]
    falls = [number for number, move in enumerate(moves) if move <= 0]
    if not rises or not falls:
        raise ValueError("only rises or only falls; balance_directions needs both. Switch it off.")
    return [rises, falls]
