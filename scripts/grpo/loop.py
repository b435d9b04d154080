"""The GRPO loop: sample, judge, compare with the reference, update; log, save, resume.

What differs from the textbook: the loss of the whole batch is known before the first optimiser step
(when ratio is 1 it follows from what was sampled), so a spiking iteration can take none; and nothing
random has a state (see ``schedule``), so a killed run resumes bit for bit.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state

from common.errors import InputError
from common.journal import Journal
from common.progress import Progress
from grpo import checkpoint
from grpo.advantages import group_advantages
from grpo.flops import forward_flops, iteration_flops, peak_flops
from grpo.learner import Learner
from grpo.loss import token_losses
from grpo.metrics import Clock, describe, finite, reward_metrics, show_rollouts
from grpo.rollout import Rollouts, Sampler, draw_uniforms
from grpo.schedule import batch_of, learning_rate, random_generator
from grpo.stability import SpikeDetector, WatchError, slowest_over_median
from grpo.stopping import Stop
from grpo.task import Judgement, Task


@dataclass(frozen=True)
class LoopSettings:
    """One training; an iteration is one batch of rollouts and the optimiser steps taken on it."""

    iterations: int
    prompts_per_iteration: int
    group_size: int
    max_new_tokens: int
    learning_rate: float
    temperature: float = 1.0
    warm_up_iterations: int = 0
    decay_iterations: int = 0
    normalise_by_std: bool = True
    spike_threshold: float = 0.2
    spike_floor: float = 0.5
    spike_action: str = "skip"
    spike_limit: int = 10
    straggler_ratio: float = 1.5
    save_every: int = 100
    keep: int = 2
    validate_every: int = 0
    show_rollouts_every: int = 0
    seed: int = 0


class Loop:
    """Train `learner` on `task`; keep everything below `folder`.

    Parameters
    ----------
    folder
        Holds ``iter_*`` checkpoints and ``metrics.jsonl``, this training's journal.
    """

    def __init__(self, learner: Learner, task: Task, settings: LoopSettings, folder: Path) -> None:
        self.learner, self.task, self.settings, self.folder = learner, task, settings, folder
        self.ranks = learner.ranks
        self.peak = peak_flops(self.ranks.device, learner.compute.precision)
        self.spikes = SpikeDetector(settings.spike_threshold, settings.spike_floor)
        self.spikes_in_a_row = 0
        self.stop = Stop()

    def run(self, log: Callable[[str], None] = print) -> None:
        """Train up to ``settings.iterations``, from the newest checkpoint not beyond it.

        Raises
        ------
        WatchError
            If spikes stop the training.
        SystemExit
            At SIGTERM or SIGINT, after a checkpoint.
        """
        settings = self.settings
        done = self._resume()
        journal = Journal(self.folder / "metrics.jsonl") if self.ranks.first else None
        if done and self.ranks.first:
            log(f"resuming after iteration {done}")
        progress = Progress(settings.iterations, "iteration", done=done, every=least_between_lines(self.ranks.device))
        with contextlib.closing(journal) if journal else contextlib.nullcontext(), self.stop.listening():
            for iteration in range(done + 1, settings.iterations + 1):
                row = self.iterate(iteration, log)
                if self._validates(iteration):
                    row["validation"] = self.validate()
                if journal:
                    journal.append([row])
                    progress.update(iteration, describe(row))
                stopping = self.stop.asked(self.ranks)
                if self._is_regular(iteration) or stopping:
                    self._save(iteration, journal)
                if stopping and iteration < settings.iterations:
                    if self.ranks.first:
                        log(f"stopped by a signal; iteration {iteration} is saved, run again to continue")
                    raise SystemExit(128 + signal.SIGTERM)

    def iterate(self, iteration: int, log: Callable[[str], None] = print) -> dict[str, Any]:
        """One iteration; returns its metrics."""
        settings, learner = self.settings, self.learner
        clock = Clock(self.ranks.device)
        start = clock.last
        numbers, rollouts = self._sample(iteration)
        own_seconds = clock.lap("sampling")
        rollouts = self._same_on_tensor_ranks(rollouts)
        clock.lap("waiting")
        judgements, texts = self._judge(numbers, rollouts)
        # What this rank did alone; behind the first collective all ranks take the slowest one's time.
        own_seconds += clock.lap("judging")
        clock.join("rollout_seconds", "sampling", "waiting", "judging")
        rewards = torch.tensor([j.reward for j in judgements], dtype=torch.float32, device=self.ranks.device)
        advantages = group_advantages(rewards, settings.group_size, settings.normalise_by_std)
        reference = learner.reference_logprobs(rollouts)
        clock.lap("reference_seconds")

        before = self._loss_before(rollouts, advantages, reference)
        spike = self.spikes.is_spike(before["loss"])
        skipped = spike and settings.spike_action == "skip"
        self.spikes_in_a_row = self.spikes_in_a_row + 1 if skipped else 0
        if spike:
            self._report_spike(iteration, before["loss"], log)
        if not skipped:
            self.spikes.accept(before["loss"])
        rate = learning_rate(iteration, settings.learning_rate, settings.warm_up_iterations, settings.decay_iterations)
        update: dict[str, Any] = {"update_loss": None, "clip_fraction": None, "grad_norm": None}
        if not skipped:
            result = learner.update(rollouts, advantages, reference, rate)
            if not math.isfinite(result["grad_norm"]):
                raise InputError(
                    f"train: iteration {iteration}: the gradient is not finite; the last good checkpoint is in "
                    f"{self.folder}. Lower train.learning_rate."
                )
            update = {name: result[name] for name in update}
        clock.lap("update_seconds")

        slowest = self._slowest_over_median(own_seconds)
        if slowest > settings.straggler_ratio and self.ranks.first:
            log(f"iteration {iteration}: straggler, the slowest rank took {slowest:.2f} x the median's time")
        if settings.show_rollouts_every and iteration % settings.show_rollouts_every == 0 and self.ranks.first:
            prompts = self.task.decode([prompt.tolist() for prompt in rollouts.prompts[:2]])
            show_rollouts(iteration, prompts, texts, judgements, settings.group_size, log)
        seconds = time.perf_counter() - start
        tokens = before.pop("tokens")
        flops = self._flops_a_second(rollouts, not skipped, seconds)
        row = {
            "iteration": iteration,
            **reward_metrics(rewards, judgements, settings.group_size, learner.sum_over_data),
            **before,
            **update,
            "response_tokens": tokens / (settings.prompts_per_iteration * settings.group_size),
            "learning_rate": rate,
            "spike": spike,
            "skipped": skipped,
            "tokens_per_second": tokens / seconds,
            "model_flops_per_second": flops,
            "mfu": flops / (self.peak * self.ranks.tensor * self.ranks.data) if self.peak else None,
            "seconds": seconds,
            **clock.parts,
            "slowest_over_median": slowest,
        }
        # JSON has no NaN: what is not finite (a spike) is null.
        return {name: finite(value) for name, value in row.items()}

    def _is_regular(self, iteration: int) -> bool:
        """Whether it is saved in any case: what a stop alone saves is there to go on from, no more."""
        return iteration % self.settings.save_every == 0 or iteration == self.settings.iterations

    def _validates(self, iteration: int) -> bool:
        every = self.settings.validate_every
        return every > 0 and iteration % every == 0 and len(self.task.validation_prompts) > 0

    def validate(self) -> dict[str, float]:
        """Judge the greedy answers to the validation prompts; means over all of them."""
        sampler = self._sampler()
        own = range(self.ranks.data_rank, len(self.task.validation_prompts), self.ranks.data)
        # A rank that has none asks the first one, which does not count: all ranks must add up the same names.
        weight, asked = (1.0, own) if own else (0.0, range(1))
        sums: dict[str, float] = {}
        for first in range(0, len(asked), 256):
            numbers = asked[first : first + 256]
            prompts = [self.task.validation_prompts[n] for n in numbers]
            rollouts = sampler.sample(prompts, 1, self.settings.max_new_tokens, uniforms=None)
            texts = self.task.decode(rollouts.answers())
            for number, text, cut in zip(numbers, texts, rollouts.truncated.tolist(), strict=True):
                judgement = self.task.validation_judge(number, text, cut)
                for name, value in {"count": 1.0, "reward": judgement.reward, **judgement.shares}.items():
                    sums[name] = sums.get(name, 0.0) + weight * value
        sums = self.learner.sum_over_data(sums)
        count = sums.pop("count")
        return {name: value / count for name, value in sums.items()}

    def _sample(self, iteration: int) -> tuple[list[int], Rollouts]:
        """Prompts of this data rank and its answers to them."""
        settings, ranks = self.settings, self.ranks
        batch = batch_of(iteration, self.task.strata, settings.prompts_per_iteration, settings.seed)
        uniforms = draw_uniforms(
            random_generator(settings.seed, 2, iteration),
            len(batch) * settings.group_size,
            settings.max_new_tokens,
        ).view(len(batch), settings.group_size, -1)
        own = own_places(len(batch), self.learner.settings.updates, ranks.data_rank, ranks.data)
        numbers = [batch[place] for place in own]
        rollouts = self._sampler().sample(
            [self.task.prompts[n] for n in numbers],
            settings.group_size,
            settings.max_new_tokens,
            uniforms[own].flatten(0, 1).to(ranks.device),
            settings.temperature,
        )
        return numbers, rollouts

    def _sampler(self) -> Sampler:
        return self.learner.sampler(self.task.stop)

    def _judge(self, numbers: list[int], rollouts: Rollouts) -> tuple[list[Judgement], list[str]]:
        texts = self.task.decode(rollouts.answers())
        size = self.settings.group_size
        cut = rollouts.truncated.tolist()
        return [self.task.judge(numbers[i // size], text, cut[i]) for i, text in enumerate(texts)], texts

    def _same_on_tensor_ranks(self, rollouts: Rollouts) -> Rollouts:
        """Tensor ranks must train on the same answers, whatever rounding did to their sampling."""
        if self.ranks.tensor == 1:
            return rollouts
        shared = [rollouts.to("cpu")]  # a pickled tensor comes back on the sender's GPU
        source = parallel_state.get_tensor_model_parallel_src_rank()
        dist.broadcast_object_list(shared, src=source, group=parallel_state.get_tensor_model_parallel_group())
        return shared[0].to(self.ranks.device)

    def _loss_before(self, rollouts: Rollouts, advantages: torch.Tensor, reference: torch.Tensor) -> dict[str, float]:
        """Mean loss, KL and entropy of the batch under the policy that sampled it, over all ranks."""
        of_answer = torch.repeat_interleave(advantages, rollouts.lengths)
        loss, parts = token_losses(
            rollouts.logprobs,
            rollouts.entropies,
            rollouts.logprobs,
            reference,
            of_answer,
            self.learner.settings.loss,
        )
        sums = self.learner.sum_over_data(
            {
                "loss": float(loss.sum()),
                "kl": float(parts["kl"].sum()),
                "entropy": float(parts["entropy"].sum()),
                "tokens": float(len(loss)),
            }
        )
        tokens = sums.pop("tokens")
        return {name: value / tokens for name, value in sums.items()} | {"tokens": tokens}

    def _report_spike(self, iteration: int, loss: float, log: Callable[[str], None]) -> None:
        settings = self.settings
        last = f"{self.spikes.last:.4f}" if self.spikes.last is not None else "none"
        message = f"iteration {iteration}: spiky loss {loss:.4f}, last accepted {last}"
        if settings.spike_action == "stop" or self.spikes_in_a_row >= settings.spike_limit:
            times = f", {self.spikes_in_a_row} iterations skipped in a row" if self.spikes_in_a_row else ""
            raise WatchError(
                f"train: {message}{times}; the last good checkpoint is in {self.folder}. Lower train.learning_rate, "
                "or, if the loss is only noisy, use larger batches or raise train.spike_floor."
            )
        if self.ranks.first:
            log(f"{message}; {'no optimiser step taken' if settings.spike_action == 'skip' else 'logged only'}")

    def _flops_a_second(self, rollouts: Rollouts, updated: bool, seconds: float) -> float:
        """Model FLOP/s of all ranks together."""
        prompts = [len(prompt) for prompt in rollouts.prompts]
        forward = forward_flops(self.learner.shape, prompts, rollouts.lengths.tolist(), self.settings.group_size)
        return iteration_flops(self.learner.sum_over_data({"forward": forward})["forward"], updated) / seconds

    def _slowest_over_median(self, own_seconds: float) -> float:
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return 1.0
        everyone: list[float] = [0.0] * dist.get_world_size()
        dist.all_gather_object(everyone, own_seconds)
        return slowest_over_median(everyone)

    def _resume(self) -> int:
        """Load the newest checkpoint that is not beyond the goal; its iteration, or 0."""
        usable = [n for n in checkpoint.iterations_in(self.folder) if n <= self.settings.iterations]
        if not usable:
            return 0
        path = self.folder / checkpoint.folder_name(usable[-1])
        state = checkpoint.load(path, self.learner.model, self.learner.optimizer)
        self.spikes.last = state["last_accepted_loss"]
        self.spikes_in_a_row = state["spikes_in_a_row"]
        return usable[-1]

    def _save(self, iteration: int, journal: Journal | None) -> None:
        if journal:
            journal.sync()  # a checkpoint never knows of iterations that the journal lost
        common = {"last_accepted_loss": self.spikes.last, "spikes_in_a_row": self.spikes_in_a_row}
        checkpoint.save(self.folder, iteration, self.learner.model, self.learner.optimizer, common)
        if self.ranks.first:
            checkpoint.prune(self.folder, self.settings.keep, iteration, self._is_regular)


def least_between_lines(device: torch.device) -> float:
    """Seconds from one line of progress to the next, at least: on a GPU each iteration has its own."""
    return 0.0 if device.type == "cuda" else 5.0


def own_places(prompts: int, updates: int, data_rank: int, data: int) -> list[int]:
    """Places in the batch that one data rank samples: its equal part of every minibatch.

    So the minibatches hold the same prompts whatever the number of data ranks.
    """
    minibatch = prompts // updates
    part = minibatch // data
    return [m * minibatch + data_rank * part + i for m in range(updates) for i in range(part)]
