"""Words of a text, where there is no tokenizer: runs of letters, runs of digits, single signs and line breaks."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

_ALONE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Scripts that are written without spaces: each character counts as a word."""
_WORD = re.compile(rf"\d+|[{_ALONE}]|[^\W\d{_ALONE}]+|\n|[^\w\s]")


def words_of(text: str) -> list[str]:
    """The words of a text in order; spaces are none, a line break is one.

    >>> words_of("Step 10: go!\\nagain, 東京")
    ['Step', '10', ':', 'go', '!', '\\n', 'again', ',', '東', '京']
    """
    return _WORD.findall(text)


class WordIds:
    """Numbers for words, given in the order in which they come; the same for all texts."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._words: list[str] = []

    def encode(self, texts: Sequence[str]) -> list[Int[np.ndarray, " _words"]]:
        """The words of each text as numbers."""
        return [np.fromiter(map(self._number, words_of(text)), np.int32) for text in texts]

    def spell(self, ids: Sequence[int]) -> str:
        """Words by their numbers, with a space between two of them.

        >>> words = WordIds()
        >>> words.spell(words.encode(["Go on,   go"])[0].tolist())
        'Go on , go'
        """
        return " ".join(self._words[i] for i in ids)

    def are_numbers(self) -> Bool[np.ndarray, " vocabulary"]:
        """Which of the words so far are written in digits alone."""
        return np.array([word.isdecimal() for word in self._words], bool)

    def _number(self, word: str) -> int:
        number = self._numbers.setdefault(word, len(self._words))
        if number == len(self._words):
            self._words.append(word)
        return number
