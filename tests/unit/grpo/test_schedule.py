from collections import Counter

import pytest
import torch

from grpo.schedule import batch_of, learning_rate, random_generator


def test_rate_warms_up_then_falls_to_zero() -> None:
    rates = [learning_rate(i, 1.0, 2, 10) for i in range(1, 12)]
    assert rates[:3] == pytest.approx([0.5, 0.9, 0.8])
    assert rates[9] == pytest.approx(0.1)
    assert rates[10] == 0.0


def test_rate_without_decay_stays() -> None:
    assert learning_rate(10**6, 3e-4, 10, 0) == 3e-4


def test_an_epoch_holds_each_prompt_once() -> None:
    strata = [list(range(6)), list(range(6, 12))]
    seen = Counter(p for i in range(1, 4) for p in batch_of(i, strata, 4, seed=0))
    assert seen == Counter(range(12))


def test_each_half_of_a_batch_holds_both_strata_equally() -> None:
    strata = [list(range(100)), list(range(100, 150))]
    batch = batch_of(7, strata, 8, seed=0)
    assert sum(p < 100 for p in batch[:4]) == 2
    assert sum(p < 100 for p in batch[4:]) == 2


def test_a_batch_depends_on_its_iteration_and_the_seed_alone() -> None:
    strata = [list(range(50))]
    first = [batch_of(i, strata, 8, seed=3) for i in range(1, 20)]
    assert batch_of(11, strata, 8, seed=3) == first[10]
    assert [batch_of(i, strata, 8, seed=4) for i in range(1, 20)] != first


def test_streams_of_random_numbers_differ() -> None:
    draws = {
        tuple(torch.rand(4, generator=random_generator(*key)).tolist())
        for key in [(0, 1, 1), (0, 1, 2), (0, 2, 1), (1, 1, 1), (0, 1), (0, 0, 1, 1)]
    }
    assert len(draws) == 6
