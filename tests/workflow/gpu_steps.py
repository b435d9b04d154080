"""Run by test_gpu.py: three iterations of a large model on one GPU; prints each one's metrics and memory.

And what the planner says of them, beside what was measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from grpo.shape import Qwen3Shape

PROMPTS, GROUP, LENGTH, ANSWER = 8, 8, 512, 128
MICRO_BATCH = 2 * (LENGTH + GROUP * ANSWER)  # two groups
# The same for the planner.
TASK = {
    **dict.fromkeys(("tensor", "pipeline", "context", "data", "server_gpus"), 1),
    **{"samples": PROMPTS * GROUP, "group": GROUP, "prompt": LENGTH, "answer": ANSWER, "micro_batch": MICRO_BATCH},
    "pool": 0.0,
}


def compared(
    shape: Qwen3Shape, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], name: str, memory: float
) -> dict[str, Any]:
    """Memory, seconds and tokens a second as planned, and as the iterations `rows` had them, the first left out.

    Parameters
    ----------
    settings
        Of `planning.machine.own_loop`.
    name, memory
        Of the GPU; of one without a data sheet there is no planned time.
    """
    from common.datasheet import known
    from planning.machine import Task, own_loop
    from planning.memory import OVERHEAD, footprint
    from planning.pace import pace

    task, engine, gpu = Task(**TASK), own_loop(**settings), known(name)
    expected = pace(shape, engine, task, gpu, None) if gpu else None
    later = rows[1:]

    def median(*parts: str) -> float:
        return statistics.median(sum(row[part] for part in parts) for row in later)

    return {
        "what": "three iterations of this project's loop on a Qwen3 of random weights: as planned, and the medians of "
        "the second and third; tokens are those of answers",
        "planned": {
            "gigabytes": (footprint(shape, engine, task, memory).peak - OVERHEAD) / 1e9,
            "seconds": expected and expected.iteration,
            "rollout_seconds": expected and expected.rollout,
            "update_seconds": expected and expected.update,
            "tokens_per_second": expected and expected.tokens_per_second,
        },
        "measured": {
            "gigabytes": rows[-1]["gigabytes"],
            "seconds": median("seconds"),
            "rollout_seconds": median("rollout_seconds"),
            "update_seconds": median("reference_seconds", "update_seconds"),
            "tokens_per_second": median("tokens_per_second"),
        },
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
