"""Run by test_gpu.py: three iterations of a large model on one GPU; prints each one's metrics and memory."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

PROMPTS, GROUP, LENGTH, ANSWER = 8, 8, 512, 128
MICRO_BATCH = 2 * (LENGTH + GROUP * ANSWER)  # two groups
# The same for the planner.
TASK = {
    **dict.fromkeys(("tensor", "pipeline", "context", "data", "server_gpus"), 1),
    **{"samples": PROMPTS * GROUP, "group": GROUP, "prompt": LENGTH, "answer": ANSWER, "micro_batch": MICRO_BATCH},
    "pool": 0.0,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--optimizer", default="replicated")
    args = parser.parse_args()

    from grpo import parallel
    from grpo.learner import ComputeSettings, Learner, UpdateSettings
    from grpo.loop import Loop, LoopSettings
    from grpo.loss import LossSettings
    from grpo.qwen3 import read_shape
    from grpo.task import Judgement, Task

    ranks = parallel.start("cuda")
    shape = read_shape(args.base)
    compute = ComputeSettings(args.precision, args.recompute, args.optimizer)
    update = UpdateSettings(LossSettings(), GROUP, tokens_per_micro_batch=MICRO_BATCH)
    learner = Learner(shape, args.weights, ranks, update, compute)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(shape.vocabulary, (32, LENGTH), generator=generator).to(ranks.device)

    def judge(number: int, text: str, truncated: bool) -> Judgement:
        words = [int(word) for word in text.split()]
        return Judgement(sum(word % 2 for word in words) / len(words), {})

    task = Task(
        prompts=list(ids),
        strata=[list(range(len(ids)))],
        judge=judge,
        decode=lambda answers: [" ".join(map(str, a)) for a in answers],
        stop=0,
    )
    settings = LoopSettings(3, PROMPTS, GROUP, ANSWER, 1e-5, spike_action="log")
    loop = Loop(learner, task, settings, args.weights.parent / "unused")
    for iteration in range(1, 4):
        row = loop.iterate(iteration)
        print(json.dumps(row | {"gigabytes": torch.cuda.max_memory_allocated() / 1e9}), flush=True)
    parallel.stop()


if __name__ == "__main__":
    main()
