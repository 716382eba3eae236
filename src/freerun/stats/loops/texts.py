"""Many texts as token ids, one after another, and the same texts with every number written as one sign."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from freerun.errors import DataError


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts one after another: `ids` of all of them, prompts included, and where each text ends in it.

    The first `prompts` ids of a text are history: loops may begin there, and none is counted before the text is past them. Texts of
    one group may depend on each other in any way. `numbers` says which tokens are written in digits alone; None: not known.

    Raises DataError for columns of different length, ids below 0, or a text with nothing after its prompt.
    """

    ids: Int[np.ndarray, " tokens"]
    ends: Int[np.ndarray, " texts"]
    prompts: Int[np.ndarray, " texts"]
    ended: Bool[np.ndarray, " texts"]
    """Whether it ended by itself; else it was cut off."""
    groups: Int[np.ndarray, " texts"]
    numbers: Bool[np.ndarray, " tokens"] | None = None

    def __post_init__(self) -> None:
        if not self.ends.shape == self.prompts.shape == self.ended.shape == self.groups.shape:
            raise DataError(f"{self.ends.size} texts need as many prompts, ends of text and groups")
        if self.ids.size != (int(self.ends[-1]) if self.ends.size else 0) or (
            self.ids.size and int(self.ids.min()) < 0
        ):
            raise DataError(f"texts that end at {self.ends[-1:]} need as many ids, all of them 0 or more")
        if (self.lengths < 1).any():
            raise DataError("a text has no token after its prompt; leave it out and count it")

    @classmethod
    def of(
        cls,
        completions: Sequence[Int[np.ndarray, " _completion"]],
        *,
        prompts: Sequence[Int[np.ndarray, " _prompt"]] | None = None,
        ended: Sequence[bool] | None = None,
        groups: Sequence[int] | None = None,
        numbers: Bool[np.ndarray, " tokens"] | None = None,
    ) -> Texts:
        """Texts from their parts; without prompts, of no group with each other, and not ended where nothing else is said."""
        n = len(completions)
        before = [np.zeros(0, np.int64)] * n if prompts is None else prompts
        parts = [p for pair in zip(before, completions, strict=True) for p in pair]
        sizes = np.array([len(p) for p in parts], np.int64).reshape(n, 2)
        return cls(
            np.concatenate(parts) if parts else np.zeros(0, np.int64),
            np.cumsum(sizes.sum(axis=1)),
            sizes[:, 0],
            np.zeros(n, bool) if ended is None else np.asarray(ended, bool),
            np.arange(n) if groups is None else np.asarray(groups),
            numbers,
        )

    @property
    def n(self) -> int:
        return int(self.ends.size)

    @cached_property
    def starts(self) -> Int[np.ndarray, " texts"]:
        """Where each text begins in `ids`."""
        return np.concatenate([np.zeros(min(self.n, 1), self.ends.dtype), self.ends[:-1]])

    @cached_property
    def follows(self) -> Int[np.ndarray, " texts"]:
        """Where what stands after each prompt begins in `ids`."""
        return np.asarray(self.starts + self.prompts)

    @cached_property
    def lengths(self) -> Int[np.ndarray, " texts"]:
        """Tokens after each prompt."""
        return np.asarray(self.ends - self.follows)

    @property
    def n_tokens(self) -> int:
        """Tokens after the prompts."""
        return int(self.lengths.sum())

    def ids_of(self, text: int) -> Int[np.ndarray, " _tokens"]:
        """Ids of one text, its prompt included."""
        return self.ids[int(self.starts[text]) : int(self.ends[text])]


@dataclass(frozen=True, eq=False)
class Unnumbered:
    """Texts in which every number is one sign, the same for all; `place` says where each of their tokens stood before."""

    texts: Texts
    place: Int[np.ndarray, " kept"]


def without_numbers(texts: Texts) -> Unnumbered:
    """Write every number (a stretch of tokens of digits) as one sign, so that lists which only count are exact repetition.

    Raises DataError where it is not known which tokens are numbers.

    >>> texts = Texts.of([np.array([7, 1, 2, 7, 3])], numbers=np.array([False, True, True, False, True]))
    >>> without_numbers(texts).texts.ids.tolist(), without_numbers(texts).place.tolist()
    ([7, 8, 7, 8], [0, 1, 3, 4])
    """
    if texts.numbers is None:
        raise DataError("it is not known which tokens are numbers: ids alone do not say how they are spelled")
    number = texts.numbers
    first = np.ones(texts.ids.size, bool)
    first[1:] = ~(number[1:] & number[:-1])
    first[texts.starts] = True
    first[texts.follows] = True  # a prompt that ends in a number does not swallow the first token after it
    sign = int(texts.ids.max(initial=0)) + 1
    kept = np.cumsum(first)
    prompts = kept[texts.follows - 1] - np.where(texts.starts > 0, kept[texts.starts - 1], 0)
    unnumbered = Texts(
        np.where(number, sign, texts.ids)[first],
        kept[texts.ends - 1],
        np.where(texts.prompts > 0, prompts, 0),
        texts.ended,
        texts.groups,
    )
    return Unnumbered(unnumbered, np.flatnonzero(first))
