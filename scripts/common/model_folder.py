"""What a model folder of this project is identified by, without reading its weights: model.json lists their sums.

Who reads the weights checks the list: import_weights, and infer, which hashes all of its model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from common.files import read_json, sha256


def weight_sums(folder: Path) -> dict[str, str]:
    """SHA-256 of each weight file by name, as model.json lists it; one that is not listed is read."""
    card = folder / "model.json"
    listed = read_json(card).get("files", {}) if card.exists() else {}
    return {file.name: listed.get(file.name) or sha256(file) for file in sorted(folder.glob("*.safetensors"))}


def folder_sum(folder: Path) -> str:
    """The folder's `sha256`, if its weights are those that model.json lists."""
    return sha256(folder, weight_sums(folder))


def listing_sum(sums: Mapping[str, str]) -> str:
    """One SHA-256 for several files: that of the list which ``sha256sum`` prints of them, sorted by name."""
    return hashlib.sha256("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()).hexdigest()
