"""A cut beyond the prefix: the same documents, split and continuations for every prefix."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.errors import DataError, UsageError
from freerun.text.documents import Corpus, Document, assemble
from freerun.text.pairs import PairSet, cut_pairs, usable_units


def corpus(*lengths: int) -> Corpus:
    documents = [Document(f"d{i}", "", f"u{i}", ids=tuple(range(100 * i, 100 * i + n))) for i, n in enumerate(lengths)]
    return assemble(documents, name="n", spec="s")


def cut(text: Corpus, prefix: int, at: int | None, tokens: int | None = 3) -> PairSet:
    return cut_pairs(
        text,
        lambda words: [],
        n_documents=9,
        prefix_tokens=prefix,
        cut_tokens=at,
        continuation_tokens=tokens,
        seed=0,
        minimum_units=2,
    )


def test_the_prefix_is_what_stands_before_the_cut() -> None:
    text = corpus(*[12] * 8)
    for prefix in (0, 2, 7):
        for pair in cut(text, prefix, 7).pairs:
            start = 100 * int(pair.document_id[1:])
            assert pair.prefix.tolist() == list(range(start + 7 - prefix, start + 7))
            assert pair.continuation.tolist() == [start + 7, start + 8, start + 9]
            assert not pair.prefix.flags.writeable


def test_every_prefix_has_the_same_documents_in_the_same_places() -> None:
    text = corpus(5, 8, 10, 11, 12, 20, 20, 20)
    one, two, plain = cut(text, 1, 7), cut(text, 7, 7), cut(text, 7, None)
    for a, b, c in zip(one.pairs, two.pairs, plain.pairs, strict=True):
        assert (a.document_id, a.split, a.continuation.tolist()) == (b.document_id, b.split, b.continuation.tolist())
        assert np.array_equal(b.prefix, c.prefix)
    assert one.train_documents == two.train_documents == plain.train_documents
    assert (one.n_documents, one.n_too_short, one.n_at_risk, one.n_ended_in_window) == (5, 3, 7, 2)
    assert (one.cut_tokens, one.prefix_tokens, plain.cut_tokens) == (7, 1, 7)


def test_how_many_would_be_left() -> None:
    assert usable_units(corpus(5, 8, 10, 11, 12, 20), lambda words: [], [4, 10, 19, 20]) == [6, 3, 1, 0]


def test_a_cut_inside_the_prefix_is_refused_and_a_far_one_says_who_is_short() -> None:
    with pytest.raises(UsageError, match="--cut 3 lies inside the prefix of 5 tokens; give at least 5"):
        cut(corpus(*[12] * 8), 5, 3)
    with pytest.raises(DataError, match="needs 104 tokens, the longest has 12"):
        cut(corpus(*[12] * 8), 5, 100)
