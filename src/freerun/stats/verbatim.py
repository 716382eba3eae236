"""Copied text: runs of tokens that two texts share."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from freerun.stats.ngrams import ngram_codes


def longest_common_run(a: Int[np.ndarray, " tokens_a"], b: Int[np.ndarray, " tokens_b"]) -> int:
    """Return the length in tokens of the longest contiguous run that stands in both texts; 0 if they share no token.

    One pass over the shorter text, vectorised over the longer: 4096 x 4096 tokens take some 40 ms.

    >>> longest_common_run(np.array([1, 2, 3, 4]), np.array([9, 2, 3, 9]))
    2
    """
    short, long = sorted((np.asarray(a), np.asarray(b)), key=np.size)
    runs = np.zeros(long.size + 1, dtype=np.int32)  # runs[j]: common run that ends at the current token and long[j - 1]
    longest = 0
    for token in short.tolist():
        runs[1:] = (runs[:-1] + 1) * (long == token)
        longest = max(longest, int(runs.max()))
    return longest


def runs_at_least(
    a: Int[np.ndarray, " tokens_a"], b: Int[np.ndarray, " tokens_b"], n: int
) -> Bool[np.ndarray, " tokens_a"]:
    """Mark the tokens of `a` that lie in a run of at least n tokens which also stands in `b`.

    Raises DataError for n below 1.

    >>> runs_at_least(np.array([1, 2, 3, 4]), np.array([9, 2, 3, 9]), 2).tolist()
    [False, True, True, False]
    """
    a, b = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    separator = np.array([1 + max(a.max(initial=0), b.max(initial=0))])
    codes = ngram_codes(np.concatenate((a, separator, b)), n)
    starts = max(a.size - n + 1, 0)
    shared = np.isin(codes[:starts], codes[a.size + 1 :])
    change = np.zeros(a.size + 1, dtype=np.int64)
    np.add.at(change, np.flatnonzero(shared), 1)
    np.add.at(change, np.flatnonzero(shared) + n, -1)
    return np.asarray(np.cumsum(change)[:-1] > 0)
