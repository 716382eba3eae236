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
from freerun.stats.detection.auc import auc_rows, mann_whitney_p_rows, unit_aucs
from freerun.stats.detection.curve import AucSpread
from freerun.stats.detection.logistic import (
    LogisticFit,
    Standardizer,
    best_penalty,
    fit_logistic,
    left_out_scores,
)
from freerun.stats.intervals import Interval, checked_level, clopper_pearson_high, clopper_pearson_low

PENALTIES = (0.1, 1.0, 10.0, 100.0)
MIN_UNITS = 4
GROUPS = 16
"""Groups of training units that are left out in turn, to see how much a detector owes to the luck of its training."""
_HALVES = 4


@dataclass(frozen=True, eq=False)
class Scores:
    """Log odds of being generated that a detector gives, unit by unit: the real text first, then its continuations.

    The sum of two is the detector that adds their log odds. `test`: test units, by the detector fitted on all training units;
    `without`: by those fitted without one group of training units each; `halves`: by those fitted on random halves of the training
    units (no rows for fewer than 8 units). `train`: training units, each by a detector that was fitted without it.
    """

    test: Float[np.ndarray, "test texts"]
    without: Float[np.ndarray, "groups test texts"]
    halves: Float[np.ndarray, "halves test texts"]
    train: Float[np.ndarray, "train texts"]
    penalties: tuple[float, ...]
    """Of the detectors that were added."""

    def __add__(self, other: Scores) -> Scores:
        return Scores(
            self.test + other.test,
            self.without + other.without,
            self.halves + other.halves,
            self.train + other.train,
            self.penalties + other.penalties,
        )


@dataclass(frozen=True, eq=False)
class Detection:
    """How well a detector tells real from generated text at one length.

    `spread`: the AUC on test units and what its variance is made of. `scores_real`, `scores_free`: log odds of being generated, for
    the test units in their order. `auc_half_train`: on the same test units, fitted on random halves of the training units; None for
    fewer than 8 of them. `tv_low`: lower confidence limit of the total variation, 0 if nothing is proven. `p_value`: one-sided
    (generated scores higher), by swapping real and generated within test units.
    """

    spread: AucSpread
    auc: Interval
    scores_real: Float[np.ndarray, " test"]
    scores_free: Float[np.ndarray, "test reps"]
    n_train: int
    n_test: int
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


@dataclass(frozen=True, eq=False)
class Detector:
    """A ridge logistic regression on features standardised on its training units, both kinds of equal weight.

    The penalty is the one under which left-out training units have the smallest log loss.
    """

    x: Float[np.ndarray, "train texts d"]
    y: Float[np.ndarray, " texts"]
    weights: Float[np.ndarray, " texts"]
    standardizer: Standardizer
    penalty: float
    left_out: Float[np.ndarray, "train texts"]

    @classmethod
    def train(
        cls,
        real_x: Float[np.ndarray, "units d"],
        free_x: Float[np.ndarray, "units reps d"],
        *,
        penalties: Sequence[float] = PENALTIES,
    ) -> Detector:
        """Fit on training units.

        Raises DataError for features that are not finite.
        """
        n_units, reps = free_x.shape[:2]
        x, y = stacked(real_x, free_x), np.repeat([0.0, 1.0], [1, reps])
        weights = np.repeat([1.0, 1.0 / reps], [1, reps])
        standardizer = Standardizer.fit(x.reshape(-1, x.shape[2]), np.tile(weights, n_units))
        x = standardizer.apply(x)
        tried = np.asarray(penalties, dtype=np.float64)
        rows = x.reshape(-1, x.shape[2]), np.tile(y, (tried.size, n_units))
        fit = fit_logistic(*rows, penalty=tried, weights=np.tile(weights, (tried.size, n_units)))
        lines = left_out_scores(x, y, weights, fit, penalties=tried)
        best = best_penalty(lines, y, weights, penalties=tried)
        return cls(x, y, weights, standardizer, float(tried[best]), lines[best])

    def line(self) -> LogisticFit:
        """The fit on all training units, for standardised features."""
        y, weights = (np.tile(column, (1, len(self.x))) for column in (self.y, self.weights))
        return fit_logistic(self.x.reshape(-1, self.x.shape[2]), y, penalty=self.penalty, weights=weights)

    def scores(
        self, x: Float[np.ndarray, "test texts d"], counts: Int[np.ndarray, "fits train"]
    ) -> Float[np.ndarray, "fits test texts"]:
        """Log odds of being generated, by fits in which each training unit counts so many times."""
        n_fits = len(counts)
        weights = (counts[:, :, None] * self.weights).reshape(n_fits, -1)
        y = np.tile(self.y, (n_fits, len(self.x)))
        fit = fit_logistic(self.x.reshape(-1, self.x.shape[2]), y, penalty=self.penalty, weights=weights)
        rows = self.standardizer.apply(x).reshape(-1, x.shape[2])
        return fit.scores(rows).reshape(n_fits, *x.shape[:2])


def score(
    real_x: Float[np.ndarray, "units d"],
    free_x: Float[np.ndarray, "units reps d"],
    *,
    train: Bool[np.ndarray, " units"],
    rng: np.random.Generator,
    penalties: Sequence[float] = PENALTIES,
) -> Scores:
    """Fit a detector on training units and score test units with it, and with those that other training units would have given.

    Raises TooFewDocuments for fewer than 4 training or test units, DataError for features that are not finite.
    """
    train = _checked_train(real_x, train)
    if free_x.ndim != 3 or free_x.shape[::2] != real_x.shape or free_x.shape[1] == 0:
        raise DataError(f"generated features of shape {free_x.shape} do not fit real ones of shape {real_x.shape}")
    detector = Detector.train(real_x[train], free_x[train], penalties=penalties)
    n = int(train.sum())
    halves = _random_halves(n, _HALVES if n >= 2 * MIN_UNITS else 0, rng)
    counts = np.concatenate((np.ones((1, n), bool), left_out_groups(n), halves)).astype(np.int64)
    rows = detector.scores(stacked(real_x[~train], free_x[~train]), counts)
    last = len(rows) - len(halves)
    return Scores(rows[0], rows[1:last], rows[last:], detector.left_out, (detector.penalty,))


def judge(
    scores: Scores,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    tv_level: float | None = None,
    n_permutations: int = 9999,
) -> Detection:
    """Say how well scores tell generated from real text.

    TV >= CP_low(TPR) - CP_high(FPR), each at (1 - tv_level)/2, with a threshold chosen on left-out training scores and one
    replicate (the first) per unit, so that units are independent. The p-value is Monte Carlo over `n_permutations`: within each
    test unit the real text changes places with a random one of itself and its replicates; exact under the null that they are
    exchangeable given the prefix.
    """
    real, free = scores.test[:, 0], scores.test[:, 1:]
    spread = AucSpread.of(
        unit_aucs(real[None], free[None]), unit_aucs(scores.without[:, :, 0], scores.without[:, :, 1:])
    )
    threshold = _best_threshold(scores.train[:, 0], scores.train[:, 1:].ravel())
    halves = None
    if len(scores.halves):
        halves = float(unit_aucs(scores.halves[:, :, 0], scores.halves[:, :, 1:]).auc.mean())
    return Detection(
        spread=spread,
        auc=spread.interval(level=level),
        scores_real=real,
        scores_free=free,
        n_train=len(scores.train),
        n_test=len(scores.test),
        auc_half_train=halves,
        tv_low=tv_lower_bound(real > threshold, free[:, 0] > threshold, level=level if tv_level is None else tv_level),
        p_value=paired_permutation_p(real, free, n_permutations=n_permutations, rng=rng),
    )


def detect(
    real_x: Float[np.ndarray, "units d"],
    free_x: Float[np.ndarray, "units reps d"],
    *,
    train: Bool[np.ndarray, " units"],
    rng: np.random.Generator,
    level: float = 0.95,
    tv_level: float | None = None,
    penalties: Sequence[float] = PENALTIES,
    n_permutations: int = 9999,
) -> Detection:
    """Fit a detector on training units and judge it on test units: see `score` and `judge`, also for what they raise."""
    scores = score(real_x, free_x, train=train, rng=rng, penalties=penalties)
    return judge(scores, rng=rng, level=level, tv_level=tv_level, n_permutations=n_permutations)


def transferred_auc(
    train: tuple[Float[np.ndarray, "train d"], Float[np.ndarray, "train reps d"]],
    test: tuple[Float[np.ndarray, "test d"], Float[np.ndarray, "test reps_test d"]],
    *,
    level: float = 0.95,
) -> Interval:
    """Return the AUC on test units of a detector fitted on other units (real, generated).

    Raises TooFewDocuments for fewer than 4 units on a side.
    """
    n = len(train[0])
    check_units(n, len(test[0]))
    counts = np.concatenate((np.ones((1, n), bool), left_out_groups(n))).astype(np.int64)
    rows = Detector.train(*train).scores(stacked(*test), counts)
    whole, without = (unit_aucs(part[:, :, 0], part[:, :, 1:]) for part in (rows[:1], rows[1:]))
    return AucSpread.of(whole, without).interval(level=level)


def null_band(
    blocks: Sequence[Float[np.ndarray, "units d"]],
    *,
    train: Bool[np.ndarray, " units"],
    penalties: Sequence[float],
    n_splits: int = 200,
    rng: np.random.Generator,
    level: float = 0.95,
) -> NullBand:
    """Split the units of one kind of text into random halves, unpaired, and try to tell the halves apart.

    Halves are balanced within training and test units. Every block of features has a detector of its own, with a penalty each, and
    their log odds are added. Give the penalties that the detectors themselves chose.

    Raises TooFewDocuments for fewer than 4 training or test units, DataError for features that are not finite.
    """
    train = _checked_train(blocks[0], train)
    n_train, n_test = int(train.sum()), int((~train).sum())
    labels = _random_halves(n_train, n_splits, rng).astype(np.float64)
    weights = np.where(labels == 1.0, 0.5 * n_train / (n_train // 2), 0.5 * n_train / (n_train - n_train // 2))
    scores = np.zeros((n_splits, n_test))
    for x, penalty in zip(blocks, penalties, strict=True):
        standardizer = Standardizer.fit(x[train])
        fit = fit_logistic(standardizer.apply(x[train]), labels, penalty=penalty, weights=weights)
        scores += fit.scores(standardizer.apply(x[~train]))
    order = np.argsort(~_random_halves(n_test, n_splits, rng), axis=1, kind="stable")
    scores = np.take_along_axis(scores, order, axis=1)
    positive, negative = scores[:, : n_test // 2], scores[:, n_test // 2 :]
    aucs = auc_rows(positive, negative)
    rejections = int((mann_whitney_p_rows(positive, negative) < 0.05).sum())
    tail = (1.0 - checked_level(level)) / 2.0
    low, high = np.quantile(aucs, [tail, 1.0 - tail])
    return NullBand(float(low), float(high), float(aucs.mean()), rejections / n_splits)


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
    the normal law and an equal spread under the alternative are assumed. At most 1. For one test among several that are corrected
    after Holm, give the level of the smallest p-value: the power of all of them together is then at least as large.
    """
    units, reps = scores_free.shape
    pooled = np.concatenate((scores_real[:, None], scores_free), axis=1)
    ranks = np.asarray(stats.rankdata(pooled)).reshape(pooled.shape)
    spread = math.sqrt(float(ranks.var(axis=1).sum())) / (units * units * reps)
    return float(min(1.0, 0.5 + (special.ndtri(1 - alpha) + special.ndtri(power)) * spread))


def stacked(
    real_x: Float[np.ndarray, "units d"], free_x: Float[np.ndarray, "units reps d"]
) -> Float[np.ndarray, "units texts d"]:
    """Put each unit's real text before its generated ones."""
    return np.concatenate((real_x[:, None], free_x), axis=1)


def left_out_groups(n: int) -> Bool[np.ndarray, "groups n"]:
    """Which units stay when each group is left out in turn: unit i belongs to group i mod `GROUPS`."""
    groups = min(GROUPS, n)
    return np.asarray(np.arange(n)[None, :] % groups != np.arange(groups)[:, None])


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
