"""In place of slime's train.py: numbers, files and lines of v0.2.1, our data source and hooks. Trains nothing."""

import argparse
import asyncio
import enum
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import yaml

folder = Path(os.environ["STAND_IN"])
seen = {"argv": sys.argv[1:], "environment": dict(os.environ), "cwd": os.getcwd()}
(folder / "train.json").write_text(json.dumps(seen))


def load(path):
    module, _, function = path.rpartition(".")
    return getattr(import_module(module), function)


parser = argparse.ArgumentParser()
for name in ("load", "save", "ref-load", "prompt-data", "custom-config-path"):
    parser.add_argument(f"--{name}", type=Path if name in ("load", "save", "ref-load") else str)
for name in ("num-rollout", "rollout-batch-size", "n-samples-per-prompt", "num-steps-per-rollout", "save-interval"):
    parser.add_argument(f"--{name}", type=int)
parser.add_argument("--data-source-path", type=load)
parser.add_argument("--custom-rm-path", type=load)
parser.add_argument("--custom-reward-post-process-path", type=load)
parser.add_argument("--custom-megatron-before-train-step-hook-path", type=load)
parser.add_argument("--eval-interval", type=int)
parser.add_argument("--eval-prompt-data", nargs=2)
args, _ = parser.parse_known_args()
for name, value in yaml.safe_load(Path(args.custom_config_path).read_text()).items():
    setattr(args, name, value)
subprocess.run([sys.executable, folder / "stray.py", folder / "strays"], check=True)
while not all((folder / f"ray-{name}.json").exists() for name in os.environ.get("STAND_IN_WAITS_FOR", "").split()):
    time.sleep(0.1)  # for Ray on the other machines, as slime does
if "STAND_IN_STUBBORN" in os.environ:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Status(enum.Enum):
    COMPLETED = "completed"


PROMPT_TOKENS = 4
HANDOVER = {"sleep": 0.25, "update_weights": 1.0, "wake_up": 0.25, "data_preprocess": 0.5}
ANSWERS = ("<answer>Buy</answer>", "<answer>Sell</answer>", "no")


def answered(samples):
    for sample in samples:
        sample.response, sample.response_length = ANSWERS[sample.index % 3] + "<|im_end|>", 3
        sample.tokens = [0] * (PROMPT_TOKENS + sample.response_length)
        sample.status = Status.COMPLETED
        sample.reward = asyncio.run(args.custom_rm_path(args, sample))
    return samples


def rollout(number):
    groups = source.get_samples(args.rollout_batch_size)
    asked = {"rollout": number, "ids": [group[0].metadata["id"] for group in groups]}
    with open(folder / "asked.jsonl", "a") as handle:
        handle.write(json.dumps(asked) + "\n")
    return answered([sample for group in groups for sample in group])


def say(actor, place, kind, number, values):
    print(f"({actor} pid=7) [2025-12-12 10:00:00] {place} - {kind} {number}: {values}", flush=True)


def hang():
    print("hanging", flush=True)
    time.sleep(600)


def validate(number, trained=True):
    if args.eval_interval:
        rows = [json.loads(line) for line in Path(args.eval_prompt_data[1]).read_text().splitlines()]
        answered([SimpleNamespace(**row, index=index) for index, row in enumerate(rows)])
        if trained and str(number) == os.environ.get("STAND_IN_HANGS_IN_EVAL"):
            hang()
        say("RolloutManager", "rollout.py:577", "eval", number, {"eval/validation": 0.5})


tracker = args.load / "latest_checkpointed_iteration.txt"
start = int(tracker.read_text()) + 1 if tracker.exists() else 0
size, steps = args.rollout_batch_size * args.n_samples_per_prompt, args.num_steps_per_rollout
print(f"> starting at {start}")
source = args.data_source_path(args)
source.load(start - 1)
for number in range(start, args.num_rollout):
    if number == 0:
        validate(number, trained=False)
    if str(number) == os.environ.get("STAND_IN_FAILS_AT"):
        raise RuntimeError("CUDA out of memory (stand-in)")
    if str(number) == os.environ.get("STAND_IN_HANGS_AT"):
        hang()
    samples = rollout(number)
    raw, made = args.custom_reward_post_process_path(args, samples)
    assert len(raw) == len(made) == size
    say("RolloutManager", "rollout.py:611", "perf", number, {"perf/rollout_time": 2.0, "rollout/x": 3.0})
    say("TrainActor", "data.py:146", "rollout", number, {"rollout/raw_reward": 0.1, "rollout/y": float("nan")})
    for step in range(number * steps, (number + 1) * steps):
        optimizer = SimpleNamespace(param_groups=[{}])
        args.custom_megatron_before_train_step_hook_path(args, number, step - number * steps, [], optimizer, None)
        assert optimizer.param_groups[0]["lr"] > 0
        loss = 9.0 * number if str(number) in os.environ.get("STAND_IN_SPIKES", "").split() else 0.01
        values = {"loss": loss, "kl_loss": 0.5, "entropy_loss": 0.7, "pg_clipfrac": 0.25, "grad_norm": 1.5}
        say("TrainActor", "model.py:674", "step", step, {f"train/{name}": value for name, value in values.items()})
    times = {f"perf/{name}_time": value for name, value in HANDOVER.items()}
    times |= {"perf/actor_train_time": 5.0, "perf/ref_log_probs_time": 1.0, "perf/train_time": 6.0}
    # The trainer waits for the rollout, and before it for what follows on an iteration: a save and a validation.
    validated = args.eval_interval and number % args.eval_interval == 0
    if number > start and number % args.save_interval == 0:
        times["perf/save_model_time"] = 3.0
    times["perf/step_time"] = 10.0 + (30.0 if validated else 0.0) + times.get("perf/save_model_time", 0.0)
    say("TrainActor", "train_metric_utils.py:44", "perf", number, times)
    if (number + 1) % args.save_interval == 0:
        shutil.copytree(args.ref_load / "release", args.save / f"iter_{number:07d}")
        (args.save / tracker.name).write_text(str(number))
        source.save(number)
    if args.eval_interval and (number + 1) % args.eval_interval == 0:
        validate(number)
