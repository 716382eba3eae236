"""Witten–Bell n-grams: worked by hand, enumerated, and three ways of asking that agree."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import DataError, UsageError
from freerun.predictors.base import Predictor
from freerun.predictors.ngram import END_BYTE, NGramCounts, NGramPredictor, byte_ngram


def predictor(documents: list[list[int]], order: int, n_tokens: int) -> NGramPredictor:
    counts = NGramCounts([np.array(d) for d in documents], order=order, n_tokens=n_tokens)
    return NGramPredictor(counts, name="n", encode=lambda t: [ord(c) for c in t], token_bytes=lambda i: b"", end_ids=())


def test_a_bigram_by_hand() -> None:
    """Text 0 1 0 1 1 over three ids.

    Unigrams: 0 twice, 1 three times, 5 in all, 2 different ones: p(x) = (n + 2·⅓)/(5 + 2).
        p(0) = (2 + 2/3)/7 = 8/21    p(1) = 11/21    p(2) = 2/21
    After 0: 1 twice; 2 in all, 1 different: p(x|0) = (n + p(x))/3.
        p(0|0) = 8/63    p(1|0) = (2 + 11/21)/3 = 53/63    p(2|0) = 2/63
    After 1: 0 once, 1 once (the last 1 is followed by nothing); 2 in all, 2 different: p(x|1) = (n + 2·p(x))/4.
        p(0|1) = (1 + 16/21)/4 = 37/84    p(1|1) = (1 + 22/21)/4 = 43/84    p(2|1) = 4/84
    After 2, never seen: the unigram.
    """
    counts = predictor([[0, 1, 0, 1, 1]], 2, 3).counts
    wanted = np.array([[8 / 63, 53 / 63, 2 / 63], [37 / 84, 43 / 84, 4 / 84], [8 / 21, 11 / 21, 2 / 21]])
    np.testing.assert_allclose(counts.probs(np.array([[0], [1], [2]])), wanted, atol=1e-15)
    np.testing.assert_allclose(counts.probs(np.array([[-1]])), wanted[2:], atol=1e-15)


def test_documents_do_not_run_into_each_other() -> None:
    """0 1 | 0 1: nothing follows 1, so the law after 1 is the unigram (2 + 2·½)/(4 + 2) = ½; after 0, (2 + ½)/3 = ⅚."""
    counts = predictor([[0, 1], [0, 1]], 2, 2).counts
    np.testing.assert_allclose(counts.probs(np.array([[1], [0]])), [[1 / 2, 1 / 2], [1 / 6, 5 / 6]], atol=1e-15)


def by_definition(documents: list[list[int]], context: tuple[int, ...], token: int, n_tokens: int) -> float:
    """The recursion of the module's docstring, with counting done by looking."""
    below = 1 / n_tokens if not context else by_definition(documents, context[1:], token, n_tokens)
    if not context:
        followers = [t for d in documents for t in d]
    else:
        k = len(context)
        followers = [d[i + k] for d in documents for i in range(len(d) - k) if tuple(d[i : i + k]) == context]
    if not followers:
        return below
    distinct = len(set(followers))
    return (followers.count(token) + distinct * below) / (len(followers) + distinct)


DOCUMENTS = st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=4).filter(
    lambda ds: max(len(d) for d in ds) >= 4
)


@settings(deadline=None, max_examples=60)
@given(documents=DOCUMENTS, order=st.integers(1, 4))
def test_counts_are_what_looking_gives(documents: list[list[int]], order: int) -> None:
    counts = predictor(documents, order, 4).counts
    contexts = np.array(list(itertools.product(range(4), repeat=order - 1)))
    table = counts.probs(contexts)
    np.testing.assert_allclose(table.sum(1), 1, atol=1e-12)
    for context, row in list(zip(contexts, table, strict=True))[::3]:
        wanted = [by_definition(documents, tuple(context.tolist()), x, 4) for x in range(4)]
        np.testing.assert_allclose(row, wanted, atol=1e-12)
        asked = counts.log_prob(np.repeat(context[None], 4, axis=0), np.arange(4))
        np.testing.assert_allclose(asked, np.log(wanted), atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    documents=DOCUMENTS,
    order=st.integers(1, 4),
    sequences=st.lists(st.lists(st.integers(0, 3), max_size=9), min_size=1, max_size=4),
    first=st.integers(0, 5),
)
def test_the_vectorised_sweep_is_the_step_path(
    documents: list[list[int]], order: int, sequences: list[list[int]], first: int
) -> None:
    some = predictor(documents, order, 4)
    asked = [np.array(s, np.int64) for s in sequences]
    for mine, plain in zip(
        some.log_probs(asked, first=first), Predictor.log_probs(some, asked, first=first), strict=True
    ):
        assert len(mine) == len(plain)
        np.testing.assert_allclose(mine, plain, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_byte_ngram_has_a_law_over_all_bytes_and_the_end(order: int) -> None:
    some = byte_ngram(["été", "ete"], order=order, name="n")
    assert some.n_tokens == 257
    assert some.end_ids == (END_BYTE,) == (256,)
    assert some.token_bytes(END_BYTE) == b""
    assert b"".join(some.token_bytes(i) for i in some.encode("été")) == "été".encode()
    law = some.law(some.start([np.array(some.encode("ete")), np.zeros(0, np.int64)]))
    np.testing.assert_allclose(law.probs().sum(1), 1, atol=1e-12)
    assert (law.probs() > 0).all()
    if order > 1:
        assert law.probs()[0].argmax() in (END_BYTE, ord("t"))


def test_the_fingerprint_is_of_the_counts() -> None:
    a, b, c = (predictor([d], 3, 4).counts.fingerprint() for d in ([0, 1, 2], [0, 1, 2], [0, 2, 1]))
    assert a == b != c
    assert predictor([[0, 1, 2]], 2, 4).counts.fingerprint() != a


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(UsageError, match="order must be at least 1"):
        predictor([[0]], 0, 2)
    for nothing in ([], [[]]):
        with pytest.raises(DataError, match="at least one token"):
            NGramCounts([np.array(d, np.int64) for d in nothing], order=2, n_tokens=3)


@pytest.mark.parametrize("documents", [[[0]], [[0, 1], [1]]])
def test_documents_shorter_than_the_order(documents: list[list[int]]) -> None:
    c = NGramCounts([np.array(d) for d in documents], order=3, n_tokens=3)
    np.testing.assert_allclose(c.log_prob(np.array([[0, 1]]), np.array([1])), np.log(c.probs(np.array([[0, 1]]))[:, 1]))
