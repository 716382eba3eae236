"""Paired differences of ratios: by hand, a second way, and their size, coverage and power by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.design.detectable import (
    documents_to_decide,
    documents_without_exception,
    smallest_detectable_difference,
)
from freerun.stats.intervals import clopper_pearson, ratio_of_group_sums
from freerun.stats.paired import (
    contrast_of_estimates,
    contrast_of_ratios,
    paired_difference,
    slope_weights,
    two_sided_p,
)


def test_with_equal_weights_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    a, b, ones = rng.normal(size=20), rng.normal(0.3, 1, 20), np.ones(20)
    found = paired_difference(a, ones, b, ones)
    known = stats.ttest_rel(b, a)
    assert found.value == pytest.approx((b - a).mean())
    # at least as wide: these documents are skewed to one side, and that limit gives way
    interval = known.confidence_interval(0.95)
    assert found.p_value >= known.pvalue * (1 - 1e-9)
    assert found.low <= interval.low + 1e-12
    assert found.high >= interval.high - 1e-12
    assert (found.low == pytest.approx(interval.low)) or (found.high == pytest.approx(interval.high))
    even = np.concatenate([b - a, 2 * (b - a).mean() - (b - a)])  # the same, mirrored: no skewness is left
    zeros, twice = np.zeros(40), np.ones(40)
    mirrored, golden = paired_difference(zeros, twice, even, twice), stats.ttest_1samp(even, 0.0)
    assert mirrored.p_value == pytest.approx(golden.pvalue)
    assert (mirrored.low, mirrored.high) == pytest.approx(tuple(golden.confidence_interval(0.95)))


def test_with_shared_denominators_it_is_the_ratio_of_the_differences() -> None:
    rng = np.random.default_rng(1)
    tokens = rng.integers(5, 50, 12).astype(float)
    a, b = rng.normal(3, 1, 12) * tokens, rng.normal(3, 1, 12) * tokens
    found, known = paired_difference(a, tokens, b, tokens), ratio_of_group_sums(b - a, tokens)
    assert (found.value, found.low, found.high) == pytest.approx((known.value, known.low, known.high))


def test_the_standard_error_is_near_the_jackknife() -> None:
    """A second way: leave out one document at a time (Efron & Stein 1981); both estimate the same spread to order 1/n."""
    rng = np.random.default_rng(2)
    n = 200
    tops, bottoms = rng.gamma(3, 1, (2, n)), rng.gamma(5, 1, (2, n))
    ratio = lambda keep: tops[1, keep].sum() / bottoms[1, keep].sum() - tops[0, keep].sum() / bottoms[0, keep].sum()  # noqa: E731
    left = np.array([ratio(np.arange(n) != i) for i in range(n)])
    jackknife = np.sqrt((n - 1) / n * np.square(left - left.mean()).sum())
    found = contrast_of_ratios(tops, bottoms, np.array([-1.0, 1.0]))
    assert found.standard_error == pytest.approx(jackknife, rel=0.02)


def test_runs_without_a_common_document_are_independent_samples() -> None:
    rng = np.random.default_rng(3)
    n = 40
    tops, bottoms = np.zeros((2, 2 * n)), np.zeros((2, 2 * n))
    tops[0, :n], bottoms[0, :n] = rng.normal(3, 1, n), 1.0
    tops[1, n:], bottoms[1, n:] = rng.normal(3, 2, n), 1.0
    apart = [ratio_of_group_sums(tops[i, s], bottoms[i, s]) for i, s in ((0, slice(0, n)), (1, slice(n, None)))]
    errors = [np.std(tops[i, s], ddof=1) / n**0.5 for i, s in ((0, slice(0, n)), (1, slice(n, None)))]
    found = contrast_of_ratios(tops, bottoms, np.array([-1.0, 1.0]))
    assert found.value == pytest.approx(apart[1].value - apart[0].value)
    assert found.standard_error == pytest.approx(np.hypot(*errors))
    assert found.n == n


def test_a_slope_is_that_of_the_least_squares_line() -> None:
    rng = np.random.default_rng(4)
    x = np.array([1.0, 2.0, 5.0])
    tops = rng.normal(size=(3, 10))
    found = contrast_of_ratios(tops, np.ones((3, 10)), slope_weights(x))
    assert found.value == pytest.approx(np.polyfit(x, tops.mean(axis=1), 1)[0])


def test_rounding_is_no_difference_and_a_constant_one_is_sure_but_not_surer_than_its_signs() -> None:
    a, ones = np.array([1.0, 2.0, 3.0, 4.0]), np.ones(4)
    same = paired_difference(a, ones, a + 1e-15, ones)
    assert (same.value, same.p_value) == (0.0, 1.0)
    shifted = paired_difference(a, ones, a + 0.5, ones)
    assert shifted.p_value == 2.0**-3
    assert (shifted.low, shifted.high) == pytest.approx((0.5, 0.5))
    assert two_sided_p(1.0, 1e-9, 16) == 2.0**-15


def test_estimates_that_are_one_cancel_to_the_last_digit() -> None:
    """Their difference and its variance are rounding, and no test: without the limit of rounding, p is 2^(1−n) or near it."""
    rng = np.random.default_rng(3)
    for _ in range(50):
        k = int(rng.integers(1, 6))
        auc, factor = rng.uniform(0.4, 0.9, k), rng.normal(size=(k, 30)) / 100
        covariance = np.tile(factor @ factor.T, (2, 2)) * (1 + rng.normal(size=(2 * k, 2 * k)) * 1e-16)
        weights = np.outer([-1.0, 1.0], np.full(k, 1 / k)).ravel()
        d = contrast_of_estimates(np.concatenate([auc, auc * (1 + 2e-16)]), covariance, weights, 14)
        assert (d.value, d.standard_error, d.p_value) == (0.0, 0.0, 1.0)


def test_a_contrast_of_estimates_is_that_of_their_covariance() -> None:
    rng = np.random.default_rng(4)
    moves = rng.normal(size=(3, 40))
    weights, estimates = np.array([-1.0, 0.5, 0.5]), np.array([0.6, 0.7, 0.75])
    d = contrast_of_estimates(estimates, np.cov(moves) / 40, weights, 40)
    mixed = weights @ moves  # the mean of what is mixed first, a second way
    test = stats.ttest_1samp(mixed - mixed.mean() + weights @ estimates, 0.0)
    assert d.value == pytest.approx(0.125)
    assert d.p_value == pytest.approx(test.pvalue)
    limits = test.confidence_interval(0.95)
    assert (d.low, d.high) == pytest.approx((limits.low, limits.high))


def test_what_cannot_be_meant_is_refused() -> None:
    ones = np.ones((2, 3))
    weights = np.array([-1.0, 1.0])
    with pytest.raises(TooFewDocuments, match="at least 2"):
        contrast_of_ratios(ones[:, :1], ones[:, :1], weights)
    with pytest.raises(DataError, match="not finite"):
        contrast_of_ratios(ones * np.nan, ones, weights)
    with pytest.raises(DataError, match="zero"):
        contrast_of_ratios(ones, np.array([[1.0, -1.0, 0.0], [1.0, 1.0, 1.0]]), weights)
    with pytest.raises(DataError, match="do not fit"):
        contrast_of_ratios(ones, ones, np.ones(3))
    with pytest.raises(DataError, match="slope"):
        slope_weights(np.ones(3))
    with pytest.raises(DataError, match="alpha"):
        smallest_detectable_difference(1.0, 10, alpha=0.9, power=0.8)


def _trials(n_trials: int, n: int, effect: float, rng: np.random.Generator) -> tuple[int, int]:
    """How often the interval misses the truth, and how often the test rejects none; documents of uneven length and difficulty."""
    missed = rejected = 0
    for _ in range(n_trials):
        tokens = rng.integers(20, 60, n).astype(float)
        hard = rng.gamma(4, 0.7, n)  # shared by both runs
        a = tokens * (hard + rng.normal(0, 0.3, n))
        b = tokens * (hard + effect + rng.normal(0, 0.3, n))
        found = paired_difference(a, tokens, b, tokens)
        missed += not found.low <= effect <= found.high
        rejected += found.p_value <= 0.05
    return missed, rejected


def test_coverage_and_size_at_24_documents() -> None:
    """4,000 trials without a difference: misses and rejections must each lie between 145 and 265 of 4,000.

    At an exact 5% the count is binomial, mean 200 and SD 13.8: outside with probability 5e-5. A linearised interval over 24
    documents of uneven length is expected at 5 to 5.5%.
    """
    missed, rejected = _trials(4000, 24, 0.0, np.random.default_rng(20261123))
    assert 145 <= missed <= 265
    assert 145 <= rejected <= 265


def test_the_smallest_detectable_difference_is_found_with_80_percent_power() -> None:
    """2,000 trials at the effect planned for 24 documents: 1,515 to 1,685 rejections (binomial, SD 17.9: 2e-6 outside)."""
    n, sd = 24, 0.3 * np.sqrt(2.0)
    effect = smallest_detectable_difference(sd / np.sqrt(n), n)
    rng = np.random.default_rng(7)
    x = rng.normal(effect, sd, (2000, n))
    rejected = int((np.abs(x.mean(1) / (x.std(1, ddof=1) / np.sqrt(n))) > stats.t.ppf(0.975, n - 1)).sum())
    assert 1515 <= rejected <= 1685


def test_a_known_plan() -> None:
    """Cohen (1988): a paired t test of 34 pairs has power 0.8 for an effect of half a standard deviation (G*Power: 0.8078)."""
    assert smallest_detectable_difference(1 / np.sqrt(34), 34) == pytest.approx(0.495, abs=0.003)
    assert stats.nct.sf(stats.t.ppf(0.975, 33), 33, 0.5 * np.sqrt(34)) == pytest.approx(0.8078, abs=2e-4)


@pytest.mark.parametrize("share", [0.001, 0.04, 0.3])
def test_documents_without_exception_are_those_of_the_exact_limit(share: float) -> None:
    n = documents_without_exception(share)
    assert n is not None
    assert clopper_pearson(0, n).high < share <= clopper_pearson(0, n - 1).high


def test_documents_to_decide() -> None:
    assert documents_to_decide(64, 0.3, 0.1) == 1177  # 64 · 9 · (1 + 0.8416/1.9600)²
    assert documents_to_decide(64, 0.1, 0.3) == 65
    assert documents_to_decide(64, np.inf, 0.3) is None


def test_the_documents_that_decide_do_so_in_four_of_five_trials() -> None:
    """400 trials of normal documents, SD 1, 0.25 above the threshold; 80% have a standard error of 2%."""
    rng = np.random.default_rng(7)
    n = documents_to_decide(32, float(stats.norm.ppf(0.975)) / 32**0.5, 0.25)
    assert n is not None
    decided = sum(ratio_of_group_sums(rng.normal(0.25, 1, n), np.ones(n)).low > 0 for _ in range(400))
    assert 0.72 <= decided / 400 <= 0.88
