"""References never profit from having counted what they score."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.errors import UsageError
from freerun.predictors.ngram import NGramCounts, byte_ngram
from freerun.predictors.reference import Alone, Beside, check_shares_tokens, default_reference
from freerun.worlds.markov import MarkovWorld, random_chain

WORLD = MarkovWorld(np.full((26, 26), 1 / 26))


def documents() -> dict[str, list[np.ndarray]]:
    """Every unit repeats a pair of letters that no other unit has."""
    return {f"unit {i}": [np.tile([2 * i, 2 * i + 1], 12), np.array([2 * i, 2 * i + 1])] for i in range(10)}


def test_no_unit_is_scored_by_an_ngram_that_counted_it() -> None:
    """In its own fold each unit's letters are news: the law there is what is left over for ids never seen."""
    reference = default_reference(WORLD, documents(), order=3, n_folds=4)
    for unit, texts in documents().items():
        (own,) = reference.log_probs([unit], texts[:1], first=2)
        (other,) = reference.log_probs(["a test document"], texts[:1], first=2)
        assert reference.names == ("ngram", "cache")
        left_out = [d for u, ds in documents().items() if reference.fold_of[u] != reference.fold_of[unit] for d in ds]
        unigram = NGramCounts(left_out, order=1, n_tokens=26)
        nothing_known = unigram.log_prob(np.zeros((len(own), 0), np.int64), texts[0][2:])
        np.testing.assert_allclose(own[:, 0], nothing_known, atol=1e-12)
        assert (own[:, 0] < np.log(1 / 26)).all()
        assert (other[:, 0] > np.log(0.8)).all()  # the control: a stranger with the same letters does profit


def test_folds_hold_every_unit_once_and_count_the_rest() -> None:
    reference = default_reference(WORLD, documents(), order=2, n_folds=4)
    assert sorted(reference.fold_of) == sorted(documents())
    sizes = np.bincount(list(reference.fold_of.values()))
    assert len(sizes) == len(reference.by_fold) == 4
    assert sizes.max() - sizes.min() <= 1
    for fold, ngram in enumerate(reference.by_fold):
        rest = [d for u, ds in sorted(documents().items()) if reference.fold_of[u] != fold for d in ds]
        assert ngram.counts.fingerprint() == NGramCounts(rest, order=2, n_tokens=26).fingerprint()
    every = [d for _, ds in sorted(documents().items()) for d in ds]
    assert reference.whole.counts.fingerprint() == NGramCounts(every, order=2, n_tokens=26).fingerprint()


def test_rows_keep_their_order_whatever_their_folds() -> None:
    reference = default_reference(WORLD, documents(), order=2)
    rng = np.random.default_rng(0)
    units = [*documents(), "stranger", *documents()]
    texts = [rng.integers(0, 26, n) for n in rng.integers(3, 9, len(units))]
    together = reference.log_probs(units, texts, first=1)
    for unit, text, got in zip(units, texts, together, strict=True):
        (alone,) = reference.log_probs([unit], [text], first=1)
        assert got.shape == (len(text) - 1, 2)
        np.testing.assert_array_equal(got, alone)


def test_two_units_are_two_folds_and_one_is_too_few() -> None:
    two = dict(list(documents().items())[:2])
    assert len(default_reference(WORLD, two).by_fold) == 2
    with pytest.raises(UsageError, match="at least two training documents"):
        default_reference(WORLD, dict(list(documents().items())[:1]))


def test_another_predictor_alone_is_taken_as_it_is() -> None:
    reference = Alone(WORLD)
    (got,) = reference.log_probs(["u"], [np.array([1, 2, 3])], first=1)
    np.testing.assert_allclose(got, np.full((2, 1), np.log(1 / 26)), atol=1e-12)
    assert reference.names == (WORLD.identity.name,)
    assert reference.fingerprint == WORLD.identity.fingerprint


def test_a_reference_with_other_tokens_is_refused() -> None:
    bytes_model = byte_ngram(["some text"], order=2, name="ngram/2@x")
    check_shares_tokens(bytes_model, byte_ngram(["another"], order=3, name="ngram/3@y"))
    shifted = byte_ngram(["another"], order=3, name="ngram/3@y")
    shifted._token_bytes = lambda i: bytes([(i + 1) % 256])
    with pytest.raises(UsageError, match="does not share the tokens"):
        check_shares_tokens(bytes_model, shifted)
    other = byte_ngram(["another"], order=3, name="ngram/3@y")
    other.n_tokens = 64
    with pytest.raises(UsageError, match=r"does not share the tokens of ngram/2@x \(64 against 257 ids\)"):
        check_shares_tokens(bytes_model, other)


def test_an_id_that_the_reference_lacks_ends_what_it_can_write() -> None:
    """From the first such id on its log-probability is −inf; before it nothing changes."""
    from freerun.organisms.absorbing import Triggered

    check_shares_tokens(Triggered(WORLD, epsilon=0.1, name="absorbing"), WORLD)
    texts = [np.array([1, 2, 26, 3]), np.array([1, 2, 3, 4]), np.array([26, 1])]
    got = Beside(Alone(WORLD), (WORLD,)).log_probs(["u"] * 3, texts, first=1)
    flat = np.log(1 / 26)
    for line, wanted in zip(got, ([flat, -np.inf, -np.inf], [flat] * 3, [-np.inf]), strict=True):
        np.testing.assert_allclose(line, np.array([wanted, wanted]).T)


def test_the_fingerprint_follows_the_text() -> None:
    some = documents()
    a = default_reference(WORLD, some).fingerprint
    some["unit 3"] = [some["unit 3"][0][::-1]]
    assert default_reference(WORLD, some).fingerprint != a
    assert (
        default_reference(random_chain(26), documents()).fingerprint == a
    )  # the counts, not the model that lends its ids
