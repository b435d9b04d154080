"""The stationary bootstrap: its statistics by hand, its blocks, its coverage, and the reality check."""

from __future__ import annotations

import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap

from trading.evidence.bootstrap import TINY, block_length, interval, resample, superiority
from trading.evidence.reality_check import reality_check


def garch_like(size: int, seed: int = 0) -> np.ndarray:
    """Returns that do not correlate but whose sizes do."""
    rng = np.random.default_rng(seed)
    log = np.zeros(size)
    for t in range(1, size):
        log[t] = 0.97 * log[t - 1] + 0.2 * rng.normal()
    return 0.005 * np.exp(log - log.mean()) * rng.normal(size=size)


def test_the_block_is_floored_by_the_length_of_the_clusters_of_volatility() -> None:
    returns = garch_like(1700)
    blocks = block_length(returns, returns)
    assert blocks.automatic < 5
    assert blocks.floor > 15
    assert blocks.length == int(np.ceil(blocks.floor))


def test_series_without_variance_or_very_short_ones_have_blocks_of_one() -> None:
    assert block_length(np.zeros(100), np.full(100, 0.01)).length == 1
    assert block_length(np.arange(5.0), np.arange(5.0)).length == 1


def test_every_statistic_is_that_of_the_path_arch_draws() -> None:
    rng = np.random.default_rng(3)
    growth = 1 + rng.normal(0, 0.01, (2, 90))
    drawn = resample(growth, 7, 12, np.random.default_rng(5))
    source = StationaryBootstrap(7, np.arange(90), seed=np.random.default_rng(5))
    for row, ((index,), _) in enumerate(source.bootstrap(12)):
        path = growth[:, index]
        np.testing.assert_allclose(drawn.log_value[row], np.log(path.prod(axis=1)), atol=1e-12)
        assert drawn.sharpe[row] == pytest.approx((path[0] - 1).mean() / path[0].std(ddof=1))
        value = np.append(1.0, path[0].cumprod())
        assert drawn.drawdown[row] == pytest.approx((value / np.maximum.accumulate(value) - 1).min())
    np.testing.assert_allclose(drawn.fan[:, -1], np.percentile(np.exp(drawn.log_value[:, 0]), [2.5, 25, 50, 75, 97.5]))
    assert drawn.fan_bars[-1] == 90


def test_the_same_seed_gives_the_same_paths_to_the_last_digit() -> None:
    growth = 1 + garch_like(200)[np.newaxis]
    one, two, other = (resample(growth, 5, 700, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.log_value, two.log_value)
    np.testing.assert_array_equal(one.fan, two.fan)
    assert (one.log_value != other.log_value).any()


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        drawn = resample(np.exp(rng.normal(0, 0.01, (1, 200))), 1, 400, np.random.default_rng(seed))
        low, high = interval(drawn.log_value[:, 0], 0.9)
        covered += low <= 0 <= high
    assert 80 <= covered <= 98


def test_longer_blocks_widen_the_interval_of_a_series_that_persists() -> None:
    rng = np.random.default_rng(0)
    growth = 1 + 0.01 * np.convolve(rng.normal(size=519), np.ones(20) / 20, "valid")[np.newaxis]
    spreads = [resample(growth, block, 500, np.random.default_rng(1)).log_value.std() for block in (1, 30)]
    assert spreads[1] > 2 * spreads[0]


def test_a_strategy_without_variance_has_no_sharpe_ratio_and_a_total_loss_is_finite() -> None:
    flat = resample(np.ones((1, 40)), 1, 50, np.random.default_rng(0))
    assert np.isnan(flat.sharpe).all()
    assert interval(flat.sharpe, 0.95) is None
    assert interval(flat.drawdown, 0.95) == (0.0, 0.0)
    lost = resample(np.append(np.ones(39), 0.0)[np.newaxis], 1, 50, np.random.default_rng(0))
    assert np.isfinite(lost.log_value).all()
    assert lost.drawdown.min() == pytest.approx(-1 + TINY)


def test_superiority_is_one_for_equal_strategies_and_small_for_a_clear_lead() -> None:
    assert superiority(np.zeros(99), 0.0) == 1.0
    assert superiority(np.random.default_rng(0).normal(5, 1, 999), 5.0) == pytest.approx(0.001)
    assert superiority(np.random.default_rng(0).normal(-5, 1, 999), -5.0) > 0.99


@pytest.mark.parametrize("growth", [np.ones(9), np.ones((1, 1)), [[1.0, np.nan]], [[1.0, -0.1]]])
def test_growth_that_cannot_be_resampled_is_refused(growth: object) -> None:
    with pytest.raises(ValueError, match="growth must"):
        resample(np.asarray(growth), 1, 10, np.random.default_rng(0))


def test_the_reality_check_is_not_impressed_by_the_best_of_many_worthless_variants() -> None:
    rng = np.random.default_rng(1)
    benchmark, variants = rng.normal(0, 0.01, 400), rng.normal(0, 0.01, (20, 400))
    found = reality_check(benchmark, variants, 2, 500, np.random.default_rng(0))
    assert found.best == int(variants.mean(axis=1).argmax())
    assert found.hansen > 0.1
    # The control: tested as if it were the only one, the best of them looks good.
    alone = reality_check(benchmark, variants[[found.best]], 2, 500, np.random.default_rng(0))
    assert alone.hansen < found.hansen / 2


def test_the_reality_check_finds_a_variant_that_is_better() -> None:
    rng = np.random.default_rng(1)
    benchmark, variants = rng.normal(0, 0.01, 400), rng.normal(0, 0.01, (20, 400))
    variants[3] += 0.004
    found = reality_check(benchmark, variants, 2, 500, np.random.default_rng(0))
    assert (found.best, found.hansen < 0.01) == (3, True)
    assert found.hansen <= found.white


def drawn(variants: list[np.ndarray], benchmark: np.ndarray, block: int = 1) -> object:
    return reality_check(benchmark, np.array(variants), block, 2000, np.random.default_rng(1))


def test_of_variants_that_are_the_benchmark_there_is_nothing_to_test() -> None:
    benchmark = np.random.default_rng(0).normal(0, 0.01, 500)
    assert drawn([benchmark, benchmark.copy()], benchmark) is None
    # The same numbers summed in another order are the same, too.
    assert drawn([benchmark * (1 + 1e-15)], benchmark) is None


def test_variants_of_which_the_best_is_the_benchmark_or_worse_have_p_value_one() -> None:
    rng = np.random.default_rng(0)
    benchmark = rng.normal(0, 0.01, 500)
    for best in (benchmark, benchmark - 1e-3 * rng.random(500)):
        found = drawn([best, best - 1e-3 * rng.random(500)], benchmark)
        assert (found.hansen, found.white, found.best) == (1.0, 1.0, 0)


@pytest.mark.parametrize("hours", [1, 2])
def test_draws_that_equal_what_was_observed_count_against_it(hours: int) -> None:
    # Better in one or two hours and equal in all others: as often as a draw has twice as many of these hours or more,
    # it is as large, which of a Poisson number with mean 1 is 0.26, with mean 2 is 0.14. Without ties: 0.08 and 0.05.
    benchmark = np.random.default_rng(0).normal(0, 0.01, 500)
    better = benchmark.copy()
    better[[7, 400][:hours]] += 0.01
    for variants in ([better], [benchmark, better]):
        found = drawn(variants, benchmark)
        assert found.hansen == pytest.approx({1: 0.264, 2: 0.143}[hours], abs=0.03)
        assert found.white == pytest.approx(found.hansen)
    distance = resample(np.exp([better, benchmark]), 1, 2000, np.random.default_rng(1)).log_value @ [1, -1]
    lead = float((better - benchmark).sum())
    assert superiority(distance, lead) == pytest.approx({1: 0.264, 2: 0.143}[hours], abs=0.03)


def test_no_block_is_so_long_that_all_paths_are_the_whole_record() -> None:
    # Such paths have no variance, and any gain at all would pass.
    trend = np.cumsum(np.random.default_rng(0).normal(size=300))
    for bars in (30, 300):
        assert block_length(trend[:bars], trend[:bars]).length <= bars / 3


def test_the_reality_check_refuses_variants_on_other_bars() -> None:
    with pytest.raises(ValueError, match="same bars"):
        reality_check(np.zeros(5), np.zeros((2, 4)), 1, 10, np.random.default_rng(0))
    with pytest.raises(ValueError, match="finite"):
        reality_check(np.zeros(2), np.array([[0.0, np.nan]]), 1, 10, np.random.default_rng(0))
