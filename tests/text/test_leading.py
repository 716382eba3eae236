"""The first tokens of a long text are those of the whole text."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freerun.text.documents import Document
from freerun.text.leading import CHARACTERS_PER_TOKEN, DROPPED_TOKENS, leading_tokens


def characters(text: str) -> list[int]:
    return [ord(character) for character in text]


def words(text: str) -> list[int]:
    """White space goes with the word after it, as in GPT-2."""
    return [zlib.crc32(word.encode()) & 0xFFFF for word in re.findall(r"\s*\S+|\s+", text)]


def pair_merges(text: str) -> list[int]:
    """Byte-pair merges by rank over the whole text, across white space too: a cut changes what is near it."""
    tokens = list(text)
    for merge in ("aa", "aaaa", "ab", "b ", " a", "\n\n", "ab a"):
        merged: list[str] = []
        for token in tokens:
            if merged and merged[-1] + token == merge:
                merged[-1] = merge
            else:
                merged.append(token)
        tokens = merged
    return [zlib.crc32(token.encode()) & 0xFFFF for token in tokens]


@pytest.mark.parametrize("encode", [characters, words, pair_merges])
@given(text=st.text("ab \n", min_size=1, max_size=30), repeats=st.integers(1, 60), wanted=st.integers(1, 12))
def test_a_cut_text_gives_the_tokens_of_the_whole(
    encode: Callable[[str], list[int]], text: str, repeats: int, wanted: int
) -> None:
    whole = encode(text * repeats)
    found = leading_tokens(Document("d", text * repeats, "d"), encode, wanted)
    assert found.ids.tolist() == whole[:wanted]
    assert min(len(whole), wanted) <= found.n_tokens
    if len(whole) <= wanted:
        assert found.n_tokens == len(whole)


def test_a_long_text_is_not_encoded_to_its_end_and_its_length_is_extrapolated() -> None:
    seen = []

    def encode(text: str) -> list[int]:
        seen.append(len(text))
        return words(text)

    found = leading_tokens(Document("d", "four " * 200_000, "d"), encode, 100)
    assert max(seen) < 2_000
    assert found.n_tokens == pytest.approx(200_000, rel=0.01)


def test_sparse_tokens_are_encoded_again_with_more_text() -> None:
    text = ("x" * 200 + " ") * 500
    found = leading_tokens(Document("d", text, "d"), words, 50)
    assert found.ids.tolist() == words(text)[:50]


def test_own_ids_go_before_the_text() -> None:
    found = leading_tokens(Document("d", "text", "d", ids=(5, 6, 7)), words, 2)
    assert found.ids.tolist() == [5, 6]
    assert found.n_tokens == 3


def test_the_token_that_the_cut_falls_in_is_never_used() -> None:
    """Tokens of 14 characters: the first cut gives just the hundred that are wanted, the last of them cut in half."""

    def blocks(text: str) -> list[int]:
        return [zlib.crc32(text[i : i + 14].encode()) & 0xFFFF for i in range(0, len(text), 14)]

    text = "x" * 10_000
    n_first = CHARACTERS_PER_TOKEN * (100 + DROPPED_TOKENS)
    assert len(blocks(text[:n_first])) == 100
    assert blocks(text[:n_first]) != blocks(text)[:100]
    assert leading_tokens(Document("d", text, "d"), blocks, 100).ids.tolist() == blocks(text)[:100]
