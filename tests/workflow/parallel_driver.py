"""Run under torchrun by test_parallel.py: twenty iterations on recorded rollouts, losses and gradients to a file."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tensor", type=int, default=1)
    parser.add_argument("--data", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--optimizer", default="replicated")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--recorded", type=Path, required=True, help="made if it is not there")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--not-finalised", action="store_true", help="control: a bare gradient sum over data ranks")
    parser.add_argument("--delay-rank", type=int, help="control: this rank sleeps in every iteration")
    parser.add_argument("--validation", type=int, default=0, help="only judge the answers to so many prompts")
    parser.add_argument("--engine-layers", action="store_true", help="those of TransformerEngine, or of its stand-in")
    parser.add_argument("--resume-after", type=int, help="go on from a checkpoint of this iteration with a new learner")
    parser.add_argument("--resume-without-state", action="store_true", help="control: the weights alone are loaded")
    args = parser.parse_args()

    from parallel_task import GROUP, ITERATIONS, PROMPTS, SHAPE, UPDATES, settings, task

    from grpo import checkpoint, parallel, qwen3
    from grpo import learner as learner_module
    from grpo import loop as loop_module
    from grpo.learner import ComputeSettings, Learner, UpdateSettings, gathered, select_groups
    from grpo.loop import Loop, own_places
    from grpo.loss import LossSettings
    from grpo.stored_weights import local_name

    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)
    ranks = parallel.start(args.device, args.tensor, args.data)
    if args.not_finalised:

        def bare(models: list, num_tokens: torch.Tensor) -> None:
            models[0].finish_grad_sync()
            dist.all_reduce(num_tokens, group=learner_module.parallel_state.get_data_parallel_group())
            models[0].scale_gradients(1.0 / num_tokens)

        learner_module.finalize_model_grads = bare
    if args.engine_layers:
        qwen3.layers_of = lambda _: "transformer_engine"
    compute = ComputeSettings(args.precision, args.recompute, args.optimizer)

    def made() -> Learner:
        return Learner(SHAPE, args.weights, ranks, UpdateSettings(LossSettings(), GROUP, UPDATES), compute)

    learner = made()
    given = task(ranks.rank == args.delay_rank, ranks.device, args.validation)
    loop = Loop(learner, given, settings(), args.output.parent / "unused")
    if args.validation:
        means = loop.validate()
        if ranks.first:
            torch.save(means, args.output)
        parallel.stop()
        return

    # Every rank has the recorded batch; it takes the places that would be its own.
    recorded = torch.load(args.recorded, weights_only=False) if args.recorded.exists() else []
    record = not recorded
    if record and ranks.tensor * ranks.data > 1:
        raise SystemExit("record with one process")
    sample = loop._sample

    def replay(iteration: int) -> tuple:
        if record:
            recorded.append(sample(iteration))
            return recorded[-1]
        numbers, rollouts = recorded[iteration - 1]
        own = own_places(PROMPTS, UPDATES, ranks.data_rank, ranks.data)
        parts = [select_groups(rollouts, place, place + 1, GROUP)[0] for place in own]
        joined = replace(
            parts[0],
            prompts=[p.to(ranks.device) for part in parts for p in part.prompts],
            **{
                name: torch.cat([getattr(part, name) for part in parts]).to(ranks.device)
                for name in ("tokens", "lengths", "logprobs", "entropies", "truncated")
            },
        )
        return [numbers[place] for place in own], joined

    loop._sample = replay
    gradients: list[dict[str, torch.Tensor]] = []

    def watch(learner: Learner) -> None:
        step = learner.optimizer.step

        def watched_step() -> tuple:
            named = {local_name(name): (name, weight) for name, weight in learner.model.named_parameters()}
            gradients.append({own: gathered(name, p, p.main_grad).clone().cpu() for own, (name, p) in named.items()})
            return step()

        learner.optimizer.step = watched_step

    watch(learner)
    assert loop_module.Loop.iterate  # the loop itself is not replaced
    lines: list[str] = []
    rows = []
    for iteration in range(1, ITERATIONS + 1):
        rows.append(loop.iterate(iteration, lines.append))
        if iteration == args.resume_after:
            saved = checkpoint.save(args.output.with_suffix(""), iteration, learner.model, learner.optimizer)
            loop.learner = learner = made()
            checkpoint.load(saved, learner.model, None if args.resume_without_state else learner.optimizer)
            watch(learner)
    if ranks.first:
        if record:
            torch.save(recorded, args.recorded)
        torch.save({"rows": rows, "gradients": gradients, "lines": lines}, args.output)
    parallel.stop()


if __name__ == "__main__":
    main()
