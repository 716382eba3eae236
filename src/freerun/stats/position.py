"""Means of a token column by position in the text, with documents as units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import Interval, group_index, mean_limits, skewness


@dataclass(frozen=True)
class PositionCurve:
    """A mean per bin of positions [left, right), with document-clustered intervals.

    `mean` is NaN in an empty bin; `low`, `high` are NaN where fewer than two documents reach it. Tokens without a value (NaN) and
    those outside the edges do not count.
    """

    left: Int[np.ndarray, " bins"]
    right: Int[np.ndarray, " bins"]
    mean: Float[np.ndarray, " bins"]
    low: Float[np.ndarray, " bins"]
    high: Float[np.ndarray, " bins"]
    n_tokens: Int[np.ndarray, " bins"]
    n_groups: Int[np.ndarray, " bins"]


def curve_by_position(
    values: Real[np.ndarray, " tokens"],
    positions: Int[np.ndarray, " tokens"],
    groups: Int[np.ndarray, " tokens"],
    *,
    edges: Int[np.ndarray, " edges"],
    level: float = 0.95,
) -> PositionCurve:
    """Return the mean of `values` per bin of positions, every token of equal weight, with intervals over groups.

    Linearised ratio per bin (as `cluster_ratio`) among the groups that reach the bin, t quantile with one fewer
    degrees.

    Raises DataError for infinite values, edges that do not ascend, or columns of different length.
    """
    edges = np.asarray(edges)
    if edges.size < 2 or (np.diff(edges) <= 0).any():
        raise DataError(f"edges are {edges.tolist()}; they must ascend and be at least two")
    if not values.shape == positions.shape == groups.shape:
        raise DataError(f"{values.size} values, {positions.size} positions, {groups.size} groups; one each per token")
    if np.isinf(values).any():
        raise DataError("values hold infinities; count impossible tokens and leave them out of a mean")
    kept = (positions >= edges[0]) & (positions < edges[-1]) & ~np.isnan(values)
    if not kept.all():
        values, positions, groups = values[kept], positions[kept], groups[kept]
    n_bins = edges.size - 1
    bin_of_position = np.repeat(np.arange(n_bins), np.diff(edges))
    index, n_groups = group_index(groups)
    cell = bin_of_position[positions - edges[0]] * n_groups + index
    counts = np.bincount(cell, minlength=n_bins * n_groups).reshape(n_bins, n_groups)
    sums = np.bincount(cell, weights=values, minlength=n_bins * n_groups).reshape(n_bins, n_groups)
    intervals = _intervals(sums, counts, level)
    return PositionCurve(edges[:-1], edges[1:], *intervals, counts.sum(axis=1), (counts > 0).sum(axis=1))


def log_spaced_edges(n_tokens: int, *, per_octave: int = 2) -> Int[np.ndarray, " edges"]:
    """Return bin edges 0 .. n_tokens for positions that count from 0, about `per_octave` bins per doubling.

    Raises DataError for n_tokens below 1.

    >>> log_spaced_edges(32).tolist()
    [0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32]
    """
    if n_tokens < 1:
        raise DataError(f"n_tokens is {n_tokens}; a curve by position needs at least 1 token")
    steps = np.round(2.0 ** (np.arange(0, int(np.ceil(np.log2(n_tokens) * per_octave)) + 1) / per_octave))
    inner = np.unique(steps.astype(np.int64))
    return np.concatenate(([0], inner[inner < n_tokens], [n_tokens]))


@dataclass(frozen=True)
class SlopeDifference:
    """Slopes of two kinds of text per doubling of position, and first minus second; `n` counts documents."""

    first: Interval
    second: Interval
    difference: Interval


def slope_difference(
    values: Real[np.ndarray, " tokens"],
    positions: Int[np.ndarray, " tokens"],
    sequences: Int[np.ndarray, " tokens"],
    groups: Int[np.ndarray, " tokens"],
    first: Bool[np.ndarray, " tokens"],
    *,
    level: float = 0.95,
) -> SlopeDifference:
    """Return the slopes of `values` in log2(1 + position) within sequences for the `first` tokens and the others.

    Least squares with a level of its own for each sequence, so that sequences which stop early shift nothing; slopes are
    sums over sequences of S_xy over sums of S_xx. Intervals: influences summed within groups (documents), both kinds
    together (Liang & Zeger 1986). A slope per doubling describes a straight line on the doubling scale, as
    the curves are drawn; it means less where they bend.

    Raises TooFewDocuments for fewer than two groups or no two positions on a side, DataError for infinite values or
    columns of different length.

    >>> line = np.array([1.0, 2.0, 3.0, 5.0, 5.0, 5.0] * 2)
    >>> at, whose = np.array([0, 1, 3] * 4), np.repeat(np.arange(4), 3)
    >>> slope_difference(line, at, whose, whose // 2, whose % 2 == 0).difference.value
    1.0
    """
    if first.shape != values.shape:
        raise DataError(f"{values.size} values, {first.size} say of which kind they are; one each per token")
    line = _Centred.of(values, positions, sequences, groups)
    first = first[~np.isnan(values)]
    (a, influence_a), (b, influence_b) = line.slope(first), line.slope(~first)
    return SlopeDifference(
        line.interval(a, influence_a, level),
        line.interval(b, influence_b, level),
        line.interval(a - b, influence_a - influence_b, level),
    )


def slope_by_position(
    values: Real[np.ndarray, " tokens"],
    positions: Int[np.ndarray, " tokens"],
    sequences: Int[np.ndarray, " tokens"],
    groups: Int[np.ndarray, " tokens"],
    *,
    level: float = 0.95,
) -> Interval:
    """Return the slope of `values` per doubling of position within sequences, as `slope_difference` has it for one kind of text.

    Raises TooFewDocuments for fewer than two groups or no two positions in a sequence, DataError for infinite values or columns of
    different length.
    """
    line = _Centred.of(values, positions, sequences, groups)
    return line.interval(*line.slope(np.ones(line.y.size, bool)), level)


@dataclass(frozen=True, eq=False)
class _Centred:
    """Tokens with a value on the doubling scale: how far each stands from the middle of its sequence."""

    y: Float[np.ndarray, " tokens"]
    away: Float[np.ndarray, " tokens"]
    owner: Int[np.ndarray, " tokens"]
    group: Int[np.ndarray, " tokens"]
    n_groups: int

    @staticmethod
    def of(
        values: Real[np.ndarray, " tokens"],
        positions: Int[np.ndarray, " tokens"],
        sequences: Int[np.ndarray, " tokens"],
        groups: Int[np.ndarray, " tokens"],
    ) -> _Centred:
        if not values.shape == positions.shape == sequences.shape == groups.shape:
            raise DataError(
                f"{values.size} values, {positions.size} positions, {sequences.size} sequences; one each per token"
            )
        if np.isinf(values).any():
            raise DataError("values hold infinities; count impossible tokens and leave them out of a slope")
        kept = ~np.isnan(values)
        group, n_groups = group_index(groups[kept])
        if n_groups < 2:
            raise TooFewDocuments(f"a slope with interval needs at least 2 documents, there are {n_groups}")
        owner, n = group_index(sequences[kept])
        x = np.log2(1.0 + positions[kept])
        away = x - (np.bincount(owner, x, n) / np.bincount(owner, minlength=n))[owner]
        return _Centred(values[kept].astype(np.float64), away, owner, group, n_groups)

    def slope(self, side: Bool[np.ndarray, " tokens"]) -> tuple[float, Float[np.ndarray, " groups"]]:
        """The slope of some whole sequences, and the influence of each group on it."""
        spread = float(np.square(self.away[side]).sum())
        if spread == 0:
            raise TooFewDocuments("a slope needs at least 2 positions in some sequence of each kind")
        slope = float((self.away[side] * self.y[side]).sum()) / spread
        count = np.bincount(self.owner)
        residual = self.y - (np.bincount(self.owner, self.y) / count)[self.owner] - slope * self.away
        return slope, np.bincount(self.group[side], (self.away * residual)[side], self.n_groups) / spread

    def interval(self, value: float, influence: Float[np.ndarray, " groups"], level: float) -> Interval:
        error = float(np.sqrt(self.n_groups / (self.n_groups - 1) * np.square(influence).sum()))
        limits = mean_limits(value, error, skewness(influence), self.n_groups, level=level)
        return Interval(value, *limits, level=level, n=self.n_groups)


def _intervals(
    sums: Float[np.ndarray, "bins groups"], counts: Int[np.ndarray, "bins groups"], level: float
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
    total = counts.sum(axis=1)
    reached = (counts > 0).sum(axis=1)
    mean = np.divide(sums.sum(axis=1), total, out=np.full(total.size, np.nan), where=total > 0)
    residuals = sums - np.nan_to_num(mean)[:, None] * counts  # 0 for groups that do not reach the bin
    enough = reached >= 2
    scale = np.divide(reached, reached - 1, out=np.full(total.size, np.nan), where=enough)
    error = np.sqrt(scale * np.square(residuals).sum(axis=1)) / np.maximum(total, 1)
    limits = np.full((2, total.size), np.nan)
    for i in np.flatnonzero(enough):
        there = residuals[i, counts[i] > 0]
        limits[:, i] = mean_limits(float(mean[i]), float(error[i]), skewness(there), there.size, level=level)
    return mean, limits[0], limits[1]
