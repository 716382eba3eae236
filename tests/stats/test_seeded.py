"""Uniforms against the cells of a fresh pass: by hand, under rounding, and the smallest faults that are named."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from freerun.errors import DataError
from freerun.stats.recognition.seeded import (
    Cells,
    Misses,
    SeededDraws,
    poisson_binomial_sf,
    seeded_draws,
    sensitivity,
)


def cells(*edges: tuple[float, float]) -> Cells:
    return Cells(np.array([a for a, _ in edges]), np.array([b for _, b in edges]))


def test_by_hand() -> None:
    """Three tokens in [.2, .4), [.5, 1) and [0, .1), two scored again. The first one's fresh cell is [.3, .5): half of its own is
    outside. That of the second is its own. u = .25 misses the first, which is as likely as not. Ends are .1 apart, no u is farther.
    """
    recorded = cells((0.2, 0.4), (0.5, 1.0), (0.0, 0.1))
    again = np.array([True, True, False])
    seen = seeded_draws(np.array([0.25, 0.7, 0.05]), recorded, again, cells((0.3, 0.5), (0.5, 1.0)))
    assert seen is not None
    assert (seen.all.n_missed, seen.all.n, seen.all.expected) == (1, 2, pytest.approx(0.5))
    assert seen.all.p_value == pytest.approx(0.5)
    assert (seen.far.n_missed, seen.far.expected, seen.far.p_value) == (0, 0.0, 1.0)
    assert seen.far.slack == pytest.approx(0.1)
    assert (seen.n_recorded, seen.n_outside_record, seen.p_value) == (3, 0, pytest.approx(1.0))
    foreign = seeded_draws(np.array([0.25, 0.7, 0.5]), recorded, again, cells((0.3, 0.5), (0.5, 1.0)))
    assert foreign is not None
    assert (foreign.n_outside_record, foreign.p_value) == (1, 0.0)


def test_without_a_fresh_pass_there_is_nothing_to_say() -> None:
    recorded, none = cells((0.0, 1.0)), Cells(np.zeros(0), np.zeros(0))
    assert seeded_draws(np.array([0.5]), recorded, np.array([False]), none) is None
    with pytest.raises(DataError, match="uniforms"):
        seeded_draws(np.array([1.0]), recorded, np.array([False]), none)


def test_poisson_binomial_by_enumeration() -> None:
    p = np.array([0.1, 0.5, 0.0, 0.9, 0.3])
    for k in range(7):
        exact = sum(
            float(np.prod(np.where(happens, p, 1 - p)))
            for happens in product((False, True), repeat=5)
            if sum(happens) >= k
        )
        assert poisson_binomial_sf(k, p) == pytest.approx(exact, abs=1e-12)
    assert poisson_binomial_sf(1, np.zeros(3)) == 0.0
    assert 0 < poisson_binomial_sf(60, np.full(100, 0.01)) < 1e-12


def test_misses_of_right_draws_are_as_frequent_as_said() -> None:
    """2,000 tokens of a fine law, the fresh pass off by .01 in mass: misses within 4 SD of what is expected, none farther than the
    passes are apart."""
    rng = np.random.default_rng(1)
    edges = np.concatenate([[0], np.cumsum(rng.dirichlet(np.full(40, 0.3)))])
    edges[-1] = 1.0
    u = rng.random(2000)
    x = np.searchsorted(edges, u, side="right") - 1
    off = rng.normal(0, 0.01, u.size)
    fresh = Cells(*(e + off * 4 * e * (1 - e) for e in (edges[x], edges[x + 1])))
    seen = seeded_draws(u, Cells(edges[x], edges[x + 1]), np.ones(u.size, bool), fresh)
    assert seen is not None
    assert 20 < seen.all.expected < 400
    assert abs(seen.all.n_missed - seen.all.expected) < 4 * seen.all.expected**0.5
    assert seen.far.n_missed == seen.n_outside_record == 0
    assert seen.p_value > 1e-4


def draws(n: int, expected: float, slack: float) -> SeededDraws:
    far = Misses(n, slack, 0, 0.0, 1.0)
    return SeededDraws(Misses(n, 0.0, round(expected), expected, 1.0), far, n, 0)


def test_the_smallest_faults_by_hand() -> None:
    """No miss is expected, so one rejects, which is seen with probability .8 where ln 5 = 1.609 are: of 1,000 tokens .16%. Mean
    deviation 0.8: a temperature off by 2 × .0016 / 0.8."""
    smallest = sensitivity(draws(1000, 0.0, 0.0), 0.8, alpha=0.001)
    share = np.log(5) / 1000
    assert smallest.share == pytest.approx(share, rel=1e-6)
    assert smallest.kept_mass == pytest.approx(1 - share)
    assert smallest.temperature == pytest.approx(2 * share / 0.8)


def test_rounding_hides_small_faults_but_not_foreign_tokens() -> None:
    rounded = sensitivity(draws(500, 130.0, 0.05), 1.0, alpha=0.001)
    assert rounded.share == pytest.approx(np.log(5) / 500 / 0.9)
    assert rounded.kept_mass is not None
    assert 0.8 < rounded.kept_mass < 0.95
    assert sensitivity(draws(10, 9.0, 0.5), 1.0, alpha=0.001).kept_mass is None
    assert sensitivity(draws(10, 9.0, 0.5), 1.0, alpha=0.001).share is None
    assert sensitivity(draws(100, 0.0, 0.0), 0.0, alpha=0.001).temperature is None
