"""What training and inference leave behind, made up: the same form as the real files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from common.files import write_json, write_jsonl


def write_decisions(
    folder: Path, variant: str, model: str, times: list[str], buys: np.ndarray, invalid: np.ndarray
) -> None:
    """decisions.jsonl and summary.json of one model."""
    status = np.full(len(times), "ok", dtype=object)
    status[invalid] = np.resize(["truncated", "unparsable"], len(invalid))
    rows = []
    for number, (time, buy, state) in enumerate(zip(times, buys, status, strict=True)):
        word = ("BUY" if buy else "SELL") if state == "ok" else "HOLD"
        rows.append(
            {
                "id": f"test-{number:06d}",
                "timestamp": time,
                "decision": word,
                "status": state,
                "text": f"<think>rising weak quiet</think><answer>{word.title()}</answer>",
                "output_ids": [1, 2, 3],
                "finish_reason": "length" if state == "truncated" else "stop",
                "logprob": -0.7,
                "prompt_sha256": hashlib.sha256(time.encode()).hexdigest(),
                "seed": None,
            }
        )
    write_jsonl(folder / f"infer/{variant}/decisions.jsonl", rows)
    words = [row["decision"] for row in rows]
    write_json(
        folder / f"infer/{variant}/summary.json",
        {
            "model": model,
            "variant": variant,
            "samples": len(rows),
            "buy": words.count("BUY"),
            "sell": words.count("SELL"),
            "finished": int((status == "finished").sum()),
            "truncated": int((status == "truncated").sum()),
            "unparsable": int((status == "unparsable").sum()),
            "mean_tokens": 3.0,
            "engine": "SGLang 0.5.6",
            "device": "cpu",
            "parameters": {
                "max_new_tokens": 24,
                "temperature": 0.0 if variant == "trained" else 1.0,
                "seed": 11,
            },
            "inputs": {},
            "versions": {"python": "3.11", "sglang": "0.5.6", "torch": "2.13.0", "transformers": "4.57.1"},
        },
    )


def write_training(folder: Path, rng: np.random.Generator, iterations: int = 500) -> None:
    """train/checkpoint.json and train/metrics.jsonl: a reward that rises late, and three spikes."""
    step = np.arange(1, iterations + 1)
    learned = 1 / (1 + np.exp(-(step - 230) / 40))
    reward = 0.1 + 0.5 * learned + rng.normal(0, 0.25, iterations)
    invalid = 0.03 * np.exp(-step / 60) + 0.002 * rng.random(iterations)
    rows = []
    for i in range(iterations):
        row = {
            "iteration": int(step[i]),
            "reward": float(reward[i]),
            "reward_std": 4.0,
            "invalid": float(invalid[i]),
            "buy": float(0.5 + 0.05 * rng.normal()),
            "kl": float(0.08 * learned[i] * (1 + 0.2 * rng.normal())),
            "entropy": float(1.0 - 0.3 * learned[i] + 0.03 * rng.normal()),
            "spike": i in (120, 333, 420),
        }
        if (i + 1) % 50 == 0:
            accuracy = float(0.5 + 0.05 * learned[i])
            row["validation"] = {"accuracy": accuracy, "buy": 0.5, "invalid": 0.0, "reward": 0.6 * learned[i]}
        rows.append(row)
    write_jsonl(folder / "train/metrics.jsonl", rows)
    write_json(folder / "train/checkpoint.json", manifest(iterations))


def manifest(iterations: int = 500) -> dict[str, Any]:
    """What the training stage says of itself."""
    parameters = {
        "iterations": iterations,
        "prompts_per_iteration": 32,
        "group_size": 8,
        "updates_per_iteration": 2,
        "learning_rate": 1e-3,
        "clip_low": 0.2,
        "clip_high": 0.28,
        "kl_beta": 0.04,
        "entropy": 0.001,
        "normalise_by_std": True,
        "spike_threshold": 0.2,
        "spike_floor": 0.5,
        "spike_action": "skip",
        "straggler_ratio": 1.5,
        "reward_scale": 1000.0,
        "reward_valid": 0.01,
        "reward_invalid": -10.0,
        "tokens_per_micro_batch": 16384,
    }
    return {
        "engine": "megatron",
        "iteration": iterations,
        "name": f"iter_{iterations:07d}",
        "checkpoint": f"checkpoints/abc/iter_{iterations:07d}",
        "key": "abc",
        "device": "cpu",
        "device_name": "CPU",
        "shape": {"layers": 2, "hidden": 64, "heads": 4, "query_groups": 2, "vocabulary": 448},
        "spikes": 3,
        "skipped": 3,
        "parameters": parameters,
        "inputs": {},
        "versions": {"python": "3.11", "megatron-core": "0.16.1", "torch": "2.13.0"},
    }
