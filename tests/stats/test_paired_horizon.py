"""Horizons of two runs on documents that were resampled together."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.errors import DataError
from freerun.stats.detection.horizon import horizon
from freerun.stats.detection.paired_horizon import (
    ScoredCurve,
    bootstrap_difference,
    horizon_difference,
    joint_draws,
    restricted_horizons,
)

LENGTHS = np.array([4, 8, 16, 32])


def curve(rng: np.random.Generator, shifts: np.ndarray, documents: np.ndarray, topic: np.ndarray) -> ScoredCurve:
    """Scores of documents that are alike hard in every run (`topic`), own text shifted by so much at each length."""
    mine = topic[documents]
    real = tuple(0.7 * mine + rng.normal(size=documents.size) for _ in shifts)
    free = tuple(0.7 * mine[:, None] + rng.normal(size=(documents.size, 2)) + s for s in shifts)
    return ScoredCurve(real, free, documents)


def test_restricted_horizons_hold_what_lies_outside_at_the_ends() -> None:
    aucs = np.array([[0.5, 0.6, 0.8, 0.9], [0.5, 0.5, 0.6, 0.7], [0.8, 0.9, 0.9, 0.9]])
    values, beyond = restricted_horizons(LENGTHS, aucs, level_auc=0.75)
    assert values.tolist() == [horizon(LENGTHS, aucs[0], level_auc=0.75).value, 32.0, 4.0]
    assert beyond.tolist() == [0.0, 1.0, 0.0]


def test_a_run_against_itself_differs_by_nothing() -> None:
    rng = np.random.default_rng(0)
    documents = np.arange(30)
    a = curve(rng, np.array([0.2, 0.6, 1.2, 1.8]), documents, rng.normal(size=30))
    draws = joint_draws([a, a], n_resamples=100, rng=rng)
    assert np.array_equal(*draws)
    found = horizon_difference(LENGTHS, a, a, (draws[0], draws[1]))
    assert (found.value, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_draws_are_the_auc_of_repeated_documents() -> None:
    """A second way: repeat the documents of a resample one by one and count the pairs."""
    rng = np.random.default_rng(1)
    a = curve(rng, np.array([1.0]), np.array([0, 2, 3]), rng.normal(size=5))
    b = curve(rng, np.array([0.0]), np.array([1, 2, 4]), rng.normal(size=5))
    drawn = joint_draws([a, b], n_resamples=50, rng=np.random.default_rng(9))
    counts = np.random.default_rng(9).multinomial(5, np.full(5, 0.2), size=50)
    for side, found in zip((a, b), drawn, strict=True):
        for weights, value in zip(counts[:, side.documents], found[:, 0], strict=True):
            real, free = (
                np.repeat(side.scores_real[0], weights),
                np.repeat(side.scores_free[0], weights, axis=0).ravel(),
            )
            if real.size == 0:
                assert np.isnan(value)
                continue
            wins = (free[:, None] > real[None, :]).mean()
            assert value == pytest.approx(wins)


def test_open_ends_are_told() -> None:
    rng = np.random.default_rng(2)
    documents, topic = np.arange(40), rng.normal(size=40)
    never, soon = (curve(rng, np.array(s), documents, topic) for s in ([0.0] * 4, [0.5, 1.5, 2.5, 3.0]))
    draws = joint_draws([never, soon], n_resamples=200, rng=rng)
    found = horizon_difference(LENGTHS, never, soon, (draws[0], draws[1]))
    assert found.beyond_a > 0.9
    assert found.beyond_b == 0.0
    assert found.high < 0


def test_draws_that_do_not_pair_are_refused() -> None:
    with pytest.raises(DataError, match="same ones"):
        bootstrap_difference(1.0, 2.0, np.ones(3), np.ones(4), n_documents=10)


def test_size_of_the_paired_test_with_fixed_detectors() -> None:
    """Two runs of one law on 40 documents, 250 trials at 5%: at most 27 rejections (10.8%).

    At an exact 5% the count is binomial with mean 12.5: more than 27 with probability 6e-5. Independent bootstraps would make the
    test conservative here; the band above only catches one that rejects too often.
    """
    rng = np.random.default_rng(20261123)
    shifts = np.array([0.2, 0.5, 0.9, 1.3])
    rejected = 0
    for _ in range(250):
        documents, topic = np.arange(40), rng.normal(size=40)
        a, b = (curve(rng, shifts, documents, topic) for _ in range(2))
        draws = joint_draws([a, b], n_resamples=200, rng=rng)
        found = horizon_difference(LENGTHS, a, b, (draws[0], draws[1]))
        rejected += found.p_value <= 0.05
    assert rejected <= 27
