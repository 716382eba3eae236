"""How far apart two clouds of vectors lie: divergence frontier, energy distance, precision and recall.

Descriptions, with documents as the independent units; none of them is ever evidence that two laws are close. Rows are scaled to
length 1 first everywhere, so distances are those of directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Num
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import bootstrap_groups, checked_level, group_index

SCALING = 5.0
"""The c of exp(−c·KL) in the frontier's coordinates (Pillutla et al. 2021, section 2)."""
N_WEIGHTS = 25
"""Mixture weights on the frontier between its two ends."""
EXPLAINED_VARIANCE = 0.9
"""Share of the variance that the principal components before k-means keep."""
NEIGHBOURS = 3
"""The k of precision and recall (Kynkäänniemi et al. 2019, section 2)."""
_CHUNK = 1 << 22
"""Numbers held at once by the permutations."""


@dataclass(frozen=True)
class Frontier:
    """Area under the divergence frontier, in [0, 1]: 1 where the two histograms agree, near 0 where they share nothing.

    `value` is the mean over k-means seeds (`by_seed`). `low`, `high`: interval over seeds and documents for one clustering at
    this n, centred on the value; NaN without resamples. `x`, `y` are the curve, a mean over seeds: exp(−c·KL(Q‖R)) and
    exp(−c·KL(P‖R)) along R = wP + (1−w)Q. Fewer vectors give a smaller value even where P = Q.
    """

    value: float
    low: float
    high: float
    level: float
    by_seed: tuple[float, ...]
    x: Float[np.ndarray, " points"]
    y: Float[np.ndarray, " points"]
    n_clusters: int
    n_p: int
    n_q: int
    n_groups: int


@dataclass(frozen=True)
class EnergyTest:
    """Energy distance with a permutation p-value.

    `distance` is 2·E|X−Y| − E|X−X′| − E|Y−Y′| over all pairs of vectors of length 1. `coefficient` divides it by 2·E|X−Y|, which
    puts it in [0, 1] (Székely & Rizzo 2013, section 2). `n_groups` units were swapped.
    """

    distance: float
    coefficient: float
    p_value: float
    n_permutations: int
    n_groups: int


@dataclass(frozen=True)
class PrecisionRecall:
    """Shares in [0, 1]. Precision: of generated vectors inside the cloud of real ones. Recall: of real ones inside the other."""

    precision: float
    recall: float
    neighbours: int


def frontier(
    p_vectors: Num[np.ndarray, "p width"],
    q_vectors: Num[np.ndarray, "q width"],
    *,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    n_clusters: int | None = None,
    p_groups: Int[np.ndarray, " p"] | None = None,
    q_groups: Int[np.ndarray, " q"] | None = None,
    n_resamples: int = 0,
    rng: np.random.Generator | None = None,
    level: float = 0.95,
) -> Frontier:
    """Return the divergence frontier of two sets of vectors, quantised together (Pillutla et al. 2021; 2023, section 4).

    Rows of length 1, principal components up to 90% of the variance, k-means on both sets at once (`n_clusters`: a tenth of the
    smaller set, at least 2), two histograms, the curve of `frontier_curve` and its area. One clustering a seed.

    The interval resamples groups (shared names pair the sides) with the clusterings held fixed, pools seeds and is shifted onto
    the value: resampling lowers the area as a smaller n does. The two sets may differ in size: histograms are normalised; what is
    left is a bias downwards, mostly the smaller set's. Compare with real against real at the same sizes.

    Raises TooFewDocuments for fewer than 2 vectors a side, DataError for other widths or values that are not finite, or
    resamples without `rng`.
    """
    joint = _joint(p_vectors, q_vectors)
    n_p, n_q = len(p_vectors), len(q_vectors)
    if min(n_p, n_q) < 2:
        raise TooFewDocuments(f"a frontier between {n_p} and {n_q} vectors: at least 2 on each side are needed")
    k = max(2, round(min(n_p, n_q) / 10)) if n_clusters is None else n_clusters
    reduced = _principal(joint)
    k = min(k, len(np.unique(reduced, axis=0)))
    cells = [_clusters(reduced, k, seed) for seed in seeds]
    groups, n_groups = _joint_groups(n_p, n_q, p_groups, q_groups)
    ones = np.ones((1, n_p + n_q))
    curves = [frontier_curve(*_histograms(cell, ones, n_p, k)) for cell in cells]
    areas = np.array([float(area_under_frontier(x, y)[0]) for x, y in curves])
    value, low, high = float(areas.mean()), float("nan"), float("nan")
    if n_resamples:
        if rng is None:
            raise DataError("an interval of the frontier resamples documents; give it an rng")
        weights = bootstrap_groups(groups, n_resamples=n_resamples, rng=rng).astype(np.float64)
        weights = weights[(weights[:, :n_p].sum(1) > 0) & (weights[:, n_p:].sum(1) > 0)]
        drawn = [area_under_frontier(*frontier_curve(*_histograms(cell, weights, n_p, k))) for cell in cells]
        low, high = _centred(value, np.concatenate(drawn), level)
    return Frontier(
        value,
        low,
        high,
        checked_level(level),
        tuple(areas.tolist()),
        np.mean([x[0] for x, _ in curves], axis=0),
        np.mean([y[0] for _, y in curves], axis=0),
        k,
        n_p,
        n_q,
        n_groups,
    )


def frontier_curve(
    p: Float[np.ndarray, "rows cells"], q: Float[np.ndarray, "rows cells"], *, scaling: float = SCALING
) -> tuple[Float[np.ndarray, "rows points"], Float[np.ndarray, "rows points"]]:
    """Return exp(−c·KL(Q‖R)) and exp(−c·KL(P‖R)) for R = wP + (1−w)Q, w from 0 to 1, row by row; ends (1, 0) and (0, 1).

    25 weights from 1e-6 to 1 − 1e-6, as the published code has them.

    >>> x, y = frontier_curve(np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]]))
    >>> float(area_under_frontier(x, y)[0])
    1.0
    """
    w = np.linspace(1e-6, 1 - 1e-6, N_WEIGHTS)[None, :, None]
    mixed = w * p[:, None, :] + (1 - w) * q[:, None, :]
    ends = np.zeros((len(p), 1))
    x = np.hstack([ends + 1, np.exp(-scaling * _kl(q[:, None, :], mixed)), ends])
    y = np.hstack([ends, np.exp(-scaling * _kl(p[:, None, :], mixed)), ends + 1])
    return x, y


def area_under_frontier(
    x: Float[np.ndarray, "rows points"], y: Float[np.ndarray, "rows points"]
) -> Float[np.ndarray, " rows"]:
    """Return the area below each curve by trapezoids along it (x falls, y rises)."""
    return np.asarray(0.5 * ((x[:, :-1] - x[:, 1:]) * (y[:, :-1] + y[:, 1:])).sum(axis=1))


def energy_test(
    p_vectors: Num[np.ndarray, "pairs width"],
    q_vectors: Num[np.ndarray, "pairs width"],
    groups: Int[np.ndarray, " pairs"],
    *,
    n_permutations: int,
    rng: np.random.Generator,
) -> EnergyTest:
    """Test two paired sets of vectors for equal laws by their energy distance (Székely & Rizzo 2013).

    Null: within a group the two sides of its pairs are exchangeable. A permutation swaps all pairs of a group or none, so that
    what pairs share (a prefix) and what pairs of one document share is kept. p = (1 + permutations at least as far) / (1 + all).

    Raises TooFewDocuments for fewer than 2 groups, DataError for sides of different size, widths or infinite values.
    """
    joint = _joint(p_vectors, q_vectors)
    n = len(p_vectors)
    if len(q_vectors) != n or len(groups) != n:
        raise DataError(
            f"{n} and {len(q_vectors)} vectors in {len(groups)} groups; the test swaps pairs, one group each"
        )
    index, n_groups = group_index(np.asarray(groups))
    if n_groups < 2:
        raise TooFewDocuments(f"a permutation test over documents needs at least 2 documents, there is {n_groups}")
    between = cdist(joint, joint)
    sides = np.repeat([1.0, -1.0], n)
    distance = float(_energy(between, sides[None, :])[0])
    step = max(1, _CHUNK // (2 * n))
    reached = 0
    for done in range(0, n_permutations, step):
        signs = rng.choice([-1.0, 1.0], size=(min(step, n_permutations - done), n_groups))[:, index]
        drawn = _energy(between, sides[None, :] * np.hstack([signs, signs]))
        reached += int(np.count_nonzero(drawn >= distance - 1e-12 * max(1.0, abs(distance))))
    across = float(between[:n, n:].mean())
    return EnergyTest(
        distance,
        distance / (2 * across) if across > 0 else 0.0,
        (1 + reached) / (1 + n_permutations),
        n_permutations,
        n_groups,
    )


def precision_recall(
    real_vectors: Num[np.ndarray, "real width"],
    generated_vectors: Num[np.ndarray, "generated width"],
    *,
    neighbours: int = NEIGHBOURS,
) -> PrecisionRecall:
    """Return the share of each set inside the other's cloud (Kynkäänniemi et al. 2019, equations 1 and 2).

    A cloud is the union of balls, one around each vector, up to its k-th nearest neighbour in its own set. Equal laws do not
    give 1: compare with real against real. There is no interval: a few wide balls decide much, and those that were tried
    covered 82 to 93% instead of 95%.

    Raises TooFewDocuments where a side has no more vectors than neighbours, DataError for other widths or infinite values.
    """
    joint = _joint(real_vectors, generated_vectors)
    n = len(real_vectors)
    if min(n, len(joint) - n) <= neighbours:
        raise TooFewDocuments(
            f"precision and recall with {neighbours} neighbours need more than {neighbours} vectors a side, "
            f"there are {n} and {len(joint) - n}"
        )
    between, shares = cdist(joint, joint), []
    for cloud, others in ((slice(n), slice(n, None)), (slice(n, None), slice(n))):
        # entry 0 of a sorted row is the vector itself
        radius = np.partition(between[cloud, cloud], neighbours, axis=1)[:, neighbours]
        shares.append(float((between[others, cloud] <= radius[None, :]).any(axis=1).mean()))
    return PrecisionRecall(shares[0], shares[1], neighbours)


def _joint(
    p_vectors: Num[np.ndarray, "p width"], q_vectors: Num[np.ndarray, "q width"]
) -> Float[np.ndarray, "both width"]:
    """Both sets in one table, rows of length 1; a row of zeros stays."""
    if p_vectors.ndim != 2 or q_vectors.ndim != 2 or p_vectors.shape[1] != q_vectors.shape[1]:
        raise DataError(f"vectors of shapes {p_vectors.shape} and {q_vectors.shape}; both need one width")
    joint = np.vstack([p_vectors, q_vectors]).astype(np.float64)
    if not np.isfinite(joint).all():
        raise DataError("vectors hold values that are not finite; leave out texts without a vector, and count them")
    lengths = np.linalg.norm(joint, axis=1, keepdims=True)
    return np.asarray(joint / np.where(lengths > 0, lengths, 1.0))


def _principal(joint: Float[np.ndarray, "n width"]) -> Float[np.ndarray, "n kept"]:
    """The leading principal components that keep 90% of the variance."""
    if np.ptp(joint, axis=0).max() == 0:
        return joint[:, :1]
    fitted = PCA(svd_solver="full").fit(joint)
    kept = int(np.searchsorted(np.cumsum(fitted.explained_variance_ratio_), EXPLAINED_VARIANCE)) + 1
    return np.asarray(fitted.transform(joint)[:, :kept])


def _clusters(reduced: Float[np.ndarray, "n kept"], n_clusters: int, seed: int) -> Int[np.ndarray, " n"]:
    return np.asarray(
        KMeans(n_clusters, n_init=5, max_iter=500, random_state=int(seed) % 2**32).fit_predict(reduced), np.int64
    )


def _histograms(
    cells: Int[np.ndarray, " both"], weights: Float[np.ndarray, "rows both"], n_p: int, n_clusters: int
) -> tuple[Float[np.ndarray, "rows cells"], Float[np.ndarray, "rows cells"]]:
    """Weighted shares of each side in each cell, row by row."""
    member = np.eye(n_clusters)[cells]
    p, q = weights[:, :n_p] @ member[:n_p], weights[:, n_p:] @ member[n_p:]
    return np.asarray(p / p.sum(axis=1, keepdims=True)), np.asarray(q / q.sum(axis=1, keepdims=True))


def _kl(
    a: Float[np.ndarray, "rows _few cells"], b: Float[np.ndarray, "rows weights cells"]
) -> Float[np.ndarray, "rows weights"]:
    """KL(a‖b), nats; b has mass wherever a has."""
    a = np.broadcast_to(a, b.shape)
    ratio = np.divide(a, b, out=np.ones(b.shape), where=a > 0)
    return np.asarray(np.maximum((a * np.log(ratio)).sum(axis=-1), 0.0))


def _energy(
    between: Float[np.ndarray, "both both"], sides: Float[np.ndarray, "rows both"]
) -> Float[np.ndarray, " rows"]:
    """2·E|X−Y| − E|X−X′| − E|Y−Y′| for equal sizes, sides ±1: −sᵀDs/n²."""
    n = sides.shape[1] / 2
    return np.asarray(-((sides @ between) * sides).sum(axis=1) / n**2)


def _joint_groups(
    n_p: int, n_q: int, p_groups: Int[np.ndarray, " p"] | None, q_groups: Int[np.ndarray, " q"] | None
) -> tuple[Int[np.ndarray, " both"], int]:
    """Numbers of the groups of both sides; without groups every vector stands for itself."""
    if (p_groups is None) != (q_groups is None):
        raise DataError("groups of one side only; give both sides theirs, or neither")
    if p_groups is None or q_groups is None:
        return np.arange(n_p + n_q), n_p + n_q
    if len(p_groups) != n_p or len(q_groups) != n_q:
        raise DataError(f"{len(p_groups)} and {len(q_groups)} groups for {n_p} and {n_q} vectors; one each")
    return group_index(np.concatenate([p_groups, q_groups]))


def _centred(value: float, drawn: Float[np.ndarray, " draws"], level: float) -> tuple[float, float]:
    """Percentiles of the draws, moved so that their mean is the value, within [0, 1]."""
    if drawn.size < 2:
        return float("nan"), float("nan")
    alpha = (1.0 - checked_level(level)) / 2.0
    low, high = np.quantile(drawn, [alpha, 1.0 - alpha]) - drawn.mean() + value
    return float(np.clip(low, 0.0, value)), float(np.clip(high, value, 1.0))
