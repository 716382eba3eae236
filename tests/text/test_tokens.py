"""Bytes of tokens, their text, and canonical token strings."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from freerun.text.tokens import byte_lengths, canonical_share, decode_lossy

SPELLED = ["a", "b", "ab", "é"]


def encode(text: str) -> list[int]:
    """Greedy longest match."""
    ids = []
    while text:
        token = max((t for t, s in enumerate(SPELLED) if text.startswith(s)), key=lambda t: len(SPELLED[t]))
        ids.append(token)
        text = text[len(SPELLED[token]) :]
    return ids


def decode(ids: object) -> str:
    return "".join(SPELLED[int(token)] for token in ids)  # type: ignore[attr-defined]


def test_byte_lengths_by_hand() -> None:
    lengths = byte_lengths(lambda token: SPELLED[token].encode(), np.array([3, 0, 2, 3]))
    assert lengths.dtype == np.int32
    assert lengths.tolist() == [2, 1, 2, 2]
    assert byte_lengths(lambda token: b"", []).tolist() == []


def test_half_a_character_becomes_the_replacement_character() -> None:
    token_bytes = [b"a\xc3", b"\xa9", b""].__getitem__
    assert decode_lossy(token_bytes, [0, 2, 1]) == "aé"
    assert decode_lossy(token_bytes, [0]) == "a\ufffd"


def test_canonical_share_by_hand() -> None:
    assert canonical_share(encode, decode, [2, 3, 0]) == 1.0
    # a b é a -> ab é a: two of four tokens are as they would be
    assert canonical_share(encode, decode, [0, 1, 3, 0]) == 0.5
    # two faults far apart cost only themselves: é ab é a b é -> é ab é ab é
    assert canonical_share(encode, decode, [3, 2, 3, 0, 1, 3]) == 4 / 6
    assert canonical_share(encode, decode, []) == 1.0


@given(st.lists(st.integers(0, 3), max_size=30))
def test_canonical_share_is_one_only_for_the_canonical_string(ids: list[int]) -> None:
    share = canonical_share(encode, decode, np.array(ids, dtype=np.int32))
    assert 0.0 <= share <= 1.0
    assert (share == 1.0) == (encode(decode(ids)) == ids)


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_canonical_share_is_the_longest_common_subsequence(own: list[int], again: list[int]) -> None:
    table = np.zeros((len(own) + 1, len(again) + 1), dtype=int)
    for i, a in enumerate(own):
        for j, b in enumerate(again):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    longer = max(len(own), len(again))
    expected = table[-1, -1] / longer if longer else 1.0
    assert canonical_share(lambda text: again, lambda ids: "", own) == expected
