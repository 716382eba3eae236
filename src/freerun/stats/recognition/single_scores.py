"""One number per text as a detector: chosen and oriented on training units, judged on test units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import DataError
from freerun.stats.detection.auc import auc, auc_interval
from freerun.stats.detection.two_sample import check_units, unit_auc_draws
from freerun.stats.intervals import Interval

Scores = tuple[Float[np.ndarray, " units"], Float[np.ndarray, "units reps"]]
"""A score of the real and of the generated texts of the same units."""


@dataclass(frozen=True)
class SingleScore:
    """A score with its AUC on test units; `sign` is +1 where generated texts score higher, -1 where lower.

    `draws` are the AUCs of the bootstrap resamples that gave the interval, for differences between detectors.
    """

    name: str
    sign: int
    auc: Interval
    auc_train: float
    draws: Float[np.ndarray, " resamples"]


def best_single_score(
    scores: Mapping[str, Scores],
    *,
    train: Bool[np.ndarray, " units"],
    counts: Int[np.ndarray, "resamples test"],
    oriented: bool = False,
    level: float = 0.95,
) -> SingleScore:
    """Return the score with the largest AUC on training units, and its AUC on the others.

    The direction is learnt on training units too, unless the scores are `oriented` (generated texts score higher, as a
    likelihood ratio does). `counts` say how often each test unit is in each bootstrap resample; the chosen score is
    taken as given. Infinite scores are allowed, NaN is not.

    Raises TooFewDocuments for fewer than 4 training or test units, DataError for no scores or NaN.
    """
    train = np.asarray(train, bool)
    check_units(int(train.sum()), int((~train).sum()))
    if not scores:
        raise DataError("there is no score to choose from")
    ranked = []
    for name, (real, free) in scores.items():
        seen = auc(free[train].ravel(), real[train])
        sign = 1 if oriented or seen >= 0.5 else -1
        ranked.append((seen if sign == 1 else 1.0 - seen, name, sign))
    auc_train, name, sign = max(ranked, key=lambda candidate: candidate[0])
    real, free = (sign * side[~train] for side in scores[name])
    draws = unit_auc_draws(real, free, counts)
    value = auc(free.ravel(), real)
    return SingleScore(name, sign, auc_interval(value, draws, level=level, n_groups=len(real)), auc_train, draws)


def auc_difference(a: SingleScore, b: SingleScore, *, level: float = 0.95) -> Interval:
    """Return AUC of a minus AUC of b, with a percentile interval over the resamples that both share."""
    difference = a.draws - b.draws
    difference = difference[~np.isnan(difference)]
    low, high = np.quantile(difference, [(1 - level) / 2, (1 + level) / 2])
    return Interval(a.auc.value - b.auc.value, float(low), float(high), level, a.auc.n)
