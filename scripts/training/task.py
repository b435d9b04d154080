"""Samples as the loop's prompts, judges and strata."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import InputError
from common.files import read_jsonl
from trading.strata import strata

if TYPE_CHECKING:
    from grpo.task import Judge, Task


def checked_samples(path: Path) -> list[dict[str, Any]]:
    """The samples of a file.

    Raises
    ------
    InputError
        If a line lacks what training reads: chat messages and two prices above 0. Names the line.
    """
    rows = read_jsonl(path)
    for number, row in enumerate(rows, start=1):
        prompt, hour = row.get("prompt"), row.get("metadata")
        turns = prompt if isinstance(prompt, list) else [None]
        messages = all(
            isinstance(turn, dict) and all(isinstance(turn.get(part), str) for part in ("role", "content"))
            for turn in turns
        )
        prices = [hour.get(name) for name in ("current_price", "next_price")] if isinstance(hour, dict) else [None]
        if not (prompt and messages):
            raise InputError(f"{path}, line {number}: prompt is not a list of chat messages. Run samples again.")
        if not all(isinstance(price, (int, float)) and 0 < price < math.inf for price in prices):
            raise InputError(f"{path}, line {number}: metadata lacks prices above 0. Run samples again.")
    return rows


def build_task(
    args: argparse.Namespace,
    samples: list[dict[str, Any]],
    validation: list[dict[str, Any]],
    max_positions: int,
) -> Task:
    """Prompts, judges and strata of a training.

    Parameters
    ----------
    args
        Of train.py.
    max_positions
        Longest sequence that the model takes, in tokens.

    Raises
    ------
    InputError
        If a prompt with its answer is longer, or `balance_directions` finds one direction only. Names the line.
    """
    from transformers import AutoTokenizer

    from grpo.task import Task

    tokenizer = AutoTokenizer.from_pretrained(args.base, local_files_only=True)

    def encode(rows: list[dict[str, Any]], path: Path) -> list[Any]:
        import torch

        if not rows:
            return []
        ids = tokenizer.apply_chat_template([row["prompt"] for row in rows], add_generation_prompt=True)
        longest = max(range(len(ids)), key=lambda number: len(ids[number]))
        if len(ids[longest]) + args.max_new_tokens > max_positions:
            raise InputError(
                f"{path}, line {longest + 1}: prompt of {len(ids[longest])} tokens and {args.max_new_tokens} new ones "
                f"exceed the model's {max_positions} positions. Lower train.max_new_tokens or use shorter prompts."
            )
        return [torch.tensor(row, device=args.device) for row in ids]

    stop = tokenizer.eos_token_id

    def decode(answers: list[list[int]]) -> list[str]:
        # As in inference: only the stop token is left out, any other special token is part of the answer.
        said = [ids[:-1] if ids[-1] == stop else ids for ids in answers]
        return tokenizer.backend_tokenizer.decode_batch(said, skip_special_tokens=False)

    return Task(
        prompts=encode(samples, args.train),
        strata=strata_of(samples, args.balance_directions, args.train),
        judge=judge_of(samples, args),
        decode=decode,
        stop=stop,
        validation_prompts=encode(validation, args.validation),
        validation_judge=judge_of(validation, args),
    )


def judge_of(samples: list[dict[str, Any]], args: argparse.Namespace) -> Judge:
    """The study's reward as the loop's judge."""
    from grpo.task import Judgement
    from trading.reward import Scales
    from trading.reward import judge as judge_answer

    scales = Scales(args.reward_scale, args.reward_valid, args.reward_invalid)

    def judge(number: int, text: str, truncated: bool) -> Judgement:
        judged = judge_answer(text, truncated, samples[number]["metadata"], scales)
        return Judgement(judged.reward, {"buy": float(judged.buy), "invalid": float(judged.invalid)})

    return judge


def strata_of(samples: list[dict[str, Any]], balance: bool, path: Path) -> list[list[int]]:
    """Classes of prompts that batches draw from equally; the file is named if there is only one."""
    try:
        return strata([row["metadata"] for row in samples], balance)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
