"""What texts are counted in, tokens or words, and how these are spelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Int

from freerun.specs.tokenizers import Tokenizer
from freerun.text.words import WordIds

_NO_DIGITS = b" \t\r\n\x0b\x0c"


class Spelling(Protocol):
    """The unit of texts: how text becomes ids, and ids text."""

    unit: str
    """`tokens` or `words`."""
    name: str | None
    """Of the tokenizer, where there is one."""
    end_ids: frozenset[int]
    """Ids that stand for no text: an end of text is one of them."""

    def encode(self, texts: Sequence[str]) -> list[Int[np.ndarray, " _tokens"]] | None:
        """Ids of texts; None: there is no way from text to these ids."""
        ...

    def phrase(self, ids: Int[np.ndarray, " _tokens"]) -> str:
        """Ids as people read them."""
        ...

    def numbers(self, ids: Int[np.ndarray, " tokens"]) -> Bool[np.ndarray, " tokens"] | None:
        """Which are written in digits alone; None: not known."""
        ...


class ByTokenizer:
    """Tokens of a named model."""

    unit = "tokens"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.name: str | None = tokenizer.name
        self.end_ids = tokenizer.special_ids

    def encode(self, texts: Sequence[str]) -> list[Int[np.ndarray, " _tokens"]] | None:
        return self._tokenizer.encode(texts)

    def phrase(self, ids: Int[np.ndarray, " _tokens"]) -> str:
        return b"".join(self._tokenizer.token_bytes(int(i)) for i in ids).decode("utf-8", "replace")

    def numbers(self, ids: Int[np.ndarray, " tokens"]) -> Bool[np.ndarray, " tokens"] | None:
        """A token of digits may have white space around them."""
        present, place = np.unique(ids, return_inverse=True)
        return np.asarray(np.array([self._is_number(int(i)) for i in present], bool)[place])

    def _is_number(self, token_id: int) -> bool:
        """Not of ids beyond the vocabulary: those stand for tokens that were not drawn."""
        try:
            return self._tokenizer.token_bytes(token_id).strip(_NO_DIGITS).isdigit()
        except (LookupError, ValueError, OverflowError):
            return False


class InWords:
    """Words, where there is no tokenizer."""

    unit = "words"
    name: str | None = None
    end_ids: frozenset[int] = frozenset()

    def __init__(self) -> None:
        self._words = WordIds()

    def encode(self, texts: Sequence[str]) -> list[Int[np.ndarray, " _tokens"]] | None:
        return self._words.encode(texts)

    def phrase(self, ids: Int[np.ndarray, " _tokens"]) -> str:
        return self._words.spell(ids.tolist())

    def numbers(self, ids: Int[np.ndarray, " tokens"]) -> Bool[np.ndarray, " tokens"] | None:
        return np.asarray(self._words.are_numbers()[ids])


class BareIds:
    """Ids of a tokenizer that is not known."""

    unit = "tokens"
    name: str | None = None
    end_ids: frozenset[int] = frozenset()

    def encode(self, texts: Sequence[str]) -> list[Int[np.ndarray, " _tokens"]] | None:
        return None

    def phrase(self, ids: Int[np.ndarray, " _tokens"]) -> str:
        shown = " ".join(map(str, ids[:12].tolist()))
        return f"ids {shown}{' …' if ids.size > 12 else ''}"

    def numbers(self, ids: Int[np.ndarray, " tokens"]) -> Bool[np.ndarray, " tokens"] | None:
        return None
