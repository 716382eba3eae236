"""Telling two kinds of text apart at one length: a classifier two-sample test with its controls (Lopez-Paz & Oquab 2017).

The independent unit is a row: one document's real continuation and the generated ones of the same prefix. Everything is
chosen on training units; every number is about test units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import special, stats

from freerun.counted import counted
from freerun.errors import DataError, TooFewDocuments
from freerun.stats.detection.auc import auc, auc_interval, auc_rows, mann_whitney_p_rows, weighted_auc
from freerun.stats.detection.logistic import Standardizer, best_penalty, cross_fitted_scores, fit_logistic
from freerun.stats.intervals import (
    Interval,
    bootstrap_groups,
    checked_level,
    clopper_pearson_high,
    clopper_pearson_low,
)

PENALTIES = (0.1, 1.0, 10.0, 100.0)
MIN_UNITS = 4
_HALVES = 4


@dataclass(frozen=True)
class Detection:
    """How well a detector tells real from generated text at one length.

    `auc`: on test units, with a unit bootstrap that takes the fitted detector as given. `scores_real`, `scores_free`:
    log odds of being generated, for the test units in their order. `auc_train`: cross-fitted within the training
    units (for choosing between detectors). `auc_half_train`: on the same test units, fitted on random halves of the
    training units; None for fewer than 8 of them. `tv_low`: lower confidence limit of the total variation, 0 if
    nothing is proven. `p_value`: one-sided (generated scores higher), by swapping real and generated within test units.
    """

    auc: Interval
    scores_real: Float[np.ndarray, " test"]
    scores_free: Float[np.ndarray, "test reps"]
    n_train: int
    n_test: int
    penalty: float
    auc_train: float
    auc_half_train: float | None
    tv_low: float
    p_value: float


@dataclass(frozen=True)
class NullBand:
    """AUCs of one kind of text against itself, over random halves of the units.

    `low`, `high`: quantiles over splits; `rejection_share`: splits whose Mann-Whitney p-value on test units is below
    0.05. Splits share their units, so that it says little of new documents.
    """

    low: float
    high: float
    mean: float
    rejection_share: float


def detect(
    real_x: Float[np.ndarray, "units d"],
    free_x: Float[np.ndarray, "units reps d"],
    *,
    train: Bool[np.ndarray, " units"],
    rng: np.random.Generator,
    n_resamples: int = 1000,
    level: float = 0.95,
    tv_level: float | None = None,
    penalties: Sequence[float] = PENALTIES,
    folds: int = 5,
    n_permutations: int = 9999,
) -> Detection:
    """Fit a detector on training units and judge it on test units (Lopez-Paz & Oquab 2017).

    Ridge logistic regression on features standardised on the training units, both kinds of equal weight, the penalty
    chosen by cross-fitting inside the training units. TV >= CP_low(TPR) - CP_high(FPR), each at (1 - tv_level)/2,
    with a threshold chosen on cross-fitted training scores and one replicate (the first) per unit, so that units are
    independent. The p-value is Monte Carlo over `n_permutations`: within each test unit the real text changes places
    with a random one of itself and its replicates; exact under the null that they are exchangeable given the prefix.

    Raises TooFewDocuments for fewer than 4 training or test units, DataError for features that are not finite.
    """
    train = _checked_train(real_x, train)
    if free_x.ndim != 3 or free_x.shape[::2] != real_x.shape or free_x.shape[1] == 0:
        raise DataError(f"generated features of shape {free_x.shape} do not fit real ones of shape {real_x.shape}")
    n_train, n_test = int(train.sum()), int((~train).sum())
    detector = _Detector.train(real_x[train], free_x[train], penalties=penalties, folds=folds, rng=rng)
    test_x = _stacked(real_x[~train], free_x[~train])
    real, free = _by_kind(detector.scores(test_x)[0], n_test)
    interval = _auc_of_units(real, free, n_resamples=n_resamples, level=level, rng=rng)
    half = None
    if n_train >= 2 * MIN_UNITS:
        kept = _random_halves(n_train, _HALVES, rng)[:, detector.unit]
        halves = detector.scores(test_x, weights=kept * detector.weights)
        half = float(auc_rows(halves[:, n_test:], halves[:, :n_test]).mean())
    train_real, train_free = detector.cross_fitted[:n_train], detector.cross_fitted[n_train:]
    threshold = _best_threshold(train_real, train_free)
    tv_level = level if tv_level is None else tv_level
    return Detection(
        auc=interval,
        scores_real=real,
        scores_free=free,
        n_train=n_train,
        n_test=n_test,
        penalty=detector.penalty,
        auc_train=auc(train_free, train_real),
        auc_half_train=half,
        tv_low=tv_lower_bound(real > threshold, free[:, 0] > threshold, level=tv_level),
        p_value=paired_permutation_p(real, free, n_permutations=n_permutations, rng=rng),
    )


def transferred_auc(
    train: tuple[Float[np.ndarray, "train d"], Float[np.ndarray, "train reps d"]],
    test: tuple[Float[np.ndarray, "test d"], Float[np.ndarray, "test reps_test d"]],
    *,
    rng: np.random.Generator,
    n_resamples: int = 1000,
    level: float = 0.95,
    penalties: Sequence[float] = PENALTIES,
) -> Interval:
    """Return the AUC on test units of a detector fitted on other units (real, generated), with a unit bootstrap.

    Raises TooFewDocuments for fewer than 4 units on a side.
    """
    check_units(len(train[0]), len(test[0]))
    detector = _Detector.train(*train, penalties=penalties, rng=rng)
    real, free = _by_kind(detector.scores(_stacked(*test))[0], len(test[0]))
    return _auc_of_units(real, free, n_resamples=n_resamples, level=level, rng=rng)


@dataclass(frozen=True)
class _Detector:
    """A ridge logistic regression on standardised training rows, with the penalty that cross-fitting inside them chose."""

    x: Float[np.ndarray, "rows d"]
    y: Float[np.ndarray, " rows"]
    weights: Float[np.ndarray, " rows"]
    unit: Int[np.ndarray, " rows"]
    standardizer: Standardizer
    penalty: float
    cross_fitted: Float[np.ndarray, " rows"]

    @classmethod
    def train(
        cls,
        real_x: Float[np.ndarray, "units d"],
        free_x: Float[np.ndarray, "units reps d"],
        *,
        penalties: Sequence[float],
        folds: int = 5,
        rng: np.random.Generator,
    ) -> _Detector:
        x, y, weights, unit = training_rows(real_x, free_x)
        standardizer = Standardizer.fit(x)
        x = standardizer.apply(x)
        lines = cross_fitted_scores(x, y, unit, penalties=penalties, folds=folds, rng=rng, weights=weights)
        penalty, cross_fitted = best_penalty(lines, y, penalties=penalties, weights=weights)
        return cls(x, y, weights, unit, standardizer, penalty, cross_fitted)

    def scores(
        self, x: Float[np.ndarray, "rows d"], *, weights: Float[np.ndarray, "fits rows"] | None = None
    ) -> Float[np.ndarray, "fits rows"]:
        """Log odds of being generated, of the fit on all training rows or of one fit for each row of weights."""
        weights = self.weights[None] if weights is None else weights
        fit = fit_logistic(self.x, np.tile(self.y, (len(weights), 1)), penalty=self.penalty, weights=weights)
        return fit.scores(self.standardizer.apply(x))


def null_band(
    x: Float[np.ndarray, "units d"],
    *,
    train: Bool[np.ndarray, " units"],
    n_splits: int = 200,
    penalty: float,
    rng: np.random.Generator,
    level: float = 0.95,
) -> NullBand:
    """Split the units of one kind of text into random halves, unpaired, and try to tell the halves apart.

    Halves are balanced within training and test units. Give the penalty that the detector itself chose.

    Raises TooFewDocuments for fewer than 4 training or test units, DataError for features that are not finite.
    """
    train = _checked_train(x, train)
    standardizer = Standardizer.fit(x[train])
    n_train, n_test = int(train.sum()), int((~train).sum())
    labels = _random_halves(n_train, n_splits, rng).astype(np.float64)
    weights = np.where(labels == 1.0, 0.5 * n_train / (n_train // 2), 0.5 * n_train / (n_train - n_train // 2))
    fit = fit_logistic(standardizer.apply(x[train]), labels, penalty=penalty, weights=weights)
    scores = fit.scores(standardizer.apply(x[~train]))
    order = np.argsort(~_random_halves(n_test, n_splits, rng), axis=1, kind="stable")
    scores = np.take_along_axis(scores, order, axis=1)
    positive, negative = scores[:, : n_test // 2], scores[:, n_test // 2 :]
    aucs = auc_rows(positive, negative)
    rejections = int((mann_whitney_p_rows(positive, negative) < 0.05).sum())
    tail = (1.0 - checked_level(level)) / 2.0
    low, high = np.quantile(aucs, [tail, 1.0 - tail])
    return NullBand(float(low), float(high), float(aucs.mean()), rejections / n_splits)


def unit_auc_draws(
    scores_real: Float[np.ndarray, " units"],
    scores_free: Float[np.ndarray, "units reps"],
    counts: Int[np.ndarray, "resamples units"],
) -> Float[np.ndarray, " resamples"]:
    """Return the AUC (generated above real) when unit i is there counts[:, i] times with all its texts."""
    reps = scores_free.shape[1]
    scores = np.concatenate((scores_real, scores_free.ravel()))
    labels = np.arange(scores.size) >= scores_real.size
    return weighted_auc(scores, labels, np.concatenate((counts, np.repeat(counts, reps, axis=1)), axis=1))


def tv_lower_bound(
    real_hits: Bool[np.ndarray, " units"], free_hits: Bool[np.ndarray, " units"], *, level: float
) -> float:
    """Return the lower confidence limit max(0, CP_low(TPR) - CP_high(FPR)) of the total variation.

    The event must have been fixed before these units were seen, and units must be independent.

    >>> round(tv_lower_bound(np.zeros(50, bool), np.ones(50, bool), level=0.95), 3)
    0.858
    """
    alpha = (1.0 - checked_level(level)) / 2.0
    hit = clopper_pearson_low(int(free_hits.sum()), free_hits.size, alpha=alpha)
    return max(0.0, hit - clopper_pearson_high(int(real_hits.sum()), real_hits.size, alpha=alpha))


def paired_permutation_p(
    scores_real: Float[np.ndarray, " units"],
    scores_free: Float[np.ndarray, "units reps"],
    *,
    n_permutations: int = 9999,
    rng: np.random.Generator,
) -> float:
    """Return the one-sided Monte-Carlo p-value of the AUC when real and generated change places within units.

    Scores are fixed and must not depend on these units. (1 + hits)/(1 + n_permutations), so never 0 (Phipson & Smyth
    2010).
    """
    units, reps = scores_free.shape
    pooled = np.concatenate((scores_real[:, None], scores_free), axis=1)
    # the AUC is linear in the rank sum of the real texts; twice a mid-rank is whole, so sums compare exactly
    flat = np.sort(pooled, axis=None)
    doubled = np.searchsorted(flat, pooled, side="left") + np.searchsorted(flat, pooled, side="right")
    picks = rng.integers(0, reps + 1, size=(n_permutations, units))
    sums = doubled[np.arange(units), picks].sum(axis=1)
    return (1 + int((sums <= doubled[:, 0].sum()).sum())) / (1 + n_permutations)


def smallest_detectable_auc(
    scores_real: Float[np.ndarray, " units"],
    scores_free: Float[np.ndarray, "units reps"],
    *,
    alpha: float,
    power: float = 0.8,
) -> float:
    """Return the AUC that `paired_permutation_p` would call significant at `alpha` with this power, at this n.

    0.5 + (z_alpha + z_power) times the standard deviation of the AUC when texts change places within units, which is known exactly;
    the normal law and an equal spread under the alternative are assumed. At most 1.
    """
    units, reps = scores_free.shape
    pooled = np.concatenate((scores_real[:, None], scores_free), axis=1)
    ranks = np.asarray(stats.rankdata(pooled)).reshape(pooled.shape)
    spread = math.sqrt(float(ranks.var(axis=1).sum())) / (units * units * reps)
    return float(min(1.0, 0.5 + (special.ndtri(1 - alpha) + special.ndtri(power)) * spread))


def training_rows(
    real_x: Float[np.ndarray, "units d"], free_x: Float[np.ndarray, "units reps d"]
) -> tuple[
    Float[np.ndarray, "rows d"], Float[np.ndarray, " rows"], Float[np.ndarray, " rows"], Int[np.ndarray, " rows"]
]:
    """Stack both kinds: features, labels (1 = generated), weights of equal total per kind, unit of each row."""
    units, reps = free_x.shape[:2]
    y = np.repeat([0.0, 1.0], [units, units * reps])
    weights = np.repeat([1.0, 1.0 / reps], [units, units * reps])
    return _stacked(real_x, free_x), y, weights, np.concatenate((np.arange(units), np.repeat(np.arange(units), reps)))


def _stacked(
    real_x: Float[np.ndarray, "units d"], free_x: Float[np.ndarray, "units reps d"]
) -> Float[np.ndarray, "rows d"]:
    return np.concatenate((real_x, free_x.reshape(-1, free_x.shape[2])))


def _by_kind(
    scores: Float[np.ndarray, " rows"], n_units: int
) -> tuple[Float[np.ndarray, " units"], Float[np.ndarray, "units reps"]]:
    return scores[:n_units], scores[n_units:].reshape(n_units, -1)


def _auc_of_units(
    real: Float[np.ndarray, " units"],
    free: Float[np.ndarray, "units reps"],
    *,
    n_resamples: int,
    level: float,
    rng: np.random.Generator,
) -> Interval:
    """The AUC with a bootstrap over units, the fitted detector taken as given."""
    draws = unit_auc_draws(real, free, bootstrap_groups(np.arange(real.size), n_resamples=n_resamples, rng=rng))
    return auc_interval(auc(free.ravel(), real), draws, level=level, n_groups=real.size)


def _best_threshold(real: Float[np.ndarray, " m"], free: Float[np.ndarray, " n"]) -> float:
    """Return the threshold with the largest TPR - FPR on these scores, halfway between two of them."""
    pooled = np.unique(np.concatenate((real, free)))
    candidates = 0.5 * (pooled[1:] + pooled[:-1]) if pooled.size > 1 else pooled
    caught = np.searchsorted(np.sort(free), candidates, side="right") / free.size
    passed = np.searchsorted(np.sort(real), candidates, side="right") / real.size
    return float(candidates[int(np.argmax(passed - caught))])


def _random_halves(n: int, rows: int, rng: np.random.Generator) -> Bool[np.ndarray, "rows n"]:
    return np.asarray(rng.permuted(np.tile(np.arange(n) < n // 2, (rows, 1)), axis=1))


def _checked_train(x: Float[np.ndarray, "units d"], train: Bool[np.ndarray, " units"]) -> Bool[np.ndarray, " units"]:
    train = np.asarray(train, dtype=bool)
    if x.ndim != 2 or train.shape != x.shape[:1]:
        raise DataError(f"features of shape {x.shape} do not fit a train mask of shape {train.shape}")
    if not np.isfinite(x).all():
        raise DataError("features hold values that are not finite; a detector needs numbers")
    check_units(int(train.sum()), int((~train).sum()))
    return train


def check_units(n_train: int, n_test: int) -> None:
    """Raise TooFewDocuments for fewer than 4 training or test units."""
    if min(n_train, n_test) < MIN_UNITS:
        raise TooFewDocuments(
            f"{counted(n_train, 'training document')} and {counted(n_test, 'test document')}; "
            f"telling texts apart needs at least {MIN_UNITS} of each"
        )
