"""The first tokens of a document, and how many it has, without encoding a megabyte to get at a hundred."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from freerun.text.documents import Document

Encode = Callable[[str], Sequence[int]]
"""Text to token ids, without special tokens."""

CHARACTERS_PER_TOKEN = 12
"""So much text is encoded at first for each token wanted; three times what prose needs."""

DROPPED_TOKENS = 16
"""The last tokens of a cut text may differ from those of the whole; so many are never used."""


@dataclass(frozen=True)
class Leading:
    """The first `ids` (int32) of a document, and the number of tokens it has in all.

    `n_tokens` is exact where the text was encoded to its end; else it is extrapolated from the characters per token so
    far, and never below the tokens seen.
    """

    ids: npt.NDArray[np.int32]
    n_tokens: int


def leading_tokens(document: Document, encode: Encode, wanted: int) -> Leading:
    """Return the first `wanted` tokens (fewer if it has no more): those that encoding the whole text would give."""
    if document.ids is not None:
        return Leading(_array(document.ids[:wanted]), len(document.ids))
    text = document.text
    n_characters = CHARACTERS_PER_TOKEN * (wanted + DROPPED_TOKENS)
    while n_characters < len(text):
        part = text[: _word_end(text, n_characters)]
        ids = encode(part)
        if len(ids) - DROPPED_TOKENS >= wanted:
            return Leading(_array(ids[:wanted]), max(len(ids), round(len(ids) * len(text) / len(part))))
        n_characters *= 4
    ids = encode(text)
    return Leading(_array(ids[:wanted]), len(ids))


def _word_end(text: str, limit: int) -> int:
    """Return a place to cut up to `limit`, before white space if its second half has some: few tokenizers cross it."""
    end = limit
    while end > limit // 2 and not (text[end].isspace() and not text[end - 1].isspace()):
        end -= 1
    return end if end > limit // 2 else limit


def _array(ids: Sequence[int]) -> npt.NDArray[np.int32]:
    array = np.array(ids, dtype=np.int32)
    array.setflags(write=False)
    return array
