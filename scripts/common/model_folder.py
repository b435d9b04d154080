"""What a model folder of this project is identified by, without reading its weights: model.json lists their sums.

Who reads the weights checks the list: import_weights, and infer, which hashes all of its model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from common.files import read_json, sha256

CARD = "model.json"
# What neither a training nor SGLang nor the tokenizer reads: where the model came from, and texts for people.
# Everything else counts, known or not: an answer too many costs less than one that is not this model's.
NO_PART = (CARD, "LICENSE", "*.md", ".*")


def weight_sums(folder: Path) -> dict[str, str]:
    """SHA-256 of each weight file by name, as model.json lists it; one that is not listed is read."""
    card = folder / CARD
    listed = read_json(card).get("files") if card.exists() else None
    if not isinstance(listed, dict):
        listed = {}
    return {file.name: listed.get(file.name) or sha256(file) for file in sorted(folder.glob("*.safetensors"))}


def folder_sum(folder: Path) -> str:
    """The folder's `sha256`, if its weights are those that model.json lists."""
    return sha256(folder, weight_sums(folder))


def content_sum(folder: Path, known: Mapping[str, str] | None = None) -> str:
    """SHA-256 over the files of a model folder that its prompts and answers depend on.

    Weights, configuration, generation settings, tokenizer, chat template; not model.json, which records how the
    model was made: a setting that only watches a training asks nothing again.

    Parameters
    ----------
    known
        Hashes of some of its files, by their names in it: those files are not read.
    """
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        if not any(file.match(pattern) for pattern in NO_PART):
            digest.update(f"{name} {(known or {}).get(name) or sha256(file)}\n".encode())
    return digest.hexdigest()


def listing_sum(sums: Mapping[str, str]) -> str:
    """One SHA-256 for several files: that of the list which ``sha256sum`` prints of them, sorted by name."""
    return hashlib.sha256("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()).hexdigest()
