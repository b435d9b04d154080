"""The ledger: every variant whose decisions were ever evaluated on a test split, one small file each.

Whoever tries twenty models and shows the best one has tried twenty. The ledger lies outside the declared outputs,
so that a rerun does not forget; entries are named by their content, so that evaluating the same decisions again, at
another leverage or at the same time in another process, adds nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from common.files import read_json, write_json


def split_digest(first: str, closes: ArrayLike) -> str:
    """What makes a test split: when it begins and its closes."""
    digest = hashlib.sha256(first.encode())
    digest.update(np.asarray(closes, dtype="<f8").tobytes())
    return digest.hexdigest()


def variant_digest(directions: ArrayLike) -> str:
    """What makes a variant: what it decided."""
    return hashlib.sha256(np.asarray(directions, dtype=np.int8).tobytes()).hexdigest()


def record_variants(ledger: Path, split: str, variants: Iterable[tuple[str, ArrayLike]]) -> int:
    """Add variants to the ledger of a test split and count all that it ever held.

    Parameters
    ----------
    ledger
        Folder; made if it is not there.
    split
        As ``split_digest`` gives it.
    variants
        Name and directions of each.

    Returns
    -------
    int
        Different decisions on this split.
    """
    folder = ledger / split[:16]
    for name, directions in variants:
        digest = variant_digest(directions)
        file = folder / f"{digest[:16]}.json"
        if not file.exists():
            write_json(file, {"variant": name, "decisions_sha256": digest, "split_sha256": split})
    entries = (read_json(file) for file in sorted(folder.glob("[!.]*.json")))
    return sum(entry.get("split_sha256") == split for entry in entries)
