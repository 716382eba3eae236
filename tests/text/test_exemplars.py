"""Exemplars: from other units of the train side only, equally long, and the same whatever else is in the corpus."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.errors import TooFewDocuments, UsageError
from freerun.text.documents import Document, assemble
from freerun.text.exemplars import Exemplars, with_exemplars
from freerun.text.pairs import PairSet, cut_pairs, numbered


def cut(n: int = 40, seed: int = 0) -> PairSet:
    """Document i says its own number over and over, so that each token tells whom it comes from."""
    documents = [Document(f"d{i}", f"{i} " * 60, f"u{i % (n - 4)}", ids=(i,) * 60) for i in range(n)]
    return cut_pairs(
        assemble(documents, name="n", spec="s"),
        lambda text: [],
        n_documents=n,
        prefix_tokens=6,
        continuation_tokens=10,
        seed=seed,
    )


def test_who_is_shown_to_whom() -> None:
    pairs, told = with_exemplars(cut(), 3, separator=(99,), window=None, seed=0)
    assert told == Exemplars(3, 16, (99,))
    train = {p.unit for p in pairs.pairs if p.split == "train"}
    for pair in pairs.pairs:
        parts = pair.before.reshape(3, 17)
        assert (parts[:, -1] == 99).all()
        assert (parts[:, :-1] == parts[:, :1]).all()  # each from one document
        shown = [f"u{number % 36}" for number in parts[:, 0]]
        assert len(set(shown)) == 3
        assert pair.unit not in shown
        assert set(shown) <= train
        assert np.array_equal(pair.context, np.concatenate([pair.before, pair.prefix]))


def test_the_pairs_themselves_stay_and_the_seed_matters() -> None:
    plain = cut()
    pairs, _ = with_exemplars(plain, 2, separator=(), window=None, seed=0)
    for mine, other in zip(pairs.pairs, plain.pairs, strict=True):
        assert (mine.document_id, mine.unit, mine.split) == (other.document_id, other.unit, other.split)
        assert mine.prefix is other.prefix
        assert mine.continuation is other.continuation
        assert other.context is other.prefix
    again, _ = with_exemplars(plain, 2, separator=(), window=None, seed=0)
    other_seed, _ = with_exemplars(plain, 2, separator=(), window=None, seed=1)
    assert all(np.array_equal(a.before, b.before) for a, b in zip(pairs.pairs, again.pairs, strict=True))
    assert not all(np.array_equal(a.before, b.before) for a, b in zip(pairs.pairs, other_seed.pairs, strict=True))


def test_exemplars_are_cut_so_that_all_fits_into_the_window() -> None:
    pairs, told = with_exemplars(cut(), 2, separator=(99,), window=48, seed=0)
    assert told.tokens == 15  # (48 − 16) // 2 − 1
    assert {len(p.context) + len(p.continuation) for p in pairs.pairs} == {48}
    with pytest.raises(UsageError, match="--exemplars 4 does not fit: the model sees 48 tokens"):
        with_exemplars(cut(), 4, separator=(99,), window=48, seed=0)


def test_too_few_others() -> None:
    with pytest.raises(TooFewDocuments, match="needs at least 31 train units, and there are 18"):
        with_exemplars(cut(), 30, separator=(), window=None, seed=0)


def test_numbers_for_names() -> None:
    pairs, units = numbered(cut())
    assert [p.document_id for p in pairs.pairs] == [f"document {n}" for n in range(1, 41)]
    assert sorted(units.values()) == sorted({p.unit for p in pairs.pairs})
    plain = cut()
    for mine, other in zip(pairs.pairs, plain.pairs, strict=True):
        assert mine.unit == units[other.unit]
