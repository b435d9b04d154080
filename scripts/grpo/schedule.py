"""What depends on the iteration's number alone: learning rate, prompts, random numbers.

Nothing here has a state, so a resumed run needs none: iteration 317 draws the same prompts and the
same random numbers whether or not the run was killed before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def learning_rate(iteration: int, peak: float, warm_up: int, decay: int) -> float:
    """Linear warm-up to `peak` and linear decay over `decay` iterations, to 0 behind the last; 0 means no decay.

    Parameters
    ----------
    iteration
        From 1.
    """
    rate = peak * min(1.0, iteration / warm_up) if warm_up else peak
    if decay:
        rate *= max(0.0, 1.0 - (iteration - 1) / decay)
    return rate


def random_generator(seed: int, *stream: int) -> torch.Generator:
    """A CPU generator for one purpose, set by the seed and the numbers that name the purpose."""
    mixed = seed
    for number in stream:
        # splitmix64's multiplier: neighbouring numbers give unrelated seeds.
        mixed = ((mixed ^ number) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**63
        mixed ^= mixed >> 31
    return torch.Generator().manual_seed(mixed)


def batch_of(iteration: int, strata: Sequence[Sequence[int]], size: int, seed: int) -> list[int]:
    """Prompts of one iteration: each stratum gives the same share, each of its prompts once an epoch.

    Parameters
    ----------
    iteration
        From 1.
    strata
        Prompt numbers, split into one or more classes.
    size
        Prompts in all, a multiple of the number of strata.

    Returns
    -------
    list of int
        Prompt numbers; those of different strata alternate, so that each minibatch is balanced too.
    """
    each = size // len(strata)
    columns = []
    for number, members in enumerate(strata):
        drawn = []
        for place in range((iteration - 1) * each, iteration * each):
            epoch, offset = divmod(place, len(members))
            drawn.append(members[_order(len(members), seed, number, epoch)[offset]])
        columns.append(drawn)
    return [prompt for row in zip(*columns, strict=True) for prompt in row]


_orders: dict[tuple[int, int, int, int], list[int]] = {}


def _order(count: int, seed: int, stratum: int, epoch: int) -> list[int]:
    """Permutation of one stratum in one epoch; the last ones are kept."""
    key = (count, seed, stratum, epoch)
    if key not in _orders:
        if len(_orders) > 8:
            _orders.clear()
        _orders[key] = torch.randperm(count, generator=random_generator(seed, 1, stratum, epoch)).tolist()
    return _orders[key]
