"""K: the control variate, infinite laws, and units."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from freerun.errors import TooFewDocuments
from freerun.stats.intervals import has_no_width, mean_limits, skewness
from freerun.stats.two_laws.k import LEAST_UNITS_FOR_COEFFICIENT, controlled, k_by_length
from freerun.stats.two_laws.texts import TwoLaws, gap_sums, sums_to
from studies.two_laws.worlds import PAIRS, Pair


def constant_ratio() -> Pair:
    """p₁ = (½, ½), q₁ = (¼, ¾); then after the second symbol p is a point and q uniform on three: L is ln 2 for every text."""
    p, q = np.zeros((1, 3, 3)), np.zeros((1, 3, 3))
    p[0, 0], q[0, 0] = [0.0, 0.5, 0.5], [0.0, 0.25, 0.75]
    p[0, 1] = q[0, 1] = [0.0, 1.0, 0.0]
    p[0, 2], q[0, 2] = [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]
    return Pair(p, q, np.ones(1), False, "")


def test_the_control_variate_finds_the_ratio_that_does_not_vary() -> None:
    """Σ kl varies there and L does not: the coefficient goes to 1 and the interval nearly closes."""
    laws, _ = constant_ratio().draw(np.random.default_rng(1), 200, 2)
    assert np.ptp(gap_sums(laws, np.array([2]))) == pytest.approx(0.0, abs=1e-12)
    found = k_by_length(laws, np.array([2]))[0]
    sums = sums_to(laws.kl_pq, laws, np.array([2]))[:, 0]
    plain = mean_limits(float(sums.mean()), float(sums.std(ddof=1)) / math.sqrt(200), skewness(sums - sums.mean()), 200)
    assert found.interval is not None
    assert found.coefficient == pytest.approx(1.0, abs=0.02)
    assert found.interval.value == pytest.approx(math.log(2), abs=0.01)
    assert found.interval.high - found.interval.low < 0.05 * (plain[1] - plain[0])


def test_each_coefficient_is_fitted_without_its_own_unit() -> None:
    """Against a fit that leaves each unit out, one by one."""
    rng = np.random.default_rng(2)
    exact = rng.gamma(2.0, size=120)
    drawn = exact + rng.normal(size=120) * exact
    values, coefficients = controlled(exact, drawn)
    for i in range(120):
        s, d = np.delete(exact, i), np.delete(drawn - exact, i)
        fitted = np.clip(-((s - s.mean()) @ d) / (d @ d), -1.0, 1.0)
        assert coefficients[i] == pytest.approx(fitted, abs=1e-12)
        assert values[i] == pytest.approx(exact[i] + fitted * (drawn[i] - exact[i]), abs=1e-12)


def test_the_estimate_is_unbiased() -> None:
    """2,000 runs of 96 texts; 4.5 standard errors of their mean: fails by chance once in 10^5."""
    pair, rng = PAIRS["ends"], np.random.default_rng(3)
    laws, _ = pair.draw(rng, 2000 * 96, 8)
    exact = sums_to(laws.kl_pq, laws, np.array([8])).reshape(2000, 96)
    drawn = gap_sums(laws, np.array([8])).reshape(2000, 96)
    found = [controlled(s, r)[0].mean() for s, r in zip(exact, drawn, strict=True)]
    assert abs(np.mean(found) - pair.truth(8)[0]) < 4.5 * np.std(found) / math.sqrt(2000)


def test_few_units_have_the_exact_sums_alone() -> None:
    laws, _ = PAIRS["ends"].draw(np.random.default_rng(4), LEAST_UNITS_FOR_COEFFICIENT - 1, 4)
    found = k_by_length(laws, np.array([4]))[0]
    assert found.coefficient == 0.0
    assert found.interval is not None
    assert found.interval.value == pytest.approx(sums_to(laws.kl_pq, laws, np.array([4])).mean())


def test_a_prompt_counts_once() -> None:
    """One unit of two texts and one of one: (mean of two + one)/2, not the mean of three."""
    laws, _ = PAIRS["apart"].draw(np.random.default_rng(5), 3, 3)
    laws = replace(laws, unit=np.array([0, 0, 1]))
    sums = sums_to(laws.kl_pq, laws, np.array([3]))[:, 0]
    found = k_by_length(laws, np.array([3]))[0].interval
    assert found is not None
    assert found.n == 2
    assert found.value == pytest.approx(((sums[0] + sums[1]) / 2 + sums[2]) / 2)


def test_a_token_without_mass_makes_k_infinite_from_there_on() -> None:
    laws, _ = PAIRS["apart"].draw(np.random.default_rng(6), 8, 4)
    laws.log_q[3, 2] = laws.log_q[3, 3] = -np.inf  # drawn by p, impossible for q
    laws.kl_pq[5, 2] = np.inf  # could have been drawn
    found = k_by_length(laws, np.array([2, 3, 4]))
    assert [f.infinite for f in found] == [False, True, True]
    assert [(f.infinite_tokens, f.infinite_texts) for f in found] == [(0, 0), (2, 2), (3, 2)]
    assert found[0].interval is not None
    assert found[1].interval is None


def test_equal_laws_have_no_k_and_no_interval() -> None:
    laws, _ = PAIRS["equal"].draw(np.random.default_rng(7), 64, 4)
    for found in k_by_length(laws, np.array([1, 4])):
        assert found.interval is not None
        assert found.interval.value == 0.0
        assert has_no_width(found.interval.low, found.interval.high)


def test_one_unit_is_refused() -> None:
    laws, _ = PAIRS["apart"].draw(np.random.default_rng(8), 1, 4)
    with pytest.raises(TooFewDocuments):
        k_by_length(laws, np.array([2]))


def test_limits_hold_where_nothing_is_known_but_log_probabilities() -> None:
    """As of a server: L alone, no divergences. 600 sets of 24 texts of 8 independent tokens, whose K is 8 KL(p‖q); each limit may
    miss in 2.5% of them, and 36 misses or more are wrongly alarmed about with probability 2e-6. Seed fixed after the design."""
    rng = np.random.default_rng(20261128)
    p, q = rng.dirichlet(np.ones(20)), rng.dirichlet(np.full(20, 5.0))
    exact = 8 * float((p * np.log(p / q)).sum())
    below = above = 0
    for _ in range(600):
        x = rng.choice(20, size=(24, 8), p=p)
        nothing = np.full(x.shape, np.nan)
        laws = TwoLaws(
            np.arange(24),
            np.full(24, 8),
            np.zeros(24, bool),
            np.log(p)[x],
            np.log(q)[x],
            nothing,
            nothing,
            nothing,
            np.zeros(x.shape, bool),
        )
        (k,) = k_by_length(laws.by_gaps, np.array([8]))
        (back,) = k_by_length(laws.by_gaps.swapped.swapped, np.array([8]))
        assert k == back
        assert k.interval is not None
        below += exact < k.interval.low
        above += exact > k.interval.high
    assert below < 36
    assert above < 36
