import numpy as np
import pytest
from scipy.stats import binom

from freerun.errors import DataError
from freerun.stats.design.frontier import frontier_p
from freerun.stats.design.permutation import relabellings
from freerun.stats.divergences import _clusters, _joint, _principal, area_under_frontier, frontier, frontier_curve


class InOrder(np.random.Generator):
    """A generator that shuffles nothing and draws seed 0."""

    def permutation(self, x, axis=0):  # type: ignore[no-untyped-def, override]
        return np.arange(x)

    def integers(self, *args, **options):  # type: ignore[no-untyped-def, override]
        return 0


def test_areas_are_those_of_the_house_on_the_same_clustering() -> None:
    """p by hand: the area of `frontier` among those of relabelled histograms of one clustering."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(40, 3)) + np.repeat([[0.7, 0, 0], [0, 0, 0]], 20, axis=0)
    chosen = relabellings(20, 59, rng=rng)
    whole = frontier(vectors[:20], vectors[20:], seeds=(0,), n_clusters=4).value
    cells = _clusters(_principal(_joint(vectors[:20], vectors[20:])), 4, 0)

    def area(side: np.ndarray) -> float:
        p, q = (np.bincount(cells[s], minlength=4)[None, :] / 20 for s in (side, ~side))
        return float(area_under_frontier(*frontier_curve(p, q))[0])

    assert area(np.arange(40) < 20) == pytest.approx(whole)
    by_hand = (1 + sum(area(side) <= whole + 1e-12 for side in chosen)) / 60
    assert 0 < whole < 1
    assert frontier_p(vectors, chosen, rng=InOrder(np.random.PCG64(0)), n_clusters=4) == by_hand


def test_clouds_apart_are_found() -> None:
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(40, 4)) + np.repeat([[9, 0, 0, 0], [-9, 0, 0, 0]], 20, axis=0)
    assert frontier_p(vectors, relabellings(20, 199, rng=rng), rng=rng) == 1 / 200


def test_the_size_is_exact() -> None:
    """One law, 20 + 20 points, 19 relabellings, 300 times; ties only lower it. Above the limit with probability 1e-3."""
    rng = np.random.default_rng(7)
    hits = sum(frontier_p(rng.normal(size=(40, 4)), relabellings(20, 19, rng=rng), rng=rng) <= 0.05 for _ in range(300))
    assert 3 <= hits <= binom.isf(1e-3, 300, 0.05)


def test_points_that_are_all_one_say_nothing() -> None:
    rng = np.random.default_rng(8)
    assert frontier_p(np.ones((12, 3)), relabellings(6, 19, rng=rng), rng=rng) == 1.0


def test_labels_of_other_texts_are_refused() -> None:
    rng = np.random.default_rng(9)
    with pytest.raises(DataError, match="fit"):
        frontier_p(np.ones((10, 3)), relabellings(6, 19, rng=rng), rng=rng)
