"""The divergence frontier as a two-sample test: its area with the labels of the texts exchanged.

The clustering sees both kinds of text at once and none of their labels (the pooled rows are shuffled first), so that
relabelled areas come from one clustering and the test is exact (see `power_permutation`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from freerun.errors import DataError
from freerun.stats.divergences import _clusters, _joint, _principal, area_under_frontier, frontier_curve


def frontier_p(
    vectors: Float[np.ndarray, "texts width"],
    chosen: Bool[np.ndarray, "permutations texts"],
    *,
    rng: np.random.Generator,
    n_clusters: int | None = None,
) -> float:
    """Return the p-value of the frontier's area between the first and the second half of the texts; a small area rejects.

    The frontier is that of `divergences.frontier` (Pillutla et al. 2021): rows of length 1, principal components up to 90% of the
    variance, k-means on all (`n_clusters`: a tenth of a side, at least 2), histograms, area below the curve.

    Raises DataError for labels that do not fit or vectors that are not finite.
    """
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim != 2 or chosen.shape[1:] != vectors.shape[:1]:
        raise DataError(f"vectors of shape {vectors.shape} do not fit labels of shape {chosen.shape}")
    n = len(vectors) // 2
    order = rng.permutation(len(vectors))
    reduced = _principal(_joint(vectors[order[:n]], vectors[order[n:]]))
    wanted = max(2, round(n / 10)) if n_clusters is None else n_clusters
    wanted = min(wanted, len(np.unique(reduced, axis=0)))
    cells = np.zeros(len(vectors), np.int64)
    cells[order] = _clusters(reduced, wanted, int(rng.integers(2**31)))
    sides = np.vstack([np.arange(len(vectors)) < n, chosen]).astype(np.float64)
    member = np.eye(wanted)[cells]
    first, second = sides @ member, (1.0 - sides) @ member
    areas = area_under_frontier(
        *frontier_curve(first / first.sum(axis=1, keepdims=True), second / second.sum(axis=1, keepdims=True))
    )
    return float((1 + (areas[1:] <= areas[0] + 1e-12).sum()) / (1 + len(chosen)))
