"""The texts of a distance: what stands before the first token that is compared, and what real text has after it."""

from __future__ import annotations

from dataclasses import dataclass

from freerun.jobs.distance.models import Name
from freerun.predictors.chat import Feeding
from freerun.text.pairs import Pair, PairSet


@dataclass(frozen=True)
class Cut:
    """Pairs of a prefix and a continuation.

    `counts`: what was left out on the way; None for windows. `feeding`: how prompts are put to both models, by the tokenizer and
    the template of one of them (`by`); None where documents were cut.
    """

    pairs: tuple[Pair, ...]
    counts: PairSet | None = None
    feeding: Feeding | None = None
    by: Name = "a"

    @property
    def prefix_tokens(self) -> int:
        """Of the longest prefix."""
        return max(len(pair.prefix) for pair in self.pairs)

    @property
    def tokens(self) -> int:
        """At which a text is cut, if it does not end before."""
        return len(self.pairs[0].continuation) if self.counts is None else self.counts.continuation_tokens

    @property
    def longest(self) -> int:
        """Tokens of prefix and continuation together, at most."""
        return self.prefix_tokens + self.tokens
