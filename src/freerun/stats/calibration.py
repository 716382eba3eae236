"""Whole-vocabulary calibration: how often tokens come against how often the law says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Real

from freerun.errors import DataError
from freerun.stats.intervals import Interval, group_index
from freerun.stats.proportions import clustered_rate

MIN_EXPECTED = 5.0


@dataclass(frozen=True)
class CalibrationCurve:
    """Observed over expected counts per bin of predicted probability; 1 is calibrated.

    `ratio` is None where too few tokens were expected to say anything. `observed` and
    `expected` are totals in tokens, given for every bin.
    """

    ratio: tuple[Interval | None, ...]
    observed: Float[np.ndarray, " bins"]
    expected: Float[np.ndarray, " bins"]


def calibration_curve(
    observed: Real[np.ndarray, "sequences bins"],
    expected: Real[np.ndarray, "sequences bins"],
    groups: Int[np.ndarray, " sequences"],
    *,
    level: float = 0.95,
    min_expected: float = MIN_EXPECTED,
) -> CalibrationCurve:
    """Return sum 1{x = v} / sum q(v) over all tokens v that fall in a bin, with document-clustered intervals.

    Intervals are linearised ratios cut at 0; where nothing was observed the upper limit is the exact Poisson one.

    Raises TooFewDocuments for fewer than two groups, DataError for counts that are negative, not finite or ill-shaped.
    """
    observed, expected = np.asarray(observed, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if observed.shape != expected.shape or observed.ndim != 2 or observed.shape[0] != np.size(groups):
        raise DataError(
            f"observed {observed.shape}, expected {expected.shape} and {np.size(groups)} groups do not fit each other"
        )
    if not (np.isfinite(observed).all() and np.isfinite(expected).all() and (observed >= 0).all()):
        raise DataError("calibration counts must be finite and not negative")
    index, n_groups = group_index(groups)
    tops, bottoms = (_group_sums(counts, index, n_groups) for counts in (observed, expected))
    total = bottoms.sum(axis=0)
    known = total >= min_expected
    ratio = tuple(
        clustered_rate(tops[:, j], bottoms[:, j], level=level) if known[j] else None for j in range(total.size)
    )
    return CalibrationCurve(ratio, tops.sum(axis=0), total)


def _group_sums(
    counts: Float[np.ndarray, "sequences bins"], index: Int[np.ndarray, " sequences"], n_groups: int
) -> Float[np.ndarray, "groups bins"]:
    sums = np.zeros((n_groups, counts.shape[1]))
    np.add.at(sums, index, counts)
    return sums
