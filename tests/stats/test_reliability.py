import numpy as np
import pytest

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import bootstrap_groups, linearised_ratio
from freerun.stats.reliability import reliability


def drawn(rng: np.random.Generator, *, off: float = 0.0, documents: int = 40, tokens: int = 30):  # type: ignore[no-untyped-def]
    """Confidences with a level of their own in each document; tokens come with probability confidence − off."""
    level = rng.uniform(0.2, 0.6, documents)
    confidence = np.clip(np.repeat(level, tokens) + rng.uniform(-0.1, 0.3, documents * tokens), 0.05, 0.95)
    return confidence, rng.random(confidence.size) < confidence - off, np.repeat(np.arange(documents), tokens)


def test_by_hand() -> None:
    # two bins: confidence .25 (1 hit of 4) and .75 (2 hits of 4): gaps 0 and .25
    confidence = np.tile([0.25, 0.75], 4)
    hit = np.array([1, 1, 0, 1, 0, 0, 0, 0], bool)
    groups = np.repeat(np.arange(4), 2)
    found = reliability(confidence, hit, groups, n_bins=2, rng=np.random.default_rng(0))
    assert found.confidence.tolist() == [0.25, 0.75]
    assert found.accuracy.tolist() == [0.25, 0.5]
    assert found.ece_plugin == pytest.approx(0.125)
    assert found.overconfidence.value == pytest.approx(0.125)
    # less the variances of the bin means over 4 documents
    gap = (confidence - hit).reshape(4, 2).T
    _, error = linearised_ratio(gap, np.ones((2, 4)))
    assert found.squared_error.value == pytest.approx((0 - error[0] ** 2 + 0.25**2 - error[1] ** 2) / 2)


def test_bins_hold_equally_many_tokens_and_order_does_not_matter() -> None:
    confidence, hit, groups = drawn(np.random.default_rng(1))
    found = reliability(confidence, hit, groups, rng=np.random.default_rng(2))
    assert found.share == pytest.approx(np.full(15, 1 / 15), abs=0.002)
    order = np.random.default_rng(3).permutation(confidence.size)
    again = reliability(confidence[order], hit[order], groups[order], rng=np.random.default_rng(2))
    assert again.squared_error.value == pytest.approx(found.squared_error.value)
    assert again.squared_error.high == pytest.approx(found.squared_error.high)


def test_debiased_error_is_centred_where_the_familiar_one_is_not() -> None:
    """300 trials, calibrated: the mean of the debiased squared error is 0 within 4 of its standard errors (false alarm 6e-5)."""
    rng = np.random.default_rng(4)
    found = [reliability(*drawn(rng), n_resamples=2, rng=rng) for _ in range(300)]
    squared = np.array([f.squared_error.value for f in found])
    assert abs(squared.mean()) < 4 * squared.std() / 300**0.5
    assert np.mean([f.ece_plugin for f in found]) > 0.03


def test_the_bootstrap_a_second_way() -> None:
    """Documents repeated by hand in every resample, bins held fixed."""
    confidence, hit, groups = drawn(np.random.default_rng(6), documents=8, tokens=12)
    found = reliability(confidence, hit, groups, n_bins=3, n_resamples=40, rng=np.random.default_rng(7))
    edges = np.quantile(confidence, [1 / 3, 2 / 3])
    place = np.searchsorted(edges, confidence)
    draws = []
    for counts in bootstrap_groups(np.arange(8), n_resamples=40, rng=np.random.default_rng(7)):
        chosen = np.repeat(np.arange(8), counts)
        total = 0.0
        for k in range(3):
            excess = np.array([(confidence - hit)[(groups == g) & (place == k)].sum() for g in chosen])
            n = np.array([((groups == g) & (place == k)).sum() for g in chosen], float)
            value, error = linearised_ratio(excess[None], n[None])
            total += n.sum() / 96 * float(value[0] ** 2 - 2 * error[0] ** 2)
        draws.append(total)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found.squared_error.low == pytest.approx(min(low, found.squared_error.value))
    assert found.squared_error.high == pytest.approx(max(high, found.squared_error.value))


@pytest.mark.parametrize("off", [0.0, 0.05])
def test_intervals_cover(off: float) -> None:
    """300 trials of 40 documents; nominal 95%. Overconfidence may miss 28 times (probability .001 at 95%); the root-mean-square
    error likewise: it is conservative near 0 and takes variance as normal away from it.
    """
    rng = np.random.default_rng(5)
    missed = wide = 0
    for _ in range(300):
        found = reliability(*drawn(rng, off=off), n_resamples=200, rng=rng)
        missed += not found.overconfidence.low <= off <= found.overconfidence.high
        wide += not found.squared_error.low <= off**2 <= found.squared_error.high
    assert missed <= 28
    assert wide <= 28


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(TooFewDocuments):
        reliability(np.full(9, 0.5), np.ones(9, bool), np.repeat([0, 1, 2], 3), rng=np.random.default_rng(0))
    with pytest.raises(DataError, match="probabilities"):
        reliability(np.array([1.5]), np.ones(1, bool), np.zeros(1, int), rng=np.random.default_rng(0))
    certain = reliability(np.ones(12), np.ones(12, bool), np.repeat(np.arange(4), 3), rng=np.random.default_rng(0))
    assert certain.rms_error.value == 0
    assert len(certain.confidence) == 1


def test_rounding_parts_no_ties() -> None:
    """Laws of few contexts give few confidences; the last digit of each depends on the processor, and no bin may."""
    rng = np.random.default_rng(3)
    confidence = rng.choice([0.31, 0.55, 0.55, 0.72, 0.9], size=2000)
    hit, groups = rng.random(2000) < confidence, np.arange(2000) // 50
    exact, off = (
        reliability(c, hit, groups, n_resamples=50, rng=np.random.default_rng(4))
        for c in (confidence, confidence * (1 + rng.choice([-2e-16, 0.0, 2e-16], size=2000)))
    )
    assert len(exact.confidence) == len(off.confidence) <= 4
    np.testing.assert_allclose(off.accuracy, exact.accuracy)
    np.testing.assert_allclose(off.confidence, exact.confidence)
