"""Drift of belief: by hand, exactly, and its error rates where belief is a martingale by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.sources.drift import LEADING, belief_change, drift_test, held_posterior


def test_the_last_posterior_is_kept_where_no_source_can_write() -> None:
    likelihood = np.log(np.array([[1.0, 0.5, 0.25, 1.0], [1.0, 0.5, 0.75, 1.0]]))
    likelihood[:, 3] = -np.inf
    found = held_posterior(np.array([0.5, 0.5]), likelihood)
    np.testing.assert_allclose(found[:, 0], [0.5, 0.5, 0.25, 0.25], atol=1e-15)


def test_a_source_without_prior_cannot_save_a_text() -> None:
    likelihood = np.array([[0.0, -np.inf], [0.0, -1.0]])
    np.testing.assert_allclose(held_posterior(np.array([1.0, 0.0]), likelihood), [[1, 0], [1, 0]])
    with pytest.raises(DataError, match="before the first token"):
        held_posterior(np.array([1.0, 0.0]), np.array([[-np.inf], [-1.0]]))


def test_the_change_by_hand() -> None:
    """Two documents, 0.4 → 0.6 and 0.6 → 0.8: change 0.2 without spread; pseudo-documents add 4·½·½ = 1, over (1 + 4)·2."""
    start, end = np.array([[0.4, 0.6], [0.6, 0.4]]), np.array([[0.6, 0.4], [0.8, 0.2]])
    found = belief_change(start, end)
    np.testing.assert_allclose(found.start, [0.5, 0.5])
    np.testing.assert_allclose(found.change, [0.2, -0.2])
    half = 12.7062047 * np.sqrt(0.1)
    np.testing.assert_allclose(found.high - found.change, [half, half], rtol=1e-6)
    np.testing.assert_allclose(found.p_value, 2 * stats.t.sf(0.2 / np.sqrt(0.1), 1))
    np.testing.assert_allclose(found.end, [0.7, 0.3])


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(TooFewDocuments):
        belief_change(np.ones((1, 2)) / 2, np.ones((1, 2)) / 2)
    with pytest.raises(DataError, match="documents × sources"):
        belief_change(np.ones((3, 2)), np.ones((3, 3)))
    with pytest.raises(DataError, match="from 0 to 1"):
        belief_change(np.full((3, 2), 1.5), np.full((3, 2), 0.5))
    certain = np.tile([1.0, 0.0], (20, 1))
    assert drift_test(certain, certain) is None


def test_rare_sources_are_judged_together_and_the_leading_one_by_itself() -> None:
    start = np.tile([0.4, 0.3, 0.1, 0.1, 0.1], (16, 1))
    start[::2] = start[::2][:, [1, 0, 2, 3, 4]]  # documents differ in which one leads
    found = drift_test(start, start)
    assert found is not None
    # 16 × 0.35 = 5.6 documents each; the three others 1.6 each, 4.8 together: too few
    assert found.groups == ((0,), (1,), LEADING)
    np.testing.assert_allclose(found.change.start, [0.35, 0.35, 0.4])
    assert (found.p_holm == 1).all()
    assert found.exact_p == 1.0
    more = drift_test(np.repeat(start, 2, axis=0), np.repeat(start, 2, axis=0))
    assert more is not None
    assert more.groups == ((0,), (1,), (2, 3, 4), LEADING)


def test_the_exact_p_by_hand() -> None:
    """All of 12 documents go from ½ to certainty: kl(1‖½) = ln 2, so 2·2⁻¹² for each of two groups (all lead with the first)."""
    start, end = np.full((12, 2), 0.5), np.tile([1.0, 0.0], (12, 1))
    found = drift_test(start, end)
    assert found is not None
    assert found.groups == ((0,), (1,))
    assert found.exact_p == pytest.approx(2 * 2 * 2.0**-12)


def martingale(
    rng: np.random.Generator, n: int, *, noise: float, concentration: float
) -> tuple[np.ndarray, np.ndarray]:
    """Beliefs at the cut, and Bayes' beliefs after evidence drawn from the mixture itself: E end = start, exactly."""
    start = rng.dirichlet(np.full(4, concentration), size=n)
    truth = (rng.random((n, 1)) > np.cumsum(start, axis=1)).sum(axis=1)
    seen = np.eye(4)[truth] + noise * rng.normal(size=(n, 4))
    joint = start * np.exp((seen - seen.max(axis=1, keepdims=True)) / noise**2)
    return start, joint / joint.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("noise", [0.05, 0.7, 4.0])
@pytest.mark.parametrize("n", [16, 48])
@pytest.mark.parametrize("concentration", [0.4, 3.0])
def test_size(n: int, noise: float, concentration: float) -> None:
    """Beliefs that end in certainty, move, or hardly move, from cuts that are nearly decided or open; 400 runs each.

    The worst of the twelve has a true rate of 6.5% (1,500 runs: 98 rejections), the others 5% or less. At 6.5% more than 43 of 400
    come with probability .001. The exact p rejects in at most 5%: more than 35 come with probability .0005.
    """
    rng = np.random.default_rng([n, int(100 * noise), int(10 * concentration)])
    rejected = exact = 0
    for _ in range(400):
        found = drift_test(*martingale(rng, n, noise=noise, concentration=concentration))
        if found is not None:
            rejected += found.p_holm.min() < 0.05
            exact += found.exact_p < 0.05
    assert stats.binom.sf(43, 400, 0.065) < 0.001
    assert stats.binom.sf(35, 400, 0.05) < 0.001
    assert rejected <= 43
    assert exact <= 35


@pytest.mark.parametrize("n", [16, 48])
def test_intervals_of_the_change_hold_zero(n: int) -> None:
    """2,000 runs in which beliefs end in certainty: the 95% interval of a source with 30% at the cut misses 0 in at most 6.5%.

    A true rate of 5% passes 130 of 2,000 with probability .001.
    """
    rng = np.random.default_rng(n)
    missed = 0
    for _ in range(2000):
        start = np.clip(0.3 + 0.1 * rng.normal(size=n), 0.01, 0.99)
        end = (rng.random(n) < start).astype(float)
        found = belief_change(start[:, None], end[:, None])
        missed += not found.low[0] <= 0 <= found.high[0]
    assert missed <= 130


def test_power() -> None:
    """100 runs of 48 documents. In 30% of the documents belief ends in the first source, whatever it was: found in most runs. In
    40% it ends in the one that led, which cancels in means by source: found by the leading one."""
    rng = np.random.default_rng(5)
    towards_one = richer = by_source = 0
    for _ in range(100):
        start, end = martingale(rng, 48, noise=2.0, concentration=1.0)
        drifted = np.where(rng.random((48, 1)) < 0.3, np.eye(4)[0], end)
        found = drift_test(start, drifted)
        assert found is not None
        towards_one += found.p_holm.min() < 0.05
        lead = np.eye(4)[start.argmax(axis=1)]
        found = drift_test(start, np.where(rng.random((48, 1)) < 0.4, lead, end))
        assert found is not None
        assert LEADING in found.groups
        richer += found.p_holm[found.groups.index(LEADING)] < 0.05
        by_source += found.p_holm[: found.groups.index(LEADING)].min() < 0.05
    assert towards_one >= 60
    assert richer >= 60
    assert by_source < richer
