"""Mixtures of predictors and the document's own cache."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import UsageError
from freerun.predictors.base import Predictor
from freerun.predictors.mixture import DocumentCache, Mixture
from freerun.worlds.markov import MarkovWorld, random_chain

A, B, C = random_chain(5, seed=1), random_chain(5, seed=2), random_chain(5, seed=3)
IDS = np.array([0, 3, 1, 1, 4, 2])


@pytest.mark.parametrize(
    "weights", [(0.2, 0.5, 0.3), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0.5, 0.0, 0.5), (1 / 3, 1 / 3, 1 / 3)]
)
def test_a_mixture_is_the_weighted_mean_at_every_token(weights: tuple[float, ...]) -> None:
    mixed = Mixture([A, B, C], weights, name="m")
    parts = [np.exp(p.log_probs([IDS])[0]) for p in (A, B, C)]
    wanted = sum(w * p for w, p in zip(weights, parts, strict=True))
    np.testing.assert_allclose(np.exp(mixed.log_probs([IDS])[0]), wanted, atol=1e-12)
    tables = [p.law(p.start([IDS])).probs() for p in (A, B, C)]
    law = mixed.law(mixed.start([IDS]))
    np.testing.assert_allclose(law.probs(), sum(w * t for w, t in zip(weights, tables, strict=True)), atol=1e-12)


def test_the_fingerprint_says_components_and_weights() -> None:
    one, same, other, turned = (
        Mixture(parts, weights, name="m").identity.fingerprint
        for parts, weights in (((A, B), (0.3, 0.7)), ((A, B), (0.3, 0.7)), ((A, B), (0.31, 0.69)), ((B, A), (0.3, 0.7)))
    )
    assert one == same
    assert len({one, other, turned}) == 3


@pytest.mark.parametrize("weights", [(0.5, 0.6), (1.5, -0.5), (1.0,), (0.2, 0.3, 0.5)])
def test_weights_that_are_no_weights_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="weights that sum to 1"):
        Mixture([A, B], weights, name="m")


def test_components_must_share_a_vocabulary() -> None:
    with pytest.raises(UsageError, match=r"share a vocabulary, not \[5, 6\]"):
        Mixture([A, random_chain(6)], [0.5, 0.5], name="m")


def test_the_cache_by_hand() -> None:
    """0 1 1 of three ids: uniform; then all on 0; then ½ ½ 0; then ⅓ ⅔ 0."""
    cache = DocumentCache(MarkovWorld(np.full((3, 3), 1 / 3)))
    contexts = [np.array(x, np.int64) for x in ([], [0], [0, 1], [0, 1, 1])]
    wanted = [[1 / 3] * 3, [1, 0, 0], [1 / 2, 1 / 2, 0], [1 / 3, 2 / 3, 0]]
    np.testing.assert_allclose(cache.law(cache.start(contexts)).probs(), wanted, atol=1e-15)
    (scored,) = cache.log_probs([np.array([0, 1, 1, 2])])
    np.testing.assert_allclose(np.exp(scored), [1 / 3, 0, 1 / 2, 0], atol=1e-15)
    assert np.isneginf(scored[[1, 3]]).all()


@settings(deadline=None, max_examples=50)
@given(sequences=st.lists(st.lists(st.integers(0, 4), max_size=9), min_size=1, max_size=4), first=st.integers(0, 4))
def test_the_caches_short_cut_is_its_law(sequences: list[list[int]], first: int) -> None:
    cache = DocumentCache(A)
    some = [np.array(s, np.int64) for s in sequences]
    for mine, plain in zip(
        cache.log_probs(some, first=first), Predictor.log_probs(cache, some, first=first), strict=True
    ):
        np.testing.assert_allclose(mine, plain, atol=1e-12)
