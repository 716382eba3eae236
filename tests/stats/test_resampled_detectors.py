"""Contrasts of detectability with the detectors fitted again on resampled documents."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.errors import DataError
from freerun.stats.detection.auc import auc
from freerun.stats.detection.logistic import Standardizer, fit_logistic
from freerun.stats.detection.resampled_detectors import refitted_auc_draws, resampled_contrast
from freerun.stats.detection.two_sample import detect
from freerun.stats.intervals import bootstrap_groups, t_quantile
from freerun.stats.paired import slope_weights


def texts(
    rng: np.random.Generator, topic: np.ndarray, shift: float, d: int = 4, reps: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Features of documents of which each has a topic; own texts shifted in the first feature."""
    n = len(topic)
    real = 0.6 * topic + rng.normal(size=(n, d))
    free = 0.6 * topic[:, None, :] + rng.normal(size=(n, reps, d))
    free[:, :, 0] += shift
    return real, free


def test_documents_drawn_once_give_the_detector_itself() -> None:
    """Counts of one everywhere: the AUC is that of `detect`, with the penalty that it chose."""
    rng = np.random.default_rng(0)
    real, free = texts(rng, rng.normal(size=(40, 4)), 0.8)
    train = np.arange(40) < 20
    found = detect(real, free, train=train, rng=rng)
    ones = np.ones((3, 20), np.int64)
    draws = refitted_auc_draws(real, free, train=train, penalty=found.penalty, train_counts=ones, test_counts=ones)
    assert draws.tolist() == pytest.approx([found.auc.value] * 3, abs=1e-12)


def test_a_document_drawn_twice_is_there_twice() -> None:
    """A second way: repeat the documents of a resample row by row, fit, and count pairs."""
    rng = np.random.default_rng(1)
    real, free = texts(rng, rng.normal(size=(24, 4)), 0.8)
    train = np.arange(24) % 2 == 0
    counts = [bootstrap_groups(np.arange(12), n_resamples=60, rng=rng) for _ in range(2)]
    draws = refitted_auc_draws(real, free, train=train, penalty=3.0, train_counts=counts[0], test_counts=counts[1])
    scale = Standardizer.fit(np.concatenate([real[train], free[train].reshape(-1, 4)]))
    for b in (0, 7, 59):  # 50 are fitted together
        mine, held = (np.repeat(np.arange(12), c[b]) for c in counts)
        x = np.concatenate([real[train][mine], free[train][mine].reshape(-1, 4)])
        y = np.repeat([0.0, 1.0], [len(mine), 2 * len(mine)])
        weights = np.repeat([1.0, 0.5], [len(mine), 2 * len(mine)])
        fit = fit_logistic(scale.apply(x), y[None], penalty=3.0, weights=weights[None])
        scores = [fit.scores(scale.apply(z))[0] for z in (free[~train][held].reshape(-1, 4), real[~train][held])]
        assert draws[b] == pytest.approx(auc(*scores), abs=1e-6)


def test_a_contrast_by_hand() -> None:
    """Draws of two settings: differences −0.1, −0.2, −0.3; SD 0.1, times √(10/9)."""
    draws = np.array([[0.7, 0.6], [0.8, 0.6], [0.9, 0.6]])
    found = resampled_contrast(np.array([0.75, 0.5]), draws, np.array([-1.0, 1.0]), n_documents=10)
    assert found.value == pytest.approx(-0.25)
    assert found.standard_error == pytest.approx(0.1 * np.sqrt(10 / 9))
    assert found.high - found.value == pytest.approx(found.standard_error * t_quantile(10, 0.95))
    assert found.p_value == pytest.approx(0.042, abs=0.002)
    assert found.smallest_detectable > 0.3
    same = resampled_contrast(np.array([1.0, 1.0]), np.ones((5, 2)), np.array([-1.0, 1.0]), n_documents=10)
    assert (same.value, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_what_does_not_fit_is_refused() -> None:
    rng = np.random.default_rng(2)
    real, free = texts(rng, rng.normal(size=(8, 4)), 0.0)
    train = np.arange(8) < 4
    ones = np.ones((2, 4), np.int64)
    with pytest.raises(DataError, match="4 training and 4 test"):
        refitted_auc_draws(real, free, train=train, penalty=1.0, train_counts=ones[:, :3], test_counts=ones)
    with pytest.raises(DataError, match="do not fit"):
        resampled_contrast(np.ones(2), np.ones((3, 3)), np.ones(2), n_documents=4)
    with pytest.raises(DataError, match="not finite"):
        resampled_contrast(np.ones(2), np.full((3, 2), np.nan), np.ones(2), n_documents=4)


X = np.array([3.0, 5.0, 7.0])


def trial(rng: np.random.Generator, shifts: tuple[float, ...], n: int = 48) -> tuple[float, float]:
    """One sweep of three settings: the p-value of the slope, and its estimate. Detectors are trained in the trial."""
    topic = rng.normal(size=(n, 4))
    train = np.arange(n) < n // 2
    counts = [bootstrap_groups(np.arange(n // 2), n_resamples=60, rng=rng) for _ in range(2)]
    values, draws = [], []
    for shift in shifts:
        real, free = texts(rng, topic, shift)
        found = detect(real, free, train=train, rng=rng, penalties=(3.0,), folds=2, n_resamples=2, n_permutations=1)
        values.append(found.auc.value)
        draws.append(
            refitted_auc_draws(real, free, train=train, penalty=3.0, train_counts=counts[0], test_counts=counts[1])
        )
    slope = resampled_contrast(np.array(values), np.stack(draws, axis=1), slope_weights(X), n_documents=n // 2)
    return slope.p_value, slope.value


def test_size_where_context_does_nothing() -> None:
    """Three settings of one law, detectors trained each time, 100 trials at 5%: at most 13 rejections.

    At an exact 5% the count is binomial with mean 5: more than 13 with probability 0.0005.
    """
    rng = np.random.default_rng(20261124)
    rejected = sum(trial(rng, (0.7, 0.7, 0.7))[0] <= 0.05 for _ in range(100))
    assert rejected <= 13


def test_power_where_the_gap_falls() -> None:
    """A shift that falls 1.6, 1.0, 0.4 (AUC about 0.85, 0.74, 0.6): found in at least 20 of 30 trials, always falling."""
    rng = np.random.default_rng(7)
    found = [trial(rng, (1.6, 1.0, 0.4)) for _ in range(30)]
    assert sum(p <= 0.05 for p, _ in found) >= 20
    assert all(value < 0 for _, value in found)
