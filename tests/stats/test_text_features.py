"""Byte n-grams: what they see, and that test texts do not shape them."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.errors import TooFewDocuments
from freerun.stats.detection.text_features import byte_ngram_features
from freerun.stats.detection.two_sample import detect


def texts(rng: np.random.Generator, n: int, words: list[str], length: int = 40) -> list[bytes]:
    return [" ".join(rng.choice(words, length)).encode() for _ in range(n)]


def test_two_vocabularies_are_told_apart_and_one_is_not() -> None:
    """60 texts a side; words of two kinds in other shares. The null AUC of 30 test units has standard error 0.075: outside
    0.5 ± 0.3 with probability 1e-4."""
    rng = np.random.default_rng(0)
    train = np.arange(60) < 30
    a, b = texts(rng, 60, ["alpha", "beta", "gamma"]), texts(rng, 60, ["alpha", "beta", "delta"])
    same = texts(rng, 60, ["alpha", "beta", "gamma"])
    for other, low, high in ((b, 0.95, 1.0), (same, 0.2, 0.8)):
        x = byte_ngram_features([*a, *other], np.concatenate([train, train]))
        found = detect(x[:60], x[60:][:, None], train=train, rng=np.random.default_rng(1))
        assert low <= found.auc.value <= high


def test_test_texts_do_not_shape_the_features() -> None:
    rng = np.random.default_rng(2)
    train = np.arange(20) < 12
    first = texts(rng, 20, ["one", "two", "three"])
    other = [*first[:12], *texts(rng, 8, ["entirely", "different"])]
    a, b = byte_ngram_features(first, train), byte_ngram_features(other, train)
    np.testing.assert_allclose(a[:12], b[:12], atol=1e-12)
    assert a.shape[1] == 3  # a quarter of the training texts


def test_directions_are_those_of_a_singular_value_decomposition() -> None:
    """The Gram matrix of the features is the best of its rank: its error is the rest of the spectrum."""
    rng = np.random.default_rng(3)
    every = np.ones(16, bool)
    some = texts(rng, 16, ["red", "green", "blue", "black"], length=9)
    whole = byte_ngram_features(some, every, components=1000)
    few = byte_ngram_features(some, every, components=2)
    assert whole.shape[1] == 4
    np.testing.assert_allclose(np.abs(few), np.abs(whole[:, :2]), atol=1e-9)
    assert (np.diff((whole**2).sum(axis=0)) <= 1e-9).all()


def test_too_few_and_empty_texts() -> None:
    with pytest.raises(TooFewDocuments):
        byte_ngram_features([b"a"] * 3, np.ones(3, bool))
    assert np.isfinite(byte_ngram_features([b""] * 5, np.ones(5, bool))).all()


def test_an_eigensolver_may_turn_equal_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words that stand in equally many short texts share an eigenvalue, and which vectors it has depends on the processor."""
    texts = [
        w.encode() for w in ["aa"] * 6 + ["bb"] * 4 + ["cc"] * 4 + ["dd", "ee", "ff", "gg", "hh", "ii", "jj", "kk"]
    ]
    train = np.ones(len(texts), dtype=bool)
    train[::5] = False
    plain = byte_ngram_features(texts, train)
    solve, rng = np.linalg.eigh, np.random.default_rng(0)

    def turned(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = solve(gram)
        for group in np.split(np.arange(values.size), np.flatnonzero(np.diff(values) > 1e-9) + 1):
            vectors[:, group] = vectors[:, group] @ np.linalg.qr(rng.standard_normal((group.size, group.size)))[0]
        return values, vectors

    monkeypatch.setattr(np.linalg, "eigh", turned)
    again = byte_ngram_features(texts, train)
    assert again.shape == plain.shape
    np.testing.assert_allclose(again, plain, atol=1e-9)
    spread = np.square(plain[train]).sum(axis=0)
    assert len(spread) < train.sum() // 4, "equal directions beyond the limit are left together"


def test_texts_that_have_nothing_in_common_have_no_main_direction() -> None:
    texts = [bytes([65 + i]) for i in range(20)]
    assert (byte_ngram_features(texts, np.ones(20, dtype=bool)) == 0).all()
