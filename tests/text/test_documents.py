"""Corpora: what counts as the same document, and what the fingerprint sees."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freerun.errors import DataError
from freerun.text.documents import Corpus, Document, assemble, fingerprint


def corpus_of(*texts: str) -> Corpus:
    return assemble([Document(f"d{i}", text, f"d{i}") for i, text in enumerate(texts)], name="n", spec="s")


def test_the_first_of_duplicates_stays_and_empty_documents_go() -> None:
    corpus = corpus_of("a", "b", " a\n", "", " \n", "b")
    assert [document.id for document in corpus.documents] == ["d0", "d1"]
    assert corpus.n_duplicates == 2
    assert corpus.notes == ("2 empty documents dropped", "2 exact duplicates dropped")
    assert corpus.independent


def test_the_fingerprint_is_sha256_of_length_prefixed_id_unit_text() -> None:
    expected = hashlib.sha256("2:d02:d03:é!".encode()).hexdigest()
    assert corpus_of("é!").fingerprint == expected


def test_the_fingerprint_sees_order_unit_field_borders_and_ids() -> None:
    a, b = Document("a", "x", "u"), Document("b", "y", "u")
    seen = {
        fingerprint(documents)
        for documents in (
            [a, b],
            [b, a],
            [a],
            [Document("a", "x", "v"), b],
            [Document("au", "x", ""), b],
            [Document("a", "x", "u", ids=(1, 2)), b],
            [Document("a", "x", "u", ids=(12,)), b],
        )
    }
    assert len(seen) == 7


def test_a_repeated_id_is_numbered_and_stays_in_its_unit() -> None:
    documents = [Document("a", "1", "a"), Document("a#2", "2", "a#2"), Document("a", "3", "a"), Document("a", "4", "a")]
    corpus = assemble(documents, name="n", spec="s")
    assert [document.id for document in corpus.documents] == ["a", "a#2", "a#3", "a#4"]
    assert [document.unit for document in corpus.documents] == ["a", "a#2", "a", "a"]
    assert "2 repeated ids" in corpus.notes[0]
    assert corpus.n_units == 2


def test_samples_of_a_world_may_repeat() -> None:
    corpus = assemble([Document(f"{i}", "", f"{i}", ids=(0, 1)) for i in range(3)], name="n", spec="s")
    assert len(corpus.documents) == 3
    assert corpus.n_duplicates == 0


def test_nothing_but_empty_documents_is_an_error() -> None:
    with pytest.raises(DataError, match=r"'s' holds no text") as caught:
        corpus_of("", "\n")
    assert caught.value.exit_code == 4


@given(st.lists(st.text("aé\u2028\U0001f600 \n", max_size=3), min_size=1))
def test_every_text_is_kept_once_in_order(texts: list[str]) -> None:
    corpus = corpus_of("always", *texts)
    kept = [document.text.strip() for document in corpus.documents]
    distinct = list(dict.fromkeys(text.strip() for text in ["always", *texts] if text.strip()))
    assert kept == distinct
