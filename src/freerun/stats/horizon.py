"""The free-run horizon: the length at which a detector reaches a given AUC (METHODS 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Real

from freerun.errors import DataError
from freerun.stats.detectability import unit_auc_draws
from freerun.stats.intervals import bootstrap_groups, percentile_tail

Side = Literal["inside", "above", "below"]


@dataclass(frozen=True)
class Crossing:
    """Where the curve reaches the level: `value` in tokens if inside the lengths measured, else None.

    `side` "above" means later than the longest length, "below" before the shortest.
    """

    value: float | None
    side: Side


@dataclass(frozen=True)
class HorizonResult:
    """A crossing with its percentile interval over resampled documents, in tokens.

    `low` None: the interval is open below the shortest length. `high` None: it is open above the longest one.
    """

    value: float | None
    side: Side
    low: float | None
    high: float | None
    level: float
    level_auc: float
    n_resamples: int
    share_above: float
    share_below: float


def horizon(
    lengths: Real[np.ndarray, " lengths"], aucs: Float[np.ndarray, " lengths"], *, level_auc: float
) -> Crossing:
    """Return the length at which the AUC reaches `level_auc`: isotonic in length, linear in log length between points.

    Raises DataError unless lengths are positive and ascending and AUCs are numbers, one each.

    >>> horizon(np.array([16, 64]), np.array([0.5, 0.75]), level_auc=0.625)
    Crossing(value=32.0, side='inside')
    """
    lengths, aucs = checked_curve(lengths, aucs)
    value = float(crossings(lengths, aucs[None], level_auc)[0])
    if value == 0.0:
        return Crossing(None, "below")
    return Crossing(None, "above") if np.isinf(value) else Crossing(value, "inside")


def horizon_bootstrap(
    lengths: Real[np.ndarray, " lengths"],
    auc_draws: Float[np.ndarray, "resamples lengths"],
    aucs: Float[np.ndarray, " lengths"],
    *,
    level_auc: float,
    level: float = 0.95,
    n_units: int,
) -> HorizonResult:
    """Return the crossing with an expanded percentile interval from draws of the same resampled documents at all lengths.

    A limit that falls outside the lengths measured is open; if the whole interval does, its near end is the last (or
    first) length measured. The detectors are taken as fitted: the interval is about test documents, not about training.

    Raises DataError as `horizon` does.
    """
    crossing = horizon(lengths, aucs, level_auc=level_auc)
    tail = percentile_tail(n_units, level)
    auc_draws = np.asarray(auc_draws, dtype=np.float64)
    if auc_draws.size == 0 or auc_draws.shape[1] != np.size(lengths) or not np.isfinite(auc_draws).all():
        raise DataError(
            f"auc_draws of shape {auc_draws.shape} must be numbers, one row a resample; for example 1000 of them"
        )
    values = crossings(np.asarray(lengths, np.float64), auc_draws, level_auc)
    low = float(np.quantile(values, tail, method="inverted_cdf"))
    high = float(np.quantile(values, 1.0 - tail, method="inverted_cdf"))
    return HorizonResult(
        value=crossing.value,
        side=crossing.side,
        low=None if low == 0.0 else min(low, float(lengths[-1])),
        high=None if np.isinf(high) else max(high, float(lengths[0])),
        level=level,
        level_auc=level_auc,
        n_resamples=values.size,
        share_above=float(np.mean(np.isinf(values))),
        share_below=float(np.mean(values == 0.0)),
    )


def auc_draws(
    scores_real: Sequence[Float[np.ndarray, " units"]],
    scores_free: Sequence[Float[np.ndarray, "units reps"]],
    *,
    n_resamples: int = 1000,
    rng: np.random.Generator,
) -> Float[np.ndarray, "resamples lengths"]:
    """Resample test units with replacement and return the AUC at every length; one resample serves all lengths.

    Raises DataError unless all lengths have the same units, TooFewDocuments for fewer than two units.
    """
    sizes = {scores.shape[0] for scores in (*scores_real, *scores_free)}
    if len(sizes) != 1:
        raise DataError(
            f"the lengths have {sorted(sizes)} units; a joint bootstrap needs the same units at every length"
        )
    counts = bootstrap_groups(np.arange(sizes.pop()), n_resamples=n_resamples, rng=rng)
    columns = [unit_auc_draws(real, free, counts) for real, free in zip(scores_real, scores_free, strict=True)]
    return np.stack(columns, axis=1)


def crossings(
    lengths: Float[np.ndarray, " lengths"], aucs: Float[np.ndarray, "rows lengths"], level_auc: float
) -> Float[np.ndarray, " rows"]:
    """Where each row's isotonic fit reaches the level, in tokens: 0 before the first length, infinity after the last."""
    m = lengths.size
    total = np.concatenate((np.zeros((len(aucs), 1)), np.cumsum(aucs, axis=1)), axis=1)
    start, stop = np.arange(m)[:, None], np.arange(m)[None, :]
    # isotonic regression as max over starts of the min over stops of the mean between them (Barlow et al. 1972)
    means = (total[:, 1:][:, None, :] - total[:, :-1][:, :, None]) / np.maximum(stop - start + 1, 1)
    means[:, (stop < start)] = np.inf
    lowest = np.minimum.accumulate(means[:, :, ::-1], axis=2)[:, :, ::-1]
    lowest[:, (stop < start)] = -np.inf
    rising = lowest.max(axis=1)
    reached = rising >= level_auc - 1e-12
    first = np.argmax(reached, axis=1)
    rows = np.arange(len(aucs))
    before = np.maximum(first - 1, 0)
    low, high = rising[rows, before], rising[rows, first]
    share = np.clip(np.divide(level_auc - low, high - low, out=np.ones_like(low), where=high > low), 0.0, 1.0)
    inside = 2.0 ** (np.log2(lengths[before]) * (1 - share) + np.log2(lengths[first]) * share)
    at_start = np.where(np.abs(rising[:, 0] - level_auc) <= 1e-12, lengths[0], 0.0)
    return np.asarray(np.where(~reached.any(axis=1), np.inf, np.where(first == 0, at_start, inside)))


def checked_curve(
    lengths: Real[np.ndarray, " lengths"], aucs: Float[np.ndarray, " lengths"]
) -> tuple[Float[np.ndarray, " lengths"], Float[np.ndarray, " lengths"]]:
    """Lengths and their AUCs as float64.

    Raises:
        DataError: sizes that differ, AUCs that are not finite, lengths that do not rise from above zero.
    """
    lengths, aucs = np.asarray(lengths, dtype=np.float64), np.asarray(aucs, dtype=np.float64)
    if lengths.size == 0 or lengths.shape != aucs.shape or not np.isfinite(aucs).all():
        raise DataError(f"{lengths.size} lengths and {aucs.size} AUCs; a horizon needs one number for every length")
    if lengths[0] <= 0 or (np.diff(lengths) <= 0).any():
        raise DataError(f"lengths are {lengths.tolist()}; they must be positive and ascending")
    return lengths, aucs
