"""One number per text as a detector: chosen and oriented on training units, judged on test units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from freerun.errors import DataError
from freerun.stats.detection.auc import auc, auc_interval, unit_aucs
from freerun.stats.detection.two_sample import check_units
from freerun.stats.intervals import Interval, t_quantile

Scores = tuple[Float[np.ndarray, " units"], Float[np.ndarray, "units reps"]]
"""A score of the real and of the generated texts of the same units."""


@dataclass(frozen=True, eq=False)
class SingleScore:
    """A score with its AUC on test units; `sign` is +1 where generated texts score higher, -1 where lower.

    `influence` of each test unit on the AUC, for differences between detectors.
    """

    name: str
    sign: int
    auc: Interval
    auc_train: float
    influence: Float[np.ndarray, " test"]


def best_single_score(
    scores: Mapping[str, Scores],
    *,
    train: Bool[np.ndarray, " units"],
    oriented: bool = False,
    level: float = 0.95,
) -> SingleScore:
    """Return the score with the largest AUC on training units, and its AUC on the others.

    The direction is learnt on training units too, unless the scores are `oriented` (generated texts score higher, as a
    likelihood ratio does). The chosen score is taken as given. Infinite scores are allowed, NaN is not.

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
    found = unit_aucs(real[None], free[None])
    influence, n = found.influence[0], len(real)
    variance = float(influence @ influence) / (n * (n - 1))
    interval = auc_interval(
        float(found.auc[0]), variance, n_units=n, replicates=float(found.replicates[0]), level=level
    )
    return SingleScore(name, sign, interval, auc_train, influence)


def auc_difference(a: SingleScore, b: SingleScore, *, level: float = 0.95) -> Interval:
    """Return AUC of a minus AUC of b on the same test units, with a t interval (DeLong et al. 1988)."""
    moved, n = a.influence - b.influence, a.influence.size
    half = t_quantile(n, level) * float(np.sqrt(moved @ moved / (n * (n - 1))))
    value = a.auc.value - b.auc.value
    return Interval(value, value - half, value + half, level, n)
