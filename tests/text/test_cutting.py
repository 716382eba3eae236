"""Cutting texts into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freerun.errors import DataError, UsageError
from freerun.text.cutting import UNITS_THAT_STAND_ALONE, chunks, cut_documents, split_at, unescape
from freerun.text.documents import Document


def test_chunks_end_after_white_space_and_words_that_are_too_long_are_cut_hard() -> None:
    assert chunks("aa bb cc", 6) == ["aa bb ", "cc"]
    assert chunks("abcdefg h", 3) == ["abc", "def", "g h"]
    assert chunks("abc", 3) == ["abc"]


@given(st.text("ab \n", max_size=60), st.integers(1, 20))
def test_chunks_joined_are_the_text_and_none_is_too_long(text: str, size: int) -> None:
    pieces = chunks(text, size)
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= size for piece in pieces)
    for piece in pieces[:-1]:
        assert piece[-1].isspace() or not any(character.isspace() for character in piece)


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1))
def test_splitting_undoes_joining(parts: list[str]) -> None:
    assert split_at("\n--\n".join(parts), "\n--\n") == parts


def test_separators_are_typed_with_escapes() -> None:
    assert unescape(r"\n\t\\n|\d") == "\n\t\\n|\\d"


def test_pieces_of_one_text_are_units_that_are_not_independent() -> None:
    pieces, independent, note = cut_documents([Document("a", "x|y| |z", "a")], split_on="|", chunk_chars=None, spec="s")
    assert [(piece.id, piece.unit, piece.text) for piece in pieces] == [
        ("a#1", "a#1", "x"),
        ("a#2", "a#2", "y"),
        ("a#3", "a#3", "z"),
    ]
    assert not independent
    assert "1 document cut into 3 pieces (--split-on '|')" in note
    assert "not independent" in note


def test_with_enough_units_the_pieces_keep_theirs() -> None:
    documents = [Document(f"d{i}", "one two three four", f"d{i}") for i in range(UNITS_THAT_STAND_ALONE)]
    pieces, independent, note = cut_documents(documents, split_on=None, chunk_chars=8, spec="s")
    assert independent
    assert {piece.unit for piece in pieces} == {document.unit for document in documents}
    assert len({piece.id for piece in pieces}) == len(pieces) > len(documents)
    assert "stay in one unit" in note


def test_both_cuts_may_be_asked_for() -> None:
    pieces, _, _ = cut_documents([Document("a", "one two|three", "a")], split_on="|", chunk_chars=4, spec="s")
    assert [piece.text for piece in pieces] == ["one ", "two", "thre", "e"]


@pytest.mark.parametrize(
    ("split_on", "chunk_chars", "said"),
    [("", None, r"--split-on '' is empty.*\\n"), (None, 0, r"--chunk 0 is too small"), (None, -3, r"--chunk -3")],
)
def test_senseless_flags(split_on: str | None, chunk_chars: int | None, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        cut_documents([Document("a", "x y", "a")], split_on=split_on, chunk_chars=chunk_chars, spec="s")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("split_on", "chunk_chars", "said"),
    [("@@", None, "--split-on '@@' cuts nothing in 's'.*--chunk"), (None, 99, "--chunk 99 cuts nothing.*3 characters")],
)
def test_a_cut_that_cuts_nothing(split_on: str | None, chunk_chars: int | None, said: str) -> None:
    with pytest.raises(DataError, match=said):
        cut_documents([Document("a", "x y", "a")], split_on=split_on, chunk_chars=chunk_chars, spec="s")
