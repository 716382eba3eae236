"""The lower bound from losses against processes whose total variation is known."""

import math

import numpy as np
import pytest
from scipy import stats

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.bounds.tv_from_loss import tv_from_loss, tv_from_loss_band
from freerun.stats.intervals import clopper_pearson_low

LENGTHS = np.array([1, 4, 16, 64])


def coin_tv(p: float, q: float, n: int) -> float:
    """Total variation of n tosses: the number of heads is sufficient."""
    heads = np.arange(n + 1)
    return float(0.5 * np.abs(stats.binom.pmf(heads, n, p) - stats.binom.pmf(heads, n, q)).sum())


def coin_gains(rng: np.random.Generator, n: int, *, p: float, q: float, r: float) -> np.ndarray:
    """ln r - ln q of n documents from a coin p, summed up to each of LENGTHS."""
    heads = rng.random((n, LENGTHS[-1])) < p
    steps = np.where(heads, math.log(r / q), math.log((1 - r) / (1 - q)))
    return np.cumsum(steps, axis=1)[:, LENGTHS - 1]


def test_form_a_by_hand() -> None:
    # 8 documents, level 1 - e^-2: slack sqrt(2/16). Tails: 2/8 at ln 8, 6/8 at ln 4, 8/8 at 0. Best: 6/8 - 1/4 - slack
    gains = np.log([8.0, 8.0, 4.0, 4.0, 4.0, 4.0, 0.5, 1.0])
    found = tv_from_loss(gains, level=1 - math.exp(-2))
    assert found.tv_low == pytest.approx(0.5 - math.sqrt(2 / 16), abs=1e-12)
    assert (found.threshold_nats, found.count, found.n) == (pytest.approx(math.log(4)), 6, 8)


def test_form_b_by_hand() -> None:
    # the threshold comes from the training column alone (all at ln 20); 5 of 6 test documents reach it
    train = np.full((6, 1), math.log(20.0))
    test = np.log([[20.0], [30.0], [20.0], [19.0], [20.0], [50.0]])
    found = tv_from_loss_band(train, test, np.array([7]), level=0.9)
    assert found.threshold_nats[0] == pytest.approx(math.log(20))
    assert found.count.tolist() == [5]
    assert found.tv_low[0] == pytest.approx(clopper_pearson_low(5, 6, alpha=0.1) - 1 / 20, abs=1e-12)
    twice = tv_from_loss_band(np.hstack([train, train]), np.hstack([test, test]), np.array([7, 9]), level=0.9)
    assert twice.tv_low[1] == pytest.approx(clopper_pearson_low(5, 6, alpha=0.05) - 1 / 20, abs=1e-12)


def test_the_band_never_falls_but_each_length_is_told_alone() -> None:
    train = np.tile([5.0, 0.1], (20, 1))
    found = tv_from_loss_band(train, train, np.array([1, 2]))
    assert found.tv_low_alone[0] > found.tv_low_alone[1] == 0
    assert found.tv_low[1] == found.tv_low[0] == found.tv_low_alone[0]


def test_nothing_is_proven_where_the_reference_is_the_model() -> None:
    zero = np.zeros((40, 3))
    found = tv_from_loss_band(zero, zero, np.array([1, 2, 3]))
    assert found.tv_low.tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(found.threshold_nats).all()
    assert found.count.tolist() == [0, 0, 0]
    assert tv_from_loss(zero[:, 0]).tv_low == 0
    assert tv_from_loss(zero[:, 0]).threshold_nats is None
    worse = tv_from_loss_band(zero - 3, zero - 3, np.array([1, 2, 3]))
    assert worse.tv_low.max() == 0


def test_impossible_tokens_count_in_full_and_a_reference_without_mass_not_at_all() -> None:
    gains = np.full((50, 1), np.inf)
    assert tv_from_loss(gains[:, 0]).tv_low == pytest.approx(1 - math.sqrt(math.log(20) / 100), abs=1e-12)
    found = tv_from_loss_band(gains, gains, np.array([1]))
    assert found.tv_low[0] == pytest.approx(clopper_pearson_low(50, 50, alpha=0.05), abs=1e-8)
    assert np.isfinite(found.threshold_nats).all()
    assert tv_from_loss_band(-gains, -gains, np.array([1])).tv_low[0] == 0


def test_size_where_markov_is_tight() -> None:
    """One event with q(A) = 1/c and r(A) = 1: the bound is CP_low(P(A)) - 1/c, so it fails when Clopper-Pearson fails.

    3000 trials of 60 documents at 90%: that limit of a binomial (60, 0.7) fails with probability 0.09996. Allowed: that
    plus or minus 0.018, outside by chance with probability 0.001. At twice the error it would fail with probability 0.16.
    """
    rng = np.random.default_rng(5)
    c, rate = 4.0, 0.7
    tv = rate - 1 / c
    exact = sum(stats.binom.pmf(k, 60, rate) for k in range(61) if clopper_pearson_low(k, 60, alpha=0.1) > rate + 1e-12)
    train = np.full((10, 1), math.log(c))
    wrong = 0
    for _ in range(3000):
        hits = rng.random((60, 1)) < rate
        test = np.where(hits, math.log(c), -np.inf)
        wrong += tv_from_loss_band(train, test, np.array([1]), level=0.9).tv_low[0] > tv + 1e-12
    assert exact <= 0.1
    assert wrong / 3000 == pytest.approx(exact, abs=0.018)


@pytest.mark.parametrize("r", [0.7, 0.6, 0.5])
def test_size_and_use_on_coins(r: float) -> None:
    """P a coin of 0.7, Q one of 0.5: TV = .20 .34 .60 .90 at 1, 4, 16, 64 tosses; 300 trials of 60 + 60 documents.

    At 95% simultaneous, more than 25 wrong bands in 300 have probability below 0.01; Markov is loose here and none is seen.
    Median bound over truth at 16 and 64 tosses when this was written: .30 and .69 for r = P, .15 and .71 for r = .6; form A,
    for one length at a time: .32 and .68, .16 and .70.
    """
    rng = np.random.default_rng(int(100 * r))
    truth = np.array([coin_tv(0.7, 0.5, int(n)) for n in LENGTHS])
    bands, alone = [], []
    for _ in range(300):
        gains = coin_gains(rng, 120, p=0.7, q=0.5, r=r)
        band = tv_from_loss_band(gains[:60], gains[60:], LENGTHS)
        bands.append(band.tv_low)
        alone.append(tv_from_loss(gains[60:, -1]).tv_low)
    wrong = (np.array(bands) > truth + 1e-12).any(axis=1).sum()
    wrong_a = (np.array(alone) > truth[-1] + 1e-12).sum()
    assert wrong <= 25
    assert wrong_a <= 25
    share = np.median(np.array(bands), axis=0) / truth
    if r == 0.5:
        assert np.max(bands) == np.max(alone) == 0
    else:
        assert share[-1] > 0.6
        assert share[-2] > 0.1
        assert np.median(alone) / truth[-1] > 0.5


def test_no_false_proof_when_the_model_is_right() -> None:
    """P = Q, any reference: TV = 0, so any positive bound is wrong; at 95%, more than 25 of 300 has probability below 0.01."""
    rng = np.random.default_rng(9)
    wrong = wrong_a = 0
    for trial in range(300):
        r = (0.55, 0.7, 0.9)[trial % 3]
        gains = coin_gains(rng, 80, p=0.5, q=0.5, r=r)
        wrong += tv_from_loss_band(gains[:40], gains[40:], LENGTHS).tv_low.max() > 0
        wrong_a += tv_from_loss(gains[40:, -1]).tv_low > 0
    assert wrong <= 25
    assert wrong_a <= 25


def test_the_test_documents_choose_nothing() -> None:
    rng = np.random.default_rng(3)
    train, test = rng.normal(2, 2, (2, 30, 2))
    one = tv_from_loss_band(train, test, np.array([1, 2]))
    other = tv_from_loss_band(train, test + 50, np.array([1, 2]))
    assert one.threshold_nats.tolist() == other.threshold_nats.tolist()


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: tv_from_loss(np.array([1.0, math.nan, 1, 1])), DataError, "NaN"),
        (lambda: tv_from_loss(np.ones(3)), TooFewDocuments, "at least 4"),
        (lambda: tv_from_loss(np.ones(9), level=0.3), DataError, "level is 0.3"),
        (lambda: tv_from_loss_band(np.ones((9, 1)), np.ones((3, 1)), np.array([1])), TooFewDocuments, "test_nats"),
        (lambda: tv_from_loss_band(np.ones((9, 2)), np.ones((9, 1)), np.array([1])), DataError, "one a column"),
        (lambda: tv_from_loss_band(np.ones((9, 2)), np.ones((9, 2)), np.array([2, 1])), DataError, "ascend"),
        (lambda: tv_from_loss_band(np.ones((9, 1)), np.ones((9, 1)), np.array([1]), level=1.0), DataError, "level"),
    ],
)
def test_bad_input_is_refused(call, error, said) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=said):
        call()
