"""The difference of two detectability curves and their horizons, on documents that were resampled together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Real

from freerun.errors import DataError
from freerun.stats.detection.auc import auc
from freerun.stats.detection.horizon import checked_curve, crossings
from freerun.stats.detection.two_sample import unit_auc_draws
from freerun.stats.intervals import bootstrap_groups, has_no_width, percentile_tail

N_RESAMPLES = 1000


@dataclass(frozen=True)
class ScoredCurve:
    """What detectors said of a run's test documents at each length: `documents` names them by number."""

    scores_real: tuple[Float[np.ndarray, " units"], ...]
    scores_free: tuple[Float[np.ndarray, "units reps"], ...]
    documents: Int[np.ndarray, " units"]

    @property
    def aucs(self) -> Float[np.ndarray, " lengths"]:
        """AUC at each length."""
        pairs = zip(self.scores_real, self.scores_free, strict=True)
        return np.array([auc(free.ravel(), real) for real, free in pairs])


@dataclass(frozen=True)
class BootstrapDifference:
    """b minus a with an expanded percentile interval over resampled documents.

    `beyond_a`, `beyond_b`: shares of resamples in which a value lay beyond the lengths measured and counts as their end; the
    truth is then further away, so that `low` is no limit where `beyond_a` is large and `high` none where `beyond_b` is.
    `p_value`: two-sided, by the share of resamples on the far side of zero (1 where nothing moved). `degenerate`: all
    resamples gave one value, so that interval and p-value say nothing.
    """

    a: float
    b: float
    value: float
    low: float
    high: float
    level: float
    n: int
    standard_error: float
    p_value: float
    beyond_a: float = 0.0
    beyond_b: float = 0.0
    degenerate: bool = False


def joint_draws(
    curves: Sequence[ScoredCurve], *, n_resamples: int = N_RESAMPLES, rng: np.random.Generator
) -> list[Float[np.ndarray, "resamples lengths"]]:
    """Resample documents once for all runs; return each run's AUC by length in every resample.

    The documents are those of all runs together; one that a run lacks counts for the others alone. Resamples that leave a run
    without a document are NaN there.

    Raises TooFewDocuments for fewer than two documents.
    """
    present = np.unique(np.concatenate([c.documents for c in curves]))
    counts = bootstrap_groups(present, n_resamples=n_resamples, rng=rng)
    out = []
    for curve in curves:
        mine = counts[:, np.searchsorted(present, curve.documents)]
        pairs = zip(curve.scores_real, curve.scores_free, strict=True)
        out.append(np.stack([unit_auc_draws(real, free, mine) for real, free in pairs], axis=1))
    return out


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


def bootstrap_difference(
    a: float,
    b: float,
    draws_a: Float[np.ndarray, " resamples"],
    draws_b: Float[np.ndarray, " resamples"],
    *,
    n_documents: int,
    level: float = 0.95,
    beyond: tuple[float, float] = (0.0, 0.0),
) -> BootstrapDifference:
    """Return b − a with its expanded percentile interval (Hesterberg 2015) from draws of the same resampled documents.

    The p-value is 2·min(P(d* ≤ 0), P(d* ≥ 0)) with one resample added on each side (Davison & Hinkley 1997, 4.2.5).

    Raises DataError where the draws do not pair.
    """
    if draws_a.shape != draws_b.shape or draws_a.size == 0:
        raise DataError(f"{draws_a.size} and {draws_b.size} resamples; a paired difference needs the same ones")
    moved = draws_b - draws_a
    moved = moved[np.isfinite(moved)]
    tail = percentile_tail(n_documents, level)
    low, high = (float(q) for q in np.quantile(moved, [tail, 1.0 - tail]))
    below = (1 + np.count_nonzero(moved <= 0)) / (1 + moved.size)
    above = (1 + np.count_nonzero(moved >= 0)) / (1 + moved.size)
    value = b - a
    return BootstrapDifference(
        a,
        b,
        value,
        min(low, value),
        max(high, value),
        level,
        n_documents,
        float(moved.std()),
        float(min(1.0, 2.0 * min(below, above))),
        *beyond,
        degenerate=has_no_width(float(moved.min()), float(moved.max())),
    )


def horizon_difference(
    lengths: Real[np.ndarray, " lengths"],
    first: ScoredCurve,
    second: ScoredCurve,
    draws: tuple[Float[np.ndarray, "resamples lengths"], Float[np.ndarray, "resamples lengths"]],
    *,
    level_auc: float = 0.75,
    level: float = 0.95,
) -> BootstrapDifference:
    """Return the difference (second minus first) of the restricted horizons, in tokens.

    The detectors are taken as fitted: what training on other documents would have changed is not in the interval.

    Raises DataError as `horizon` does.
    """
    whole = np.isfinite(draws[0]).all(axis=1) & np.isfinite(draws[1]).all(axis=1)
    sides = []
    for curve, drawn in zip((first, second), draws, strict=True):
        value, _ = restricted_horizons(lengths, curve.aucs[None], level_auc=level_auc)
        rows, beyond = restricted_horizons(lengths, drawn[whole], level_auc=level_auc)
        sides.append((float(value[0]), rows, float(beyond.mean())))
    values, drawn_values, shares = zip(*sides, strict=True)
    n = min(first.documents.size, second.documents.size)
    return bootstrap_difference(*values, *drawn_values, n_documents=n, level=level, beyond=shares)
