"""Tokens a second of train.py (this project's loop) and of TRL, on the same model, samples and device.

    .venv/bin/python -m pip install --no-deps -r benchmarks/trl.txt
    .venv/bin/python benchmarks/training_throughput.py --base results/demo/model/base \
        --weights results/demo/model/megatron --train results/demo/samples/train.jsonl --device cuda --precision bf16 \
        --max-new-tokens 14 --output benchmarks/results/training-throughput.json

Without a model at hand, `--shape 0.6b` in place of --base and --weights takes one of random weights.
TRL's GRPOTrainer samples with transformers' generate. Both take the same number of optimiser steps on batches of the
same size, against the same reference, with the same reward. Each runs in a process of its own, one after the other.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from random_model import SHAPES, write_random_model
from running import machine, started

from common.errors import InputError, run
from common.files import read_json, read_jsonl, write_json
from common.provenance import record

SCRIPTS = Path(__file__).parents[1] / "scripts"
PACKAGES = ("torch", "megatron-core", "transformers", "trl", "accelerate")
INSTALL = "python -m pip install --no-deps -r benchmarks/trl.txt"
FIRST = 2  # iterations that are left out: what is compiled and allocated once


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--base", type=Path, help="Hugging Face folder of a Qwen3")
    add("--weights", type=Path, help="the folder that import_weights.py made of it")
    add("--shape", choices=list(SHAPES), help="in their place: a model of random weights of this size")
    add("--train", type=Path, required=True, help="samples/train.jsonl")
    add("--device", choices=("cpu", "cuda"), required=True, help="the same for both")
    add("--precision", choices=("fp32", "bf16"), default="fp32", help="the same for both (default: fp32)")
    add("--iterations", type=int, default=12, help=f"of which the first {FIRST} are not counted (default: 12)")
    add("--prompts-per-iteration", type=int, default=16, help="(default: 16)")
    add("--group-size", type=int, default=8, help="answers to each prompt (default: 8)")
    add("--updates-per-iteration", type=int, default=2, help="optimiser steps (default: 2)")
    add("--max-new-tokens", type=int, required=True, help="an answer is cut after so many tokens")
    add("--learning-rate", type=float, default=1e-4, help="(default: 0.0001)")
    add("--kl-beta", type=float, default=0.01, help="above 0, so that both have a reference (default: 0.01)")
    add("--only", choices=("trl",), help=argparse.SUPPRESS)  # this program's own child
    add("--output", type=Path, required=True, help="results as JSON")
    args = parser.parse_args()
    if not (args.base and args.weights) and not args.shape:
        raise InputError("which model is not said: give --base and --weights, or --shape.")
    return args


def main() -> None:
    """Run both, write the numbers."""
    args = arguments()
    if args.iterations <= FIRST:
        raise InputError(f"--iterations: {args.iterations} given, more than {FIRST} are needed.")
    if not importlib.util.find_spec("trl"):
        raise InputError(f"TRL is not installed: {INSTALL}")
    if args.only:
        write_json(args.output, trl_speed(args))
        return
    with tempfile.TemporaryDirectory() as folder:
        if args.shape:
            take_random(args, Path(folder))
        own = own_speed(args, Path(folder))
        out = Path(folder) / "trl.json"
        given = [*sys.argv[1:], f"--base={args.base}", f"--weights={args.weights}"]
        started([sys.executable, __file__, *given, "--only=trl", f"--output={out}"])
        other, made_from = read_json(out), record(args, {"base": args.base, "train": args.train}, PACKAGES)
    result = {
        "what": "tokens of answers a second of train.py and of TRL, on the same model, samples and device",
        "machine": machine(args.device),
        "own_loop": own,
        "trl": other,
        "times_as_fast": round(own["tokens_per_second"] / other["tokens_per_second"], 2),
    }
    write_json(args.output, {**result, **made_from})
    print(json.dumps(result, indent=2))


def take_random(args: argparse.Namespace, folder: Path) -> None:
    """Make a model of random weights below `folder`, and take it for the one that was given."""
    args.base, args.weights = write_random_model(args.shape, folder / "base"), folder / "megatron"
    started([sys.executable, SCRIPTS / "import_weights.py", f"--base={args.base}", f"--output={args.weights}"])


def own_speed(args: argparse.Namespace, folder: Path) -> dict[str, float]:
    """What train.py writes down."""
    (folder / "validation.jsonl").touch()
    same = ("base", "weights", "train", "device", "precision", "iterations", "prompts_per_iteration", "group_size")
    same += ("updates_per_iteration", "max_new_tokens", "learning_rate", "kl_beta")
    command = [sys.executable, SCRIPTS / "train.py", *(f"--{n.replace('_', '-')}={getattr(args, n)}" for n in same)]
    command += [f"--{name}=0" for name in ("warm-up-iterations", "decay-iterations", "validate-every")]
    command += ["--spike-action=log", f"--validation={folder / 'validation.jsonl'}", f"--save-every={args.iterations}"]
    command += [f"--checkpoints={folder / 'checkpoints'}", f"--output-manifest={folder / 'checkpoint.json'}"]
    started([*command, f"--output-metrics={folder / 'metrics.jsonl'}"])
    rows = read_jsonl(folder / "metrics.jsonl")
    size = args.prompts_per_iteration * args.group_size
    return speed([row["seconds"] for row in rows], [row["response_tokens"] * size for row in rows])


def trl_speed(args: argparse.Namespace) -> dict[str, float]:
    """The same with TRL's GRPOTrainer."""
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from trading.answers import parse_answer
    from trading.reward import reward

    if args.device == "cpu":
        torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(args.base)
    size, updates = args.prompts_per_iteration * args.group_size, args.updates_per_iteration
    samples = read_jsonl(args.train)
    rows = [{"prompt": row["prompt"], "number": number} for number, row in enumerate(samples)]
    times: list[float] = []
    tokens: list[float] = []

    def judge(completion_ids: list[list[int]], number: list[int], **_: Any) -> list[float]:
        tokens.append(sum(map(len, completion_ids)))
        rewards = []
        for ids, place in zip(completion_ids, number, strict=True):
            cut = ids[-1] != tokenizer.eos_token_id
            decision, _ = parse_answer(tokenizer.decode(ids if cut else ids[:-1]), cut)
            hour = samples[place]["metadata"]
            rewards.append(reward(decision, hour["current_price"], hour["next_price"]))
        return rewards

    class Watch(TrainerCallback):
        def on_step_end(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % updates == 0:
                times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder, max_steps=args.iterations * updates, per_device_train_batch_size=size // updates,
            gradient_accumulation_steps=1, steps_per_generation=updates, num_generations=args.group_size,
            max_completion_length=args.max_new_tokens, max_prompt_length=None, learning_rate=args.learning_rate,
            lr_scheduler_type="constant", beta=args.kl_beta, temperature=1.0, gradient_checkpointing=False,
            bf16=args.precision == "bf16", use_cpu=args.device == "cpu", report_to="none", save_strategy="no",
            logging_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_pretrained(args.base, torch_dtype=torch.float32, attn_implementation="sdpa")
        trainer = GRPOTrainer(
            model, judge, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
            callbacks=[Watch()],
        )  # fmt: skip
        start = time.perf_counter()
        trainer.train()
    return speed([b - a for a, b in zip([start, *times], times, strict=False)], tokens)


def speed(seconds: list[float], tokens: list[float]) -> dict[str, float]:
    """Of the iterations that count: tokens of answers a second, the median iteration, tokens of an answer's batch."""
    seconds, tokens = seconds[FIRST:], tokens[FIRST:]
    return {
        "tokens_per_second": round(sum(tokens) / sum(seconds), 1),
        "median_seconds": round(statistics.median(seconds), 4),
        "mean_tokens": round(statistics.mean(tokens), 1),
    }


if __name__ == "__main__":
    run(main)
