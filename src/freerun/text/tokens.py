"""Tokens as bytes and as text, and how far a token string is the one its text would get."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Ids = Sequence[int] | npt.NDArray[np.integer]
"""Token ids, one dimension."""


def byte_lengths(token_bytes: Callable[[int], bytes], ids: Ids) -> npt.NDArray[np.int32]:
    """Return how many bytes of text each token stands for, in the shape of `ids`; special tokens may stand for none.

    >>> byte_lengths(lambda token: b"ab" * token, [0, 1, 3])
    array([0, 2, 6], dtype=int32)
    """
    values, inverse = np.unique(np.asarray(ids, dtype=np.int64), return_inverse=True)
    lengths = np.array([len(token_bytes(int(value))) for value in values], dtype=np.int32)
    return lengths[inverse]


def decode_lossy(token_bytes: Callable[[int], bytes], ids: Ids) -> str:
    """Return the tokens' bytes, joined, as text; bytes that are not UTF-8 (half a character at a cut) become U+FFFD."""
    return b"".join(token_bytes(int(token)) for token in ids).decode("utf-8", errors="replace")


def canonical_share(encode: Callable[[str], Sequence[int]], decode: Callable[[Sequence[int]], str], ids: Ids) -> float:
    """Return the share of the tokens that re-encoding their text reproduces, from 0 to 1.

    Precisely: the length of the longest common subsequence of `ids` and `encode(decode(ids))`, divided by the length of
    the longer of the two. It is 1.0 if and only if both are the same; for no tokens that encode to none it is 1.0.

    >>> spelled = {1: "a", 2: "b", 3: "ab"}
    >>> encode = lambda text: [3] * text.count("ab")
    >>> canonical_share(encode, lambda ids: "".join(spelled[i] for i in ids), [3, 1, 2])
    0.3333333333333333
    """
    own = [int(token) for token in ids]
    again = [int(token) for token in encode(decode(own))]
    longer = max(len(own), len(again))
    return 1.0 if longer == 0 else _longest_common_subsequence(own, again) / longer


def _longest_common_subsequence(a: list[int], b: list[int]) -> int:
    """Return the length of the longest common subsequence, a row of the table as the bits of one integer (Allison & Dix 1986)."""
    places: defaultdict[int, int] = defaultdict(int)
    for i, token in enumerate(a):
        places[token] |= 1 << i
    row = 0
    for token in b:
        reached = row | places.get(token, 0)
        row = reached & ((reached - (row << 1 | 1)) ^ reached)
    return row.bit_count()
