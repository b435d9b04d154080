"""Probabilistic and deflated Sharpe ratios against published examples and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trading.evidence import sharpe
from trading.evidence.sharpe import Shape


def test_the_moments_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    returns = np.random.default_rng(0).gamma(2.0, 0.01, 500) - 0.015
    record = sharpe.shape(returns)
    assert record.ratio == pytest.approx(returns.mean() / returns.std(ddof=1))
    assert record.skewness == pytest.approx(stats.skew(returns))
    assert record.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False))


def test_the_deflated_ratio_of_the_paper_s_own_example() -> None:
    # Bailey and Lopez de Prado (2014), section "A numerical example": annual ratio 2.5 over 1250 days, 100 trials
    # with variance 1/2, skewness -3, kurtosis 10: SR0 = 0.1132 a day and DSR = 0.9004.
    record = Shape(bars=1250, ratio=2.5 / math.sqrt(250), skewness=-3.0, kurtosis=10.0)
    assert sharpe.expected_maximum(100, 0.5 / 250) == pytest.approx(0.1132, abs=5e-5)
    assert sharpe.deflated(record, 100, 0.5 / 250) == pytest.approx(0.9004, abs=5e-4)


def test_a_normal_record_by_hand() -> None:
    # Ratio 0.1 over 101 bars: z = 0.1 * sqrt(100 / (1 + 0.01 / 2)) = 0.99751.
    record = Shape(bars=101, ratio=0.1, skewness=0.0, kurtosis=3.0)
    assert sharpe.probabilistic(record) == pytest.approx(sharpe.NORMAL.cdf(1 / math.sqrt(1.005)))
    assert sharpe.probabilistic(record, 0.1) == pytest.approx(0.5)


def test_a_record_of_the_minimum_length_is_just_long_enough() -> None:
    record = Shape(bars=500, ratio=0.08, skewness=-0.5, kurtosis=6.0)
    bars = sharpe.minimum_track_record(record, 0.95)
    as_long = Shape(bars=bars, ratio=0.08, skewness=-0.5, kurtosis=6.0)
    assert sharpe.probabilistic(as_long) == pytest.approx(0.95)
    assert sharpe.minimum_track_record(Shape(500, -0.01, 0.0, 3.0), 0.95) is None


def test_more_trials_ask_for_more_and_one_for_nothing() -> None:
    assert sharpe.expected_maximum(1, 0.01) == 0.0
    hurdles = [sharpe.expected_maximum(trials, 0.01) for trials in (2, 5, 15, 100)]
    assert hurdles == sorted(hurdles)
    best = np.random.default_rng(0).normal(0, 0.1, (20_000, 15)).max(axis=1).mean()
    assert hurdles[2] == pytest.approx(best, rel=0.03)


def test_trials_are_the_larger_of_declared_ledger_and_those_at_hand() -> None:
    assert sharpe.counted_trials(15, 3) == 15
    assert sharpe.counted_trials(1, 7, 2) == 7
    assert sharpe.counted_trials(1, 0, 4) == 4
    with pytest.raises(ValueError, match="at least 1"):
        sharpe.counted_trials(0, 3)


def test_variants_that_resemble_each_other_do_not_lower_the_hurdle() -> None:
    record = Shape(bars=101, ratio=0.1, skewness=0.0, kurtosis=3.0)
    assert sharpe.trial_variance(record, [0.1]) == 0.01
    assert sharpe.trial_variance(record, [0.1, 0.9]) == 0.01  # two say nothing about a variance
    assert sharpe.trial_variance(record, np.full(20, 0.1)) == 0.01
    assert sharpe.trial_variance(record, np.resize([0.5, -0.5], 20)) == pytest.approx(0.25 * 20 / 19)


def test_the_best_of_many_is_adjusted_as_independent_trials_are() -> None:
    assert sharpe.adjusted(0.05, 1) == pytest.approx(0.05)
    assert sharpe.adjusted(0.01, 15) == pytest.approx(1 - 0.99**15)
    assert sharpe.adjusted(1.0, 3) == 1.0


def test_a_record_without_variance_has_no_ratio_and_nan_is_refused() -> None:
    assert sharpe.shape(np.zeros(40)) is None
    with pytest.raises(ValueError, match="finite"):
        sharpe.shape(np.array([0.1, np.nan]))
    with pytest.raises(ValueError, match="two"):
        sharpe.shape(np.array([0.1]))
