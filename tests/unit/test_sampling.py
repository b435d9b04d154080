"""How answers are drawn: settings that are refused, seeds, and the random numbers behind a draw."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from inference.sampling import Sampling, gumbel, seeded_multinomial


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (Sampling(0, 0.0), "--max-new-tokens 0"),
        (Sampling(8, -1.0), "--temperature -1.0"),
        (Sampling(8, math.nan), "--temperature nan"),
        (Sampling(8, 1.0, top_p=0.0, seed=1), "--top-p 0.0"),
        (Sampling(8, 1.0, top_k=0, seed=1), "--top-k 0"),
        (Sampling(8, 1.0), "--seed is missing"),
        (Sampling(8, 1.0, seed=-1), "--seed -1"),
    ],
)
def test_settings_without_sense_are_refused(sampling: Sampling, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sampling.check()


@pytest.mark.parametrize("seed", [0, 2**31, 2**63])
def test_any_seed_of_0_or_more_is_allowed(seed: int) -> None:
    Sampling(8, 1.0, seed=seed).check()


# --- seeds

SAMPLES = 1706  # test hours of the demo


def seeds(seed: int, samples: int = SAMPLES) -> list[int | None]:
    return [Sampling(8, 0.7, seed=seed).seed_of(number) for number in range(samples)]


def shared(one: list[int | None], other: list[int | None]) -> int:
    return len(set(one) & set(other))


def test_greedy_decoding_needs_no_seed() -> None:
    assert Sampling(8, 0.0, seed=40).seed_of(1) is None


def test_the_seed_of_a_sample_is_the_start_of_the_sha256_of_both_numbers() -> None:
    for seed, number in ((0, 0), (7, 1705)):
        start = int(hashlib.sha256(f"{seed} {number}".encode()).hexdigest()[:8], 16)
        assert Sampling(8, 1.0, seed=seed).seed_of(number) == start // 2


@given(seed=st.integers(0, 2**63), number=st.integers(0, 2**31))
def test_a_seed_of_a_sample_fits_a_signed_32_bit_number_and_repeats(seed: int, number: int) -> None:
    one = Sampling(8, 0.7, seed=seed).seed_of(number)
    assert one is not None
    assert 0 <= one < 2**31
    assert one == Sampling(32, 1.0, seed=seed).seed_of(number)


@pytest.mark.parametrize("seed", [0, 1, 5, 1000])
def test_neighbouring_seeds_share_no_draws(seed: int) -> None:
    assert len(set(seeds(seed))) == SAMPLES
    assert shared(seeds(seed), seeds(seed + 1)) == 0


def test_a_sum_of_seed_and_number_fails_that_test() -> None:
    assert shared(list(range(SAMPLES)), list(range(1, SAMPLES + 1))) == SAMPLES - 1


def test_samples_of_neighbouring_seeds_are_drawn_independently() -> None:
    weights = torch.full((SAMPLES, 2), 0.5)
    place = torch.full((SAMPLES,), 30)
    one, other = (seeded_multinomial(weights, torch.tensor(seeds(seed)), place)[:, 0] for seed in (0, 1))
    for shift in (-1, 0, 1):
        same = (one == other.roll(shift)).float().mean().item()
        assert abs(same - 0.5) < 4 * 0.5 / math.sqrt(SAMPLES)


def test_a_sum_of_seed_and_number_draws_the_same_one_sample_later() -> None:
    weights, place = torch.full((SAMPLES, 2), 0.5), torch.full((SAMPLES,), 30)
    one, other = (seeded_multinomial(weights, torch.arange(SAMPLES) + seed, place)[:, 0] for seed in (0, 1))
    assert torch.equal(one[1:], other[:-1])


def test_a_seed_means_nothing_to_greedy_decoding() -> None:
    assert Sampling(8, 0.0, top_k=5, seed=1).meaning() == Sampling(8, 0.0, seed=2).meaning()
    assert Sampling(8, 1.0, seed=1).meaning() != Sampling(8, 1.0, seed=2).meaning()
    assert Sampling(8, 1.0, seed=1).meaning() == Sampling(8, 1.0, top_p=1.0, seed=1).meaning()


# --- random numbers


def sglang_draw(weights: torch.Tensor, seed: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """What SGLang 0.5.6 does itself: the control."""
    columns = torch.arange(weights.shape[1])[None, :]
    step = (seed * 19349663) ^ (positions * 73856093)
    hashed = (step[:, None] * 8589934591) ^ (columns * 479001599)
    uniform = ((hashed % 2**24).float() / 2**24).clamp(1e-10, 1 - 1e-10)
    return (weights.log() - (-uniform.log()).log()).argmax(dim=1, keepdim=True)


def share_of_first(draw: Callable[..., torch.Tensor], p: float, position: int) -> float:
    rows = 20_000
    weights = torch.tensor([[p, 1 - p]]).expand(rows, 2).contiguous()
    seeds = torch.arange(rows) + 1000
    return (draw(weights, seeds, torch.full((rows,), position)) == 0).float().mean().item()


@pytest.mark.parametrize("p", [0.03, 0.3, 0.5, 0.7, 0.97])
@pytest.mark.parametrize("position", [0, 30, 1000])
def test_a_token_is_drawn_as_often_as_its_probability_says(p: float, position: int) -> None:
    # Four standard deviations of a share of 20,000.
    assert abs(share_of_first(seeded_multinomial, p, position) - p) < 4 * math.sqrt(p * (1 - p) / 20_000)


def test_sglangs_own_draw_fails_that_test() -> None:
    assert abs(share_of_first(sglang_draw, 0.7, 30) - 0.7) > 0.1


def test_draws_in_successive_places_do_not_know_of_each_other() -> None:
    rows = 20_000
    weights = torch.full((rows, 2), 0.5)
    seeds = torch.arange(rows)
    one, next_one = (seeded_multinomial(weights, seeds, torch.full((rows,), place)) for place in (30, 31))
    neighbour = one.roll(1)
    for other in (next_one, neighbour):
        assert abs((one == other).float().mean().item() - 0.5) < 4 * 0.5 / math.sqrt(rows)


def test_a_draw_depends_on_its_own_row_only() -> None:
    weights = torch.rand(50, 40, generator=torch.Generator().manual_seed(0))
    seeds, places = torch.arange(50), torch.arange(50) % 7
    together = seeded_multinomial(weights, seeds, places)
    alone = [seeded_multinomial(weights[i : i + 1], seeds[i : i + 1], places[i : i + 1]).item() for i in range(50)]
    assert together[:, 0].tolist() == alone


def test_a_token_without_probability_is_never_drawn() -> None:
    weights = torch.tensor([[0.0, 1e-30, 0.0]]).expand(1000, 3).contiguous()
    drawn = seeded_multinomial(weights, torch.arange(1000), torch.zeros(1000, dtype=torch.long))
    assert set(drawn[:, 0].tolist()) == {1}


def murmur3(words: list[int]) -> int:
    """MurmurHash3, 32 bits, of 32-bit words, as its author wrote it; seed 0."""
    mask, state = 0xFFFFFFFF, 0
    for word in words:
        word = word * 0xCC9E2D51 & mask
        word = (word << 15 | word >> 17) & mask
        state ^= word * 0x1B873593 & mask
        state = ((state << 13 | state >> 19) * 5 + 0xE6546B64) & mask
    state ^= 4 * len(words)
    state = (state ^ state >> 16) * 0x85EBCA6B & mask
    state = (state ^ state >> 13) * 0xC2B2AE35 & mask
    return state ^ state >> 16


@given(seed=st.integers(0, 2**31 - 1), place=st.integers(0, 2**20), column=st.integers(0, 2**18))
def test_the_noise_is_that_of_murmurhash(seed: int, place: int, column: int) -> None:
    uniform = (murmur3([seed & 0xFFFFFFFF, 0, place, column]) + 0.5) / 2**32
    noise = gumbel(torch.tensor([seed], dtype=torch.int32), torch.tensor([place]), torch.tensor([column]))
    assert noise.item() == pytest.approx(-math.log(-math.log(uniform)), rel=1e-12, abs=1e-12)
