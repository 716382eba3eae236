import numpy as np
import pytest

from freerun.errors import DataError
from freerun.stats.recognition.likelihood_ratio import likelihood_ratio


def test_by_hand() -> None:
    # text 0: q/r = 1/4, then 5: least 1/4 on the way, sum ln(5/4). text 1: q/r = 2: never below 1
    found = likelihood_ratio(np.log([0.1, 0.5, 0.4]), np.log([0.4, 0.1, 0.2]), np.array([0, 0, 1]), 3)
    assert found.sum_nats == pytest.approx([np.log(1.25), np.log(2), 0.0])
    assert found.p_any_time == pytest.approx([0.25, 1.0, 1.0])
    assert found.rejected(0.26).value == pytest.approx(1 / 3)
    assert found.rejected(0.24).value == 0


def test_tokens_without_mass() -> None:
    nothing = -np.inf
    q = np.array([-1.0, nothing, -1.0, -1.0, nothing])
    r = np.array([-2.0, -1.0, nothing, -3.0, nothing])
    found = likelihood_ratio(q, r, np.array([0, 0, 1, 1, 2]), 3)
    assert found.sum_nats.tolist() == [-np.inf, np.inf, -np.inf]
    assert found.p_any_time.tolist() == [0.0, 1.0, 0.0]
    assert (found.n_impossible, found.n_unknown) == (2, 1)
    with pytest.raises(DataError, match="ascending"):
        likelihood_ratio(np.zeros(2), np.zeros(2), np.array([1, 0]), 2)
    with pytest.raises(DataError, match="NaN"):
        likelihood_ratio(np.array([np.nan]), np.zeros(1), np.zeros(1, int), 1)


def test_own_text_is_rarely_rejected_and_other_text_is() -> None:
    """3,000 own texts of 40 tokens: P(p ≤ a) ≤ a at any stopping time (Ville).

    Allowed 187 at 5% and 48 at 1%, passed by rates of exactly 5% and 1% with probability .001. The same by brute force.
    """
    rng = np.random.default_rng(0)
    q, r = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
    own = rng.choice(5, p=q, size=(3000, 40))
    index = np.repeat(np.arange(3000), 40)
    found = likelihood_ratio(np.log(q)[own].ravel(), np.log(r)[own].ravel(), index, 3000)
    assert found.rejected(0.05).value * 3000 <= 187
    assert found.rejected(0.01).value * 3000 <= 48
    brute = np.minimum(1, np.cumprod(q[own] / r[own], axis=1).min(axis=1))
    assert found.p_any_time == pytest.approx(brute)
    other = rng.choice(5, p=r, size=(300, 40))
    seen = likelihood_ratio(np.log(q)[other].ravel(), np.log(r)[other].ravel(), index[: 300 * 40], 300)
    assert seen.rejected(0.05).value > 0.9
