"""What to say when a corpus is too short or too small: how long its documents are, and which settings would fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from freerun.errors import DataError, TooFewDocuments
from freerun.text.documents import Corpus
from freerun.text.leading import Leading


@dataclass(frozen=True, eq=False)
class Lengths:
    """The tokens of each document, shape (documents,), and the unit that each belongs to."""

    tokens: npt.NDArray[np.int64]
    units: tuple[str, ...]

    @classmethod
    def of(cls, corpus: Corpus, leading: Sequence[Leading]) -> Lengths:
        """The lengths of a corpus, by the first tokens of its documents."""
        n_tokens = np.array([first.n_tokens for first in leading], dtype=np.int64)
        return cls(n_tokens, tuple(document.unit for document in corpus.documents))

    def units_longer_than(self, n_tokens: int) -> int:
        """Return how many units have a document of more than `n_tokens` tokens."""
        return len({unit for unit, own in zip(self.units, self.tokens, strict=True) if own > n_tokens})


def refuse(
    corpus: Corpus,
    lengths: Lengths,
    prefix_tokens: int,
    continuation_tokens: int,
    minimum_units: int,
    grid: Sequence[int],
) -> NoReturn:
    """Raise the error for a corpus with fewer than `minimum_units` units longer than prefix and continuation together.

    Raises:
        DataError: no document is long enough.
        TooFewDocuments: some are.
    """
    window = prefix_tokens + continuation_tokens
    n_usable = lengths.units_longer_than(window)
    flags = f"--prefix {prefix_tokens} --tokens {continuation_tokens}"
    longest, median = int(lengths.tokens.max()), int(np.median(lengths.tokens))
    fitting = _fitting_flags(lengths, prefix_tokens, continuation_tokens, minimum_units, grid)
    if n_usable == 0:
        least = f"--prefix 0 --tokens {grid[-1]} would fit {lengths.units_longer_than(grid[-1])}"
        nothing = f"{least}, and {minimum_units} are needed; give longer documents"
        raise DataError(
            f"every document of corpus {corpus.spec!r} is too short: {flags} needs {window + 1} tokens, "
            f"the longest has {longest}, the median {median}; {fitting or nothing}"
        )
    advice = [fitting] if fitting else []
    advice.append("give more documents")
    if corpus.independent and median > 4 * (window + 1):
        advice.append("cut the long ones with --split-on or --chunk (pieces of one text are not independent)")
    raise TooFewDocuments(
        f"at least {minimum_units} independent documents of {window + 1} tokens are needed ({flags}), and corpus "
        f"{corpus.spec!r} has {n_usable} (of {len(set(lengths.units))}; the longest has {longest} tokens, the median "
        f"{median}); {', or '.join(advice)}"
    )


def _fitting_flags(
    lengths: Lengths, prefix_tokens: int, continuation_tokens: int, minimum_units: int, grid: Sequence[int]
) -> str:
    """Return the longest shorter setting that enough units fit, and how many do; an empty string if there is none."""
    prefixes = [prefix_tokens, *(p for p in (64, 32, 16, 8, 4, 0) if p < prefix_tokens)]
    settings = [(p, t) for p in prefixes for t in (continuation_tokens, *grid) if t <= continuation_tokens]
    # The prefix is kept where that is possible: a shorter continuation changes the question less.
    for prefix, tokens in sorted(settings, key=lambda setting: (-setting[0], -setting[1])):
        n_units = lengths.units_longer_than(prefix + tokens)
        if n_units >= minimum_units:
            shown = f"--tokens {tokens}" if prefix == prefix_tokens else f"--prefix {prefix} --tokens {tokens}"
            return f"{shown} would fit {n_units} of them"
    return ""
