"""Which ranks do the tokens of a text have under a model's laws? (GLTR: Gehrmann, Strobelt & Rush 2019)"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import DataError
from freerun.stats.intervals import Interval, clopper_pearson_high, group_index, ratio_of_group_sums

UPPER_RANKS = (1, 10, 100, 1000)
"""Last rank of every bucket but the open one: 1, 2-10, 11-100, 101-1000, beyond."""


@dataclass(frozen=True)
class RankHistogram:
    """Share of tokens by rank bucket, each with a document-clustered interval."""

    labels: tuple[str, ...]
    upper: tuple[int | None, ...]
    share: tuple[Interval, ...]
    n_tokens: int


def rank_buckets(n_vocabulary: int, upper: tuple[int, ...] = UPPER_RANKS) -> tuple[tuple[str, int | None], ...]:
    """Return label and last rank (None: open) of the buckets that a vocabulary of this size can fill.

    >>> rank_buckets(8)
    (('1', 1), ('2–8', None))
    """
    ends = [u for u in upper if u < n_vocabulary]
    starts = [1, *(u + 1 for u in ends)]
    out: list[tuple[str, int | None]] = [
        (f"{a}" if a == b else f"{a}–{b}", b) for a, b in zip(starts, ends, strict=False)
    ]
    last = f"{starts[-1]}–{n_vocabulary}" if len(ends) < len(upper) else f"> {ends[-1]}"
    return (*out, (last, None))


def rank_histogram(
    rank: Int[np.ndarray, " tokens"], groups: Int[np.ndarray, " tokens"], *, n_vocabulary: int, level: float = 0.95
) -> RankHistogram:
    """Return the share of tokens in every bucket; ranks count from 1, tied tokens share the best of their ranks.

    Linearised ratio intervals over groups, cut to [0, 1]. A bucket that no token is in has the exact limit of a document
    to hold one, and one that holds all tokens the mirror image.

    Raises DataError for ranks below 1, TooFewDocuments for fewer than two groups.
    """
    if rank.size == 0 or rank.min() < 1:
        raise DataError("a rank histogram needs tokens, with ranks from 1")
    index, n_groups = group_index(groups)
    counts = _counts(rank, index, n_groups, n_vocabulary)
    shares = tuple(_share(tops, counts.sum(axis=1), level) for tops in counts.T)
    labels, upper = zip(*rank_buckets(n_vocabulary), strict=True)
    return RankHistogram(labels, upper, shares, rank.size)


def rank_share_difference(
    rank_a: Int[np.ndarray, " tokens_a"],
    groups_a: Int[np.ndarray, " tokens_a"],
    rank_b: Int[np.ndarray, " tokens_b"],
    groups_b: Int[np.ndarray, " tokens_b"],
    *,
    n_vocabulary: int,
    level: float = 0.95,
) -> tuple[Interval, ...]:
    """Return share in a minus share in b for every bucket, over groups that have tokens on both sides.

    The unit is the group's own difference of shares (each group counts once), with a t interval.

    Raises TooFewDocuments for fewer than two common groups.
    """
    common = np.intersect1d(groups_a, groups_b)
    sides = []
    for rank, groups in ((rank_a, groups_a), (rank_b, groups_b)):
        shared = np.isin(groups, common)
        index = np.searchsorted(common, groups[shared])
        counts = _counts(rank[shared], index, common.size, n_vocabulary)
        sides.append(counts / counts.sum(axis=1, keepdims=True))
    return tuple(ratio_of_group_sums(d, np.ones(common.size), level=level) for d in (sides[0] - sides[1]).T)


def _counts(
    rank: Int[np.ndarray, " tokens"], index: Int[np.ndarray, " tokens"], n_groups: int, n_vocabulary: int
) -> Float[np.ndarray, "groups buckets"]:
    """Tokens of each group in each bucket."""
    edges = [last for _, last in rank_buckets(n_vocabulary) if last is not None]
    place = index * (len(edges) + 1) + np.searchsorted(edges, rank, side="left")
    counts = np.bincount(place, minlength=n_groups * (len(edges) + 1))
    return counts.reshape(n_groups, -1).astype(np.float64)


def _share(tops: Float[np.ndarray, " groups"], lengths: Float[np.ndarray, " groups"], level: float) -> Interval:
    share = ratio_of_group_sums(tops, lengths, level=level)
    rare = clopper_pearson_high(0, tops.size, alpha=(1 - level) / 2)
    low = 1 - rare if share.value == 1 else max(share.low, 0.0)
    high = rare if share.value == 0 else min(share.high, 1.0)
    return Interval(share.value, low, high, level, share.n)
