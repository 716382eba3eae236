"""Permutation analysis of variance against the F of linear models, its size by simulation, and what factors add to distances."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from freerun.errors import DataError
from freerun.stats.disagreement.factors import Term, added_distances, mean_over_models, permutation_anova
from freerun.stats.disagreement.probe import divergence_nats, explained, fit_probe

DESIGN = [(a, o, s) for a, o, s in product("tlr", "asm", "01")] + [
    (a, o, "0") for a, o in zip("tlrtlr", "asmsma", strict=True)
]
A, O, S = ([row[k] for row in DESIGN] for k in range(3))  # noqa: E741


def _squared(points: np.ndarray) -> np.ndarray:
    return np.square(points[:, None] - points[None]).sum(-1)


def test_one_dimension_is_the_classical_f() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=24)
    test = permutation_anova(_squared(y[:, None]), Term("a", A), n_permutations=99, rng=rng)
    expected = stats.f_oneway(*[y[np.array(A) == level] for level in "tlr"])
    assert test is not None
    assert test.pseudo_f == pytest.approx(expected.statistic, rel=1e-9)
    assert (test.degrees, test.residual_degrees) == (2, 21)


def test_beside_other_factors_it_is_the_partial_f() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=24) + np.where(np.array(A) == "t", 1.0, 0.0)

    def residual(*factors: list[str]) -> float:
        x = np.column_stack([np.ones(24), *[[float(v == level) for v in f] for f in factors for level in set(f)]])
        return float(np.square(y - x @ np.linalg.lstsq(x, y, rcond=None)[0]).sum())

    small, large = residual(O, S), residual(O, S, A)
    test = permutation_anova(_squared(y[:, None]), Term("a", A, (O, S)), n_permutations=19, rng=rng)
    assert test is not None
    assert test.pseudo_f == pytest.approx((small - large) / 2 / (large / (24 - 6)), rel=1e-9)
    assert test.share == pytest.approx((small - large) / small, rel=1e-9)


def test_size_beside_a_factor_that_matters() -> None:
    """500 trials: rejections at 5% lie in 11 to 42 with all but 1e-3 (binomial, both sides) if the size is 5%."""
    rng = np.random.default_rng(2)
    low, high = stats.binom.ppf([0.0005, 0.9995], 500, 0.05)
    rejected = 0
    for _ in range(500):
        points = rng.gamma(0.5, size=(24, 3)) + 3.0 * (np.array(A) == "t")[:, None]
        test = permutation_anova(_squared(points), Term("o", O, (A, S)), n_permutations=99, rng=rng)
        assert test is not None
        rejected += test.p <= 0.05
    assert (low, high) == (11, 42)
    assert low <= rejected <= high


def test_a_planted_factor_is_seen() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(24, 3)) + 2.0 * (np.array(A) == "t")[:, None]
    test = permutation_anova(_squared(points), Term("a", A, (O, S)), n_permutations=199, rng=rng)
    assert test is not None
    assert test.p == 1 / 200


def test_no_degrees_left_is_no_test() -> None:
    squared = _squared(np.random.default_rng(4).normal(size=(4, 2)))
    assert permutation_anova(squared, Term("x", list("abcd")), n_permutations=9, rng=np.random.default_rng(0)) is None
    twice = Term("x", list("aabb"), (list("aabb"),))
    assert permutation_anova(squared, twice, n_permutations=9, rng=np.random.default_rng(0)) is None
    with pytest.raises(DataError, match="labels"):
        permutation_anova(squared, Term("x", list("ab")), n_permutations=9, rng=np.random.default_rng(0))


def _differs(labels: list[str]) -> np.ndarray:
    return np.array([[float(a != b) for b in labels] for a in labels])


def test_added_distances_are_recovered_exactly() -> None:
    ones = np.ones((24, 24))
    found = added_distances(
        0.5 * ones + 2.0 * _differs(A) - 0.25 * _differs(S), {"any": ones, "a": _differs(A), "s": _differs(S)}
    )
    assert [round(i.value, 9) for i in found.values() if i] == [0.5, 2.0, -0.25]


def test_interval_of_added_distances() -> None:
    """250 trials of a factor that adds 2·(2/3)² on average: the interval misses at most 25 times (P = 8e-4 at 5%).

    Points of architecture t are shifted by 1.5; the truth comes from squared distances in 3 dimensions, fitted without noise.
    """
    rng = np.random.default_rng(5)
    shift = 1.5 * (np.array(A) == "t")[:, None] * np.ones(3)
    differs = {"any": np.ones((24, 24)), "a": _differs(A), "o": _differs(O)}
    expected = added_distances(_squared(shift) + 2 * 3 * (1 - np.eye(24)), differs)["a"]
    assert expected is not None
    missed = 0
    for _ in range(250):
        interval = added_distances(_squared(shift + rng.normal(size=(24, 3))), differs)["a"]
        assert interval is not None
        missed += not interval.low <= expected.value <= interval.high
    assert missed <= 25


def test_the_jackknife_by_hand() -> None:
    """√((n − 1)/n · Σ (estimate without one model − their mean)²), times Student's quantile at n − 1 degrees."""
    n, rng = 9, np.random.default_rng(7)
    squared, labels = _squared(rng.normal(size=(n, 2))), list("aaabbbccc")
    differs = {"any": np.ones((n, n)), "f": _differs(labels)}

    def means(kept: list[int]) -> list[float]:
        pairs = [(i, j) for i in kept for j in kept if i < j]
        same = np.mean([squared[i, j] for i, j in pairs if labels[i] == labels[j]])
        return [float(same), float(np.mean([squared[i, j] for i, j in pairs if labels[i] != labels[j]]) - same)]

    without = np.array([means([k for k in range(n) if k != i]) for i in range(n)])
    error = np.sqrt((n - 1) / n * np.square(without - without.mean(0)).sum(0))
    half = stats.t.ppf(0.975, n - 1) * error
    for k, interval in enumerate(added_distances(squared, differs).values()):
        assert interval is not None
        value = means(list(range(n)))[k]
        assert (interval.value, interval.low, interval.high) == pytest.approx((value, value - half[k], value + half[k]))


def test_what_pairs_do_not_tell_apart_has_no_value() -> None:
    ones = np.ones((5, 5))
    assert added_distances(ones, {"a": ones, "b": ones}) == {"a": None, "b": None}


def test_mean_over_models_is_students() -> None:
    values = np.array([1.0, 2.0, 4.0, 5.0])
    low, high = stats.t.interval(0.95, 3, loc=3.0, scale=stats.sem(values))
    found = mean_over_models(values)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_a_probe_reads_a_planted_posterior_and_no_shuffled_one() -> None:
    rng = np.random.default_rng(6)
    posteriors = rng.dirichlet(np.ones(3), size=1200)
    states = posteriors @ rng.normal(size=(3, 8)) + 0.01 * rng.normal(size=(1200, 8))
    probe = fit_probe(states[:800], posteriors[:800])
    assert explained(probe.read(states[800:]), posteriors[800:]) > 0.98
    assert divergence_nats(probe.read(states[800:]), posteriors[800:]) < 0.05
    shuffled = fit_probe(states[:800], posteriors[rng.permutation(800)])
    assert explained(shuffled.read(states[800:]), posteriors[800:]) < 0.05


def test_a_probe_keeps_what_it_was_fitted_with() -> None:
    """Row by row it reads what it reads of all rows: nothing is taken from the texts that are read."""
    rng = np.random.default_rng(8)
    posteriors, states = rng.dirichlet(np.ones(3), size=60), rng.normal(size=(60, 4))
    probe = fit_probe(states[:40], posteriors[:40])
    whole = probe.read(states[40:])
    assert np.concatenate([probe.read(row[None]) for row in states[40:]]) == pytest.approx(whole, abs=1e-12)


def test_divergence_of_a_posterior_from_what_is_read_by_hand() -> None:
    """0.5 ln(0.5/0.25) + 0.5 ln(0.5/0.75), and ln(1/0.8) where one source is certain."""
    said, posteriors = np.array([[0.25, 0.75], [0.8, 0.2]]), np.array([[0.5, 0.5], [1.0, 0.0]])
    expected = (0.5 * np.log(2.0) + 0.5 * np.log(2.0 / 3.0) + np.log(1.25)) / 2
    assert divergence_nats(said, posteriors) == pytest.approx(expected, abs=1e-12)
