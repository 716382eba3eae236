"""Curves of runs on the same documents: their covariance, and the difference of their horizons."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from freerun.errors import DataError
from freerun.stats.detection.curve import AucCurve, joint_covariance
from freerun.stats.detection.horizon import horizon
from freerun.stats.detection.paired_horizon import horizon_difference, restricted_horizons
from freerun.stats.detection.two_sample import judge, score
from freerun.stats.paired import PairedDifference

LENGTHS = np.array([4, 8, 16, 32])


def curve(rng: np.random.Generator, shifts: list[float], topic: np.ndarray, names: list[str] | None = None) -> AucCurve:
    """Documents of which every other one trains; they are alike hard in every run (`topic`), own text is shifted by so much."""
    n, d = topic.shape
    train = np.arange(n) % 2 == 0
    spreads = []
    for shift in shifts:
        real, free = topic + rng.normal(size=(n, d)), topic[:, None] + rng.normal(size=(n, 2, d))
        free[:, :, 0] += shift
        spreads.append(judge(score(real, free, train=train, rng=rng), rng=rng, n_permutations=9).spread)
    units = names or [str(i) for i in range(n)]
    test, trained = (tuple(np.array(units)[side]) for side in (~train, train))
    return AucCurve(LENGTHS[: len(shifts)], tuple(spreads), test, trained)


def auc_difference(a: AucCurve, b: AucCurve) -> PairedDifference:
    weights = np.zeros(2 * len(a.spreads))
    weights[len(a.spreads) - 1], weights[-1] = -1.0, 1.0
    value = float(weights @ np.concatenate([a.aucs, b.aucs]))
    return PairedDifference.of(value, float(np.sqrt(weights @ joint_covariance([a, b]) @ weights)), a.n_documents)


def test_restricted_horizons_hold_what_lies_outside_at_the_ends() -> None:
    aucs = np.array([[0.5, 0.6, 0.8, 0.9], [0.5, 0.5, 0.6, 0.7], [0.8, 0.9, 0.9, 0.9]])
    values, beyond = restricted_horizons(LENGTHS, aucs, level_auc=0.75)
    assert values.tolist() == [horizon(LENGTHS, aucs[0], level_auc=0.75).value, 32.0, 4.0]
    assert beyond.tolist() == [0.0, 1.0, 0.0]


def test_a_run_against_itself_differs_by_nothing() -> None:
    rng = np.random.default_rng(0)
    a = curve(rng, [0.2, 0.8, 1.6, 2.4], rng.normal(size=(60, 4)))
    found = horizon_difference(a, a, rng=rng)
    assert (found.value, found.p_value) == (0.0, 1.0)
    assert found.high - found.low < 1e-3
    assert auc_difference(a, a).standard_error < 1e-8


def test_the_covariance_of_one_curve_has_its_variances_and_of_unlike_documents_no_more() -> None:
    rng = np.random.default_rng(1)
    a = curve(rng, [0.5, 1.0], rng.normal(size=(40, 4)))
    assert np.diag(joint_covariance([a])) == pytest.approx([s.variance for s in a.spreads], rel=0.15)
    b = curve(rng, [0.5, 1.0], rng.normal(size=(40, 4)), [f"other {i}" for i in range(40)])
    whole = joint_covariance([a, b])
    assert whole[:2, :2] == pytest.approx(joint_covariance([a]))
    assert whole[2:, 2:] == pytest.approx(joint_covariance([b]))
    assert np.abs(whole[:2, 2:]).max() < 1e-12


def test_open_ends_are_told() -> None:
    rng = np.random.default_rng(2)
    topic = rng.normal(size=(80, 4))
    never, soon = curve(rng, [0.0] * 4, topic), curve(rng, [0.5, 2.0, 3.0, 4.0], topic)
    found = horizon_difference(never, soon, rng=rng)
    assert found.beyond_a > 0.9
    assert found.beyond_b == 0.0
    assert found.high < 0


def test_curves_at_different_lengths_are_refused() -> None:
    rng = np.random.default_rng(3)
    a, b = (curve(rng, [1.0] * n, rng.normal(size=(20, 2))) for n in (2, 3))
    with pytest.raises(DataError, match="same lengths"):
        horizon_difference(a, b, rng=rng)


@cache
def null_pairs() -> tuple[tuple[AucCurve, AucCurve], ...]:
    """Two runs of one law on the same 48 documents, trained afresh each time."""
    rng = np.random.default_rng(20261127)
    pairs = []
    for _ in range(200):
        topic = rng.normal(size=(48, 8))
        pairs.append((curve(rng, [0.3, 0.8, 1.4, 2.0], topic), curve(rng, [0.3, 0.8, 1.4, 2.0], topic)))
    return tuple(pairs)


def test_size_of_the_paired_tests_with_the_luck_of_training() -> None:
    """At 5% at most 20 of 200 rejections (10%): at an exact 5% more come with probability 1e-3.

    With the detectors taken as fitted, the difference of AUCs was rejected in 13% of such pairs.
    """
    rng = np.random.default_rng(4)
    horizons = sum(horizon_difference(a, b, rng=rng).p_value <= 0.05 for a, b in null_pairs())
    aucs = sum(auc_difference(a, b).p_value <= 0.05 for a, b in null_pairs())
    assert horizons <= 20
    assert aucs <= 20


def test_the_difference_of_two_runs_is_known_better_than_each_of_them() -> None:
    """Documents that are hard for both cancel: the standard error is that of the differences seen."""
    errors = [auc_difference(a, b).standard_error for a, b in null_pairs()]
    seen = np.std([b.aucs[-1] - a.aucs[-1] for a, b in null_pairs()])
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(seen, rel=0.25)
