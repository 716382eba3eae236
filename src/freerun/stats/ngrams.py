"""n-grams of token ids as small integers: equal n-grams get equal codes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from freerun.errors import DataError


def ngram_codes(ids: Int[np.ndarray, " tokens"], n: int) -> Int[np.ndarray, " grams"]:
    """Number the n-grams of a text so that two codes are equal exactly when the n-grams are.

    Codes are exact (no hashing) and mean nothing outside one call; there are `max(tokens - n + 1, 0)` of them.
    To compare two texts, code them in one call with a separator id that occurs in neither.

    Raises DataError for n below 1 or ids that are not one-dimensional.

    >>> ngram_codes(np.array([7, 8, 7, 8]), 2).tolist()
    [0, 1, 0]
    """
    if n < 1:
        raise DataError(f"n is {n}; an n-gram has at least 1 token")
    ids = np.asarray(ids)
    if ids.ndim != 1:
        raise DataError(f"ids has {ids.ndim} dimensions; one text is a one-dimensional array of token ids")
    if ids.size < n:
        return np.zeros(0, dtype=np.int64)
    unigram = np.unique(ids, return_inverse=True)[1].astype(np.int64)
    codes = unigram
    width = 1
    while width < n:  # doubling: the code of width + step is a pair of codes of width
        step = min(width, n - width)
        pairs = codes[: codes.size - step] * np.int64(ids.size) + codes[step:]
        codes = np.unique(pairs, return_inverse=True)[1].astype(np.int64)
        width += step
    return codes
