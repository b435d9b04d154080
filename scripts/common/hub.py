"""Models of the Hugging Face hub: where its cache keeps them, downloading, checking each file by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from common.errors import InputError
from common.files import read_json, sha256

# What of a repository loading a model needs.
MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "merges.txt", "vocab.txt")
_NEEDED = ("config.json", "tokenizer.json")
_INDEX = "model.safetensors.index.json"


def repository(cache: Path, name: str) -> Path:
    """Where the hub's cache keeps a model: all its commits, and the files that they share."""
    return cache / f"models--{name.replace('/', '--')}"


def snapshot(cache: Path, name: str, commit: str) -> Path:
    """Where the hub's cache keeps a commit of a model."""
    return repository(cache, name) / "snapshots" / commit


def fetch(cache: Path, name: str, commit: str, say: Callable[[str], None]) -> Path:
    """The folder of a model in the cache; what is missing is downloaded.

    Parameters
    ----------
    cache
        The hub's cache; made if it is missing.
    name
        Owner and model, such as ``Qwen/Qwen3-4B-Thinking-2507``.
    commit
        40 hexadecimal digits: what a branch points to can change.
    say
        Is told, in one line, when something is downloaded.

    Raises
    ------
    InputError
        If the hub does not have it, cannot be reached or does not give it all.
    """
    folder = snapshot(cache, name, commit)
    missing = missing_files(folder)
    if not missing:
        return folder
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    say(f"{name} at {commit[:12]}: downloading to {cache}, once")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        snapshot_download(name, revision=commit, cache_dir=cache, allow_patterns=list(MODEL_FILES))
    except GatedRepoError:
        raise InputError(
            f"base_model.hub: {name} is only for those who agreed to its terms. Agree on {constants.ENDPOINT}/{name}, "
            "and set HF_TOKEN or log in with `hf auth login`."
        ) from None
    except RevisionNotFoundError:
        raise InputError(
            f"base_model.hub.commit: {name} has no commit {commit}. Take one from {constants.ENDPOINT}/{name}/commits."
        ) from None
    except RepositoryNotFoundError:
        raise InputError(
            f"base_model.hub.name: {constants.ENDPOINT} has no model {name}. Correct the name; a private one needs "
            "HF_TOKEN."
        ) from None
    except LocalEntryNotFoundError:
        raise InputError(_offline(name, commit, folder, constants.ENDPOINT)) from None
    except (HfHubHTTPError, OSError) as error:  # a broken transfer is an OSError of requests
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"base_model.hub: the download of {name} broke off ({reason}). Run again: it goes on where it stopped."
        ) from None
    missing = missing_files(folder)
    if missing:
        # With files of the commit in the cache and no network, the hub's client returns what there is.
        raise InputError(f"{folder}: {missing[0]} is missing. {_offline(name, commit, folder, constants.ENDPOINT)}")
    return folder


def _offline(name: str, commit: str, folder: Path, endpoint: str) -> str:
    return (
        f"base_model.hub: {endpoint} cannot be reached, and {name} at {commit} is not in the cache. On a machine with "
        f"internet: `hf download {name} --revision {commit} --cache-dir CACHE`; then copy "
        f"CACHE/{folder.parents[1].name} to {folder.parents[2]}/ (cp -a: it holds links), or name a folder with the "
        "files: base_model.source: folder."
    )


def taken_files(folder: Path) -> list[Path]:
    """What is taken of a model's folder, by name; nothing of one that is not there."""
    found = {path for pattern in MODEL_FILES for path in folder.glob(pattern)}
    # This project's own record of a model; of the copy another one is written.
    return sorted(path for path in found if path.name != "model.json")


def missing_files(folder: Path) -> list[str]:
    """Names of files that a model's folder lacks: configuration, tokenizer, weights."""
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if (folder / _INDEX).is_file():
        weights = sorted(set(read_json(folder / _INDEX).get("weight_map", {}).values())) or ["model.safetensors"]
    else:
        weights = ["model.safetensors"]
    return missing + [name for name in weights if not (folder / name).is_file()]


def checked_files(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a snapshot, after a check that it is what the hub stored.

    The hub's cache names a file by its content: large ones by SHA-256, others as git does. So a file that was
    cut short or changed on the disk is found without asking the hub. In a copy whose links were replaced by files
    the names are gone, and nothing can be checked but by who knows the SHA-256.

    Raises
    ------
    InputError
        If a file is another one; says which to delete.
    """
    digests = {}
    for path in sorted(folder.iterdir()):
        if not any(path.match(pattern) for pattern in MODEL_FILES):
            continue
        digests[path.name] = sha256(path)
        stored = path.resolve().name
        if path.is_symlink() and len(stored) in (40, 64):
            found = digests[path.name] if len(stored) == 64 else git_digest(path)
            if found != stored:
                raise InputError(
                    f"{path}: the content is not what the hub stored (its digest is {found[:12]}.., not "
                    f"{stored[:12]}..). Delete {path.resolve()} and run again."
                )
    return digests


def git_digest(path: Path) -> str:
    """What git calls a file: SHA-1 of its length and content."""
    content = path.read_bytes()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()
