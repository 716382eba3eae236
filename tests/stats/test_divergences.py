"""Frontier, energy distance, precision and recall: against mauve-text's numbers, brute force, enumeration and simulation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import integrate
from scipy.stats import binom
from sklearn.neighbors import NearestNeighbors

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.divergences import (
    _centred,
    area_under_frontier,
    energy_test,
    frontier,
    frontier_curve,
    precision_recall,
)

# Golden values of mauve-text 0.4.0 (faiss-cpu 1.15.1, scikit-learn 1.9.1, numpy 2.4.6), in an environment of its own:
#   histograms: get_divergence_curve_for_multinomials(p, q, linspace(1e-6, 1 − 1e-6, 25), 5), then the mean of the two areas
#   by sklearn.metrics.auc, as compute_mauve has them (equal histograms are left out: ties in its sorting give .75 there, not 1)
#   vectors: compute_mauve(p_features=p, q_features=q, seed=s).mauve for s = 0 … 19 on `vectors(case)`
HISTOGRAMS = [
    ([0.9, 0.1], [0.1, 0.9], 0.08260150772177807),
    ([0.5, 0.3, 0.2, 0.0], [0.25, 0.25, 0.25, 0.25], 0.6081135762448925),
    ([1.0, 0.0], [0.0, 1.0], 0.0040720962619612555),
    ([0.2, 0.3, 0.5], [0.25, 0.3, 0.45], 0.9997232264549285),
    ([0.6, 0.4, 0.0], [0.0, 0.4, 0.6], 0.0504346288519957),
]
MAUVE = {  # mean, standard deviation, least and largest over 20 seeds
    "apart": (0.436669, 0.124185, 0.285291, 0.783346),
    "near": (0.930301, 0.028576, 0.862349, 0.966618),
    "unequal": (0.899834, 0.054792, 0.800601, 0.965643),
}


def vectors(case: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(20261123)
    cases = (("apart", 150, 150, 1.0, 1.0), ("near", 160, 160, 0.25, 1.0), ("unequal", 200, 120, 0.6, 1.5))
    for name, n_p, n_q, shift, scale in cases:
        centres = rng.normal(size=(5, 20)) * 2.0
        p = centres[rng.integers(0, 5, n_p)] + rng.normal(size=(n_p, 20))
        q = centres[rng.integers(0, 5, n_q)] + scale * rng.normal(size=(n_q, 20)) + shift * np.eye(20)[0] * 2.0
        if name == case:
            return p, q
    raise KeyError(case)


def cloud(rng: np.random.Generator, n: int, shift: float = 0.0, width: int = 6) -> np.ndarray:
    return rng.normal(size=(n, width)) + shift * np.eye(width)[0] + 1.0


# ---- frontier --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "q", "wanted"), HISTOGRAMS)
def test_area_of_given_histograms_is_mauves(p: list[float], q: list[float], wanted: float) -> None:
    area = area_under_frontier(*frontier_curve(np.array([p]), np.array([q])))[0]
    assert area == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("case", MAUVE)
def test_areas_of_vectors_agree_within_mauves_own_spread_over_seeds(case: str) -> None:
    """Two means over 20 seeds each: 3.5 standard errors apart at most (1 in 2,000 by chance a case, seeds fixed since)."""
    mean, spread, least, largest = MAUVE[case]
    mine = frontier(*vectors(case), seeds=range(20))
    assert abs(mine.value - mean) < 3.5 * spread * np.sqrt(2 / 20)
    assert least < mine.value < largest
    assert 0.5 < np.std(mine.by_seed, ddof=1) / spread < 2
    assert mine.n_clusters == {"apart": 15, "near": 16, "unequal": 12}[case]


def test_area_by_hand_for_two_halves_and_by_a_fine_integral() -> None:
    """Disjoint histograms: KL(Q‖R) = −ln(1 − w), so x = (1 − w)^c, y = w^c and the area is ∫ w^c c (1 − w)^(c − 1) dw."""
    x, y = frontier_curve(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), scaling=5.0)
    w = np.linspace(1e-6, 1 - 1e-6, 25)
    np.testing.assert_allclose(x[0, 1:-1], (1 - w) ** 5, atol=1e-12)
    np.testing.assert_allclose(y[0, 1:-1], w**5, atol=1e-12)
    exact = integrate.quad(lambda w: w**5 * 5 * (1 - w) ** 4, 0, 1)[0]
    assert area_under_frontier(x, y)[0] == pytest.approx(exact, abs=2e-4)
    assert area_under_frontier(*frontier_curve(np.array([[0.3, 0.7]]), np.array([[0.3, 0.7]])))[0] == 1.0


def test_the_area_does_not_know_left_from_right() -> None:
    p, q = vectors("near")
    assert frontier(p, q, seeds=(3,)).value == pytest.approx(frontier(q, p, seeds=(3,)).value, abs=0.15)
    rows = np.random.default_rng(0).dirichlet(np.ones(6), size=(2, 30))
    one, other = (area_under_frontier(*frontier_curve(a, b)) for a, b in ((rows[0], rows[1]), (rows[1], rows[0])))
    np.testing.assert_allclose(one, other, atol=1e-12)


def test_a_smaller_sample_of_one_law_gives_a_smaller_area() -> None:
    """The bias that the yardstick shows: 24 against 24 and 240 against 240 of one law, cells fixed at 8; 20 pairs of sets each."""
    rng = np.random.default_rng(1)
    means = [
        np.mean([frontier(cloud(rng, n), cloud(rng, n), n_clusters=8, seeds=(i,)).value for i in range(20)])
        for n in (24, 240)
    ]
    assert means[0] < means[1] - 0.05
    assert means[1] > 0.97


def test_unequal_sizes_are_shares() -> None:
    """Every vector of one side three times: the same histograms, the same area."""
    p, q = vectors("near")
    p, q = p[:60], q[:60]
    one = frontier(p, np.repeat(q, 3, axis=0), n_clusters=2, seeds=(0,))
    assert one.value > 0.8
    assert (one.n_p, one.n_q, one.n_clusters) == (60, 180, 2)


def test_the_interval_covers_the_value_expected_at_this_n() -> None:
    """30 pairs of sets, one law a shift: at least 26 intervals of 30 hold the mean of the values.

    At a coverage of 95% the chance of fewer is 1.6%; measured on 60 pairs when designing: 98 to 100%, wide near 1.
    """
    values, low, high = [], [], []
    for seed in range(30):
        rng = np.random.default_rng([5, seed])
        p, q, groups = cloud(rng, 50), cloud(rng, 50, 1.2), np.arange(50)
        found = frontier(p, q, seeds=(0, 1), p_groups=groups, q_groups=groups, n_resamples=80, rng=rng)
        values.append(found.value)
        low.append(found.low)
        high.append(found.high)
    inside = (np.array(low) <= np.mean(values)) & (np.mean(values) <= np.array(high))
    assert inside.sum() >= 26
    assert np.mean(np.array(high) - low) < 0.7


def test_the_interval_stands_on_the_value_and_not_on_the_mean_of_the_resamples() -> None:
    low, high = _centred(0.7, np.linspace(0.4, 0.6, 101), 0.9)
    assert (low, high) == pytest.approx((0.61, 0.79))
    assert _centred(0.98, np.linspace(0.4, 0.6, 101), 0.9)[1] == 1.0


def test_pieces_of_one_document_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    p, q = (np.repeat(cloud(rng, 12, s), 5, axis=0) + 0.01 * rng.normal(size=(60, 6)) for s in (0.0, 1.0))
    widths = []
    for groups in (np.arange(60), np.repeat(np.arange(12), 5)):
        found = frontier(p, q, p_groups=groups, q_groups=groups, n_resamples=200, rng=np.random.default_rng(3))
        widths.append(found.high - found.low)
    assert found.n_groups == 12
    assert widths[1] > 1.3 * widths[0]


def test_texts_that_are_all_the_same_are_one_cell() -> None:
    same = np.ones((12, 4))
    assert frontier(same, same).value == 1.0
    assert frontier(same, same).n_clusters == 1


# ---- energy ----------------------------------------------------------------------------------------------------------


def brute_energy(p: np.ndarray, q: np.ndarray) -> float:
    p, q = (x / np.linalg.norm(x, axis=1)[:, None] for x in (p, q))
    mean = [np.mean([np.linalg.norm(a - b) for a in x for b in y]) for x, y in ((p, q), (p, p), (q, q))]
    return float(2 * mean[0] - mean[1] - mean[2])


def test_the_energy_distance_is_its_definition() -> None:
    rng = np.random.default_rng(4)
    p, q = cloud(rng, 9), cloud(rng, 9, 1.0)
    found = energy_test(p, q, np.arange(9), n_permutations=10, rng=rng)
    assert found.distance == pytest.approx(brute_energy(p, q), abs=1e-12)
    lengths = [x / np.linalg.norm(x, axis=1)[:, None] for x in (p, q)]
    across = np.mean([np.linalg.norm(a - b) for a in lengths[0] for b in lengths[1]])
    assert found.coefficient == pytest.approx(found.distance / (2 * across))
    assert 0 <= found.coefficient <= 1
    assert energy_test(p, p, np.arange(9), n_permutations=10, rng=rng).p_value == 1.0


def test_the_p_value_is_that_of_all_swaps() -> None:
    """Three groups of two pairs: all 8 swaps enumerated; 20,000 random ones are within 4 standard errors (6 in 100,000)."""
    rng = np.random.default_rng(6)
    p, q, groups = cloud(rng, 6), cloud(rng, 6, 0.7), np.array([4, 4, 1, 1, 9, 9])
    observed, reached = brute_energy(p, q), 0
    for swap in product([False, True], repeat=3):
        mask = np.array(swap)[np.unique(groups, return_inverse=True)[1]][:, None]
        reached += brute_energy(np.where(mask, q, p), np.where(mask, p, q)) >= observed - 1e-12
    found = energy_test(p, q, groups, n_permutations=20_000, rng=rng)
    assert found.n_groups == 3
    assert found.p_value == pytest.approx(reached / 8, abs=4 * np.sqrt(0.25 / 20_000))


@pytest.mark.parametrize("pieces", [1, 3])
def test_the_energy_test_holds_its_size_and_sees_a_shift(pieces: int) -> None:
    """300 nulls of 14 documents whose two sides and pieces share a centre: at most 26 rejections at 5%.

    More come by chance with probability 0.4%. Of 40 shifted ones at least 32 are seen. Seeds fixed after designing.
    """
    assert binom.sf(26, 300, 0.05) < 0.005

    def rejects(seed: int, shift: float) -> bool:
        rng = np.random.default_rng([pieces, seed])
        centre = np.repeat(2 * rng.normal(size=(14, 6)), pieces, axis=0)
        p, q = (centre + cloud(rng, 14 * pieces, s) for s in (0.0, shift))
        groups = np.repeat(np.arange(14), pieces)
        return energy_test(p, q, groups, n_permutations=199, rng=rng).p_value <= 0.05

    assert sum(rejects(seed, 0.0) for seed in range(300)) <= 26
    assert sum(rejects(1000 + seed, 3.0) for seed in range(40)) >= 32


# ---- precision and recall --------------------------------------------------------------------------------------------


def test_precision_and_recall_by_another_library() -> None:
    rng = np.random.default_rng(7)
    real, made = cloud(rng, 40), cloud(rng, 30, 1.5)
    found = precision_recall(real, made, neighbours=3)
    a, b = (x / np.linalg.norm(x, axis=1)[:, None] for x in (real, made))
    shares = []
    for one, asked in ((a, b), (b, a)):
        radius = NearestNeighbors(n_neighbors=4).fit(one).kneighbors(one)[0][:, -1]
        shares.append(np.mean([(np.linalg.norm(x - one, axis=1) <= radius).any() for x in asked]))
    assert (found.precision, found.recall) == pytest.approx(tuple(shares))


def test_precision_and_recall_by_hand() -> None:
    """Real directions of 0, 10, 20 and 90 degrees have balls of 10, 10, 10 and 70: 5 and 100 lie inside, 200 does not.

    Generated directions of 5, 100 and 200 have balls of 95, 95 and 100: every real one lies inside.
    """

    def at(*degrees: float) -> np.ndarray:
        angle = np.radians(degrees)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1) * 7.0

    real, made = at(0, 10, 20, 90), at(5, 100, 200)
    found = precision_recall(real, made, neighbours=1)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == 1.0


def test_precision_falls_for_scattered_texts_and_recall_for_lumped_ones() -> None:
    rng = np.random.default_rng(8)
    real = cloud(rng, 150)
    lumped = precision_recall(real, 0.2 * (cloud(rng, 150) - 1) + 1)
    scattered = precision_recall(real, 4 * (cloud(rng, 150) - 1) + 1)
    assert lumped.precision > 0.95
    assert lumped.recall < 0.35
    assert scattered.precision < 0.75
    assert scattered.recall > 0.9


def test_what_cannot_be_compared_is_refused() -> None:
    rng = np.random.default_rng(9)
    a, b = cloud(rng, 10), cloud(rng, 10)
    with pytest.raises(DataError, match="one width"):
        frontier(a, b[:, :3])
    with pytest.raises(DataError, match="not finite"):
        energy_test(a, np.where(b > b.max() - 1e-9, np.nan, b), np.arange(10), n_permutations=9, rng=rng)
    with pytest.raises(DataError, match="swaps pairs"):
        energy_test(a, b[:9], np.arange(9), n_permutations=9, rng=rng)
    with pytest.raises(DataError, match="give it an rng"):
        frontier(a, b, n_resamples=5)
    with pytest.raises(DataError, match="one side only"):
        frontier(a, b, p_groups=np.arange(10))
    with pytest.raises(DataError, match="one each"):
        frontier(a, b, p_groups=np.arange(10), q_groups=np.arange(9))
    with pytest.raises(TooFewDocuments):
        frontier(a[:1], b)
    with pytest.raises(TooFewDocuments):
        energy_test(a, b, np.zeros(10, int), n_permutations=9, rng=rng)
    with pytest.raises(TooFewDocuments, match="more than 3 vectors"):
        precision_recall(a[:3], b)
