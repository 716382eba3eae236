"""The difference of two horizons, on documents that both runs have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real

from freerun.errors import DataError
from freerun.stats.detection.curve import AucCurve, joint_covariance
from freerun.stats.detection.horizon import checked_curve, crossings
from freerun.stats.intervals import has_no_width, percentile_tail

N_DRAWS = 4000
_ROUNDING = 1e-6
"""Share of the last length below which two drawn horizons are one: a covariance without full rank is rounded."""


@dataclass(frozen=True)
class DrawnDifference:
    """b minus a with a percentile interval over draws of what is uncertain in both.

    `beyond_a`, `beyond_b`: shares of draws in which a value lay beyond the lengths measured and counts as their end; the
    truth is then further away, so that `low` is not a limit where `beyond_a` is large and `high` none where `beyond_b` is.
    `p_value`: two-sided, by the share of draws on the far side of zero (1 where nothing moved). `degenerate`: all
    draws gave one value, so that interval and p-value say nothing.
    """

    a: float
    b: float
    value: float
    low: float
    high: float
    level: float
    n: int
    p_value: float
    beyond_a: float = 0.0
    beyond_b: float = 0.0
    degenerate: bool = False


def restricted_horizons(
    lengths: Real[np.ndarray, " lengths"], aucs: Float[np.ndarray, "rows lengths"], *, level_auc: float
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Return each row's horizon kept within the lengths measured, and whether it lies beyond them (1.0) or not (0.0).

    Never reached counts as the last length, reached before the first as the first: as a restricted mean survival time does with
    what was not seen to end (Royston & Parmar 2013).
    """
    lengths, _ = checked_curve(lengths, aucs[0])
    places = crossings(lengths, np.asarray(aucs, np.float64), level_auc)
    beyond = np.isinf(places)
    return np.clip(places, lengths[0], lengths[-1]), beyond.astype(np.float64)


def horizon_difference(
    first: AucCurve,
    second: AucCurve,
    *,
    level_auc: float = 0.75,
    level: float = 0.95,
    rng: np.random.Generator,
) -> DrawnDifference:
    """Return the difference (second minus first) of the restricted horizons, in tokens.

    Both curves are drawn together from the normal law of their joint covariance, which holds test and training documents; an
    expanded percentile interval (Hesterberg 2015), and the p-value 2·min(P(d* ≤ 0), P(d* ≥ 0)) with one draw added on each side
    (Davison & Hinkley 1997, 4.2.5).

    Raises DataError for curves at different lengths.
    """
    if not np.array_equal(first.lengths, second.lengths):
        raise DataError("two curves are compared at the same lengths")
    values = np.stack([first.aucs, second.aucs])
    lengths, size = np.asarray(first.lengths, np.float64), values.size
    spread, axes = np.linalg.eigh(joint_covariance([first, second]))
    moves = rng.normal(size=(N_DRAWS, size)) @ (axes * np.sqrt(np.maximum(spread, 0.0))).T
    drawn = np.clip(values.ravel() + moves, 0.0, 1.0).reshape(N_DRAWS, 2, -1)
    (a, b), _ = restricted_horizons(lengths, values, level_auc=level_auc)
    (rows_a, beyond_a), (rows_b, beyond_b) = (
        restricted_horizons(lengths, drawn[:, i], level_auc=level_auc) for i in (0, 1)
    )
    moved, n = rows_b - rows_a, min(first.n_documents, second.n_documents)
    moved[np.abs(moved) <= _ROUNDING * lengths[-1]] = 0.0
    tail = percentile_tail(n, level)
    low, high = (float(q) for q in np.quantile(moved, [tail, 1.0 - tail]))
    below = (1 + np.count_nonzero(moved <= 0)) / (1 + moved.size)
    above = (1 + np.count_nonzero(moved >= 0)) / (1 + moved.size)
    value = float(b - a)
    return DrawnDifference(
        float(a),
        float(b),
        value,
        min(low, value),
        max(high, value),
        level,
        n,
        float(min(1.0, 2.0 * min(below, above))),
        float(beyond_a.mean()),
        float(beyond_b.mean()),
        degenerate=has_no_width(float(moved.min()), float(moved.max())),
    )
