"""How an answer is drawn, and the random numbers behind it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import InputError

if TYPE_CHECKING:
    import torch

# SGLang keeps seeds as signed 32-bit integers.
SEED_BITS = 31
# Rows whose noise is worked out at once: bounds the memory for a vocabulary of 150,000.
ROWS = 16
LOW = 0xFFFFFFFF


@dataclass(frozen=True)
class Sampling:
    """Settings of a draw; temperature 0 is greedy, and then nothing else but the length matters."""

    max_new_tokens: int
    temperature: float
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    # What an answer has to match, and nothing else can be drawn.
    regex: str | None = None

    @property
    def greedy(self) -> bool:
        """Whether each token is the likeliest one."""
        return self.temperature == 0

    def check(self) -> None:
        """Refuse settings that make no sense.

        Raises
        ------
        InputError
            Names the flag, what was given and what is allowed.
        """
        if self.max_new_tokens < 1:
            raise InputError(f"--max-new-tokens {self.max_new_tokens}: give at least 1.")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InputError(f"--temperature {self.temperature}: give 0 (greedy) or more.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"--top-p {self.top_p}: give a number above 0, at most 1.")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"--top-k {self.top_k}: give at least 1, or leave it out for all tokens.")
        if not self.greedy and self.seed is None:
            raise InputError("--seed is missing: sampling (temperature above 0) is repeatable with a seed only.")
        if self.seed is not None and self.seed < 0:
            raise InputError(f"--seed {self.seed}: give 0 or more.")

    def seed_of(self, number: int) -> int | None:
        """Seed of the sample with this running number; greedy needs none.

        The first 31 bits of the SHA-256 of both numbers: with a plain sum, two runs with neighbouring seeds
        would draw with the same noise, one sample later. What is constrained draws with a noise of its own.
        """
        if self.greedy or self.seed is None:
            return None
        purpose = f" {self.regex}" if self.regex else ""
        mixed = hashlib.sha256(f"{self.seed} {number}{purpose}".encode()).digest()
        return int.from_bytes(mixed[:4]) >> (32 - SEED_BITS)

    def meaning(self) -> dict[str, Any]:
        """The settings that determine the answers: greedily, a seed or a top-p changes nothing."""
        shared = {"max_new_tokens": self.max_new_tokens} | ({"regex": self.regex} if self.regex else {})
        if self.greedy:
            return {**shared, "temperature": 0.0}
        return {
            **shared,
            "temperature": self.temperature,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "top_k": self.top_k,
            "seed": self.seed,
        }


def seeded_multinomial(weights: torch.Tensor, seed: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Draw one column a row, by its weight, from random numbers that depend on (seed, position, column) only.

    Stands in for SGLang 0.5.6's function of the same signature, whose hash is linear: the noises of two
    tokens differ by a constant XOR, and a token of probability 0.7 against 0.3 is drawn half of the time.
    Here the noise is Gumbel's, -log(-log u), and u is MurmurHash3 (Appleby, 32 bits) of the four words
    (seed low, seed high, position, column), the repair that SGLang itself made after 0.5.6.

    Parameters
    ----------
    weights
        Shape (rows, columns), not negative; they need not sum to 1.
    seed, positions
        Integers, shape (rows,): the seed of the row's sample and the place of the token in its text.

    Returns
    -------
    torch.Tensor
        Column drawn, int64, shape (rows, 1).
    """
    import torch

    # What no row can draw needs no noise: of a vocabulary of 150,000, 20 columns are left by top-k 20.
    columns = weights.any(dim=0).nonzero()[:, 0]
    drawn = []
    for rows in range(0, weights.shape[0], ROWS):
        part = slice(rows, rows + ROWS)
        noise = gumbel(seed[part], positions[part], columns)
        drawn.append((torch.log(weights[part][:, columns].double()) + noise).argmax(dim=1, keepdim=True))
    return columns[torch.cat(drawn)]


def gumbel(seed: torch.Tensor, positions: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise, float64, shape (rows, columns)."""
    seed, place = seed.long()[:, None], positions.long()[:, None]
    state = seed.new_zeros(())
    for word in (seed & LOW, (seed >> 32) & LOW, place & LOW, columns.long()[None, :] & LOW):
        state = _mix(state, word)
    state = state ^ 16  # bytes hashed
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        state = ((state ^ (state >> shift)) * factor) & LOW
    # The middle of each of the 2^32 cells: never 0 or 1, so the noise is never infinite.
    uniform = (state.double() + 0.5) / 2**32
    return -(-uniform.log()).log()


def _mix(state: torch.Tensor, word: torch.Tensor) -> torch.Tensor:
    """One round of MurmurHash3; 32-bit numbers are held in int64, products wrap and are cut."""
    word = _rotate((word * 0xCC9E2D51) & LOW, 15)
    word = (word * 0x1B873593) & LOW
    return (_rotate(state ^ word, 13) * 5 + 0xE6546B64) & LOW


def _rotate(word: torch.Tensor, bits: int) -> torch.Tensor:
    return ((word << bits) | (word >> (32 - bits))) & LOW
