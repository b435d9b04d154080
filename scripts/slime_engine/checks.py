"""What is looked at in the job before Ray starts, each problem one line: slime finds out late, or never."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import read_json
from slime_engine.arguments import Lengths

# What SGLang keeps of a context for itself.
CONTEXT_MARGIN = 8
_IMPORT = """
import inspect, sys
from importlib import import_module
module, _, name = sys.argv[1].rpartition(".")
function = getattr(import_module(module), name)
sys.exit(0 if inspect.iscoroutinefunction(function) else "is no coroutine function")
"""


def check_samples(path: Path, count: int, least: int) -> None:
    """Refuse a file whose name slime would not read, and one with too few samples.

    Raises
    ------
    InputError
        Names the file.
    """
    if path.suffix != ".jsonl":  # it takes a [a:b] at the end for a part of the file
        raise InputError(f"{path}: slime reads files whose names end in .jsonl. Name it so.")
    if count < least:
        raise InputError(f"{path}: {count} samples, but an iteration asks {least}. Lower train.prompts_per_iteration.")


def check_reward(function: str, variables: Mapping[str, str]) -> None:
    """Refuse a reward that slime's processes could not import or await.

    Parameters
    ----------
    function
        ``package.module.function``.
    variables
        What slime's processes have beside this one's environment.

    Raises
    ------
    InputError
        Says what Python says.
    """
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT, function], env=os.environ | dict(variables), capture_output=True, text=True
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise InputError(f"{function}: the reward cannot be imported ({said[-1] if said else 'no message'}).")


def prompt_lengths(tokenizer: Any, files: Mapping[Path, list[dict[str, Any]]], answer: int, positions: int) -> Lengths:
    """Lengths that leave no prompt out, measured with the model's own tokenizer and chat template.

    Parameters
    ----------
    files
        Samples by file.
    answer
        Longest answer, in tokens.
    positions
        Of the model.

    Raises
    ------
    InputError
        If the longest prompt and answer exceed the model's positions, or there is no chat template.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError("model/base: the tokenizer has no chat template. Use the folder that came with the model.")
    longest = 0
    for path, rows in files.items():
        ids = tokenizer.apply_chat_template([row["prompt"] for row in rows], add_generation_prompt=True)
        lengths = [len(one) for one in ids]
        here = max(lengths)
        if here + answer > positions:
            raise InputError(
                f"{path}, line {lengths.index(here) + 1}: prompt of {here} tokens and {answer} new ones exceed the "
                f"model's {positions} positions. Lower train.max_new_tokens or use shorter prompts."
            )
        longest = max(longest, here)
    return Lengths(longest, answer, min(positions, longest + answer + CONTEXT_MARGIN))


def stop_texts(base: Path, tokenizer: Any) -> list[str]:
    """What may stand at the end of an answer without being part of it: the texts of all stop tokens.

    Longest first, so that no stop text is taken for the end of another.
    """
    ids = {tokenizer.eos_token_id}
    for name in ("generation_config.json", "config.json"):
        if (base / name).is_file():
            given = read_json(base / name).get("eos_token_id")
            ids |= set(given if isinstance(given, list) else [given])
    texts = {tokenizer.decode([one], skip_special_tokens=False) for one in ids if one is not None}
    return sorted(texts, key=lambda text: (-len(text), text))
