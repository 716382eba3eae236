"""Prefix and continuation pairs: which documents are used, where they are cut, and which side of the split they are on.

Every choice goes by a hash of the seed and the unit, so another document in the corpus changes none of the others'
pairs but for the one at the border between train and test and the one at the end of the selection.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from freerun.errors import UsageError
from freerun.text.documents import MINIMUM_UNITS, Corpus, Document
from freerun.text.leading import Encode, Leading, leading_tokens
from freerun.text.shortage import Lengths, refuse

CONTINUATION_GRID = (128, 96, 64, 48, 32, 24, 16)
"""The lengths, in tokens, among which `continuation_tokens=None` chooses."""

ENOUGH_UNITS = 0.75
"""The share of the units usable at the shortest length of the grid that a longer one must keep."""


@dataclass(frozen=True, eq=False)
class Pair:
    """The tokens of a document before a cut (the first ones, unless the cut stands later) and what it really says next.

    `prefix` has shape (prefix_tokens,), `continuation` (continuation_tokens,); both are int32 and read-only. `before` are the
    tokens of other documents that are shown before the prefix (exemplars), equally many in all pairs of a set; usually none.
    `ended`: the last token of the continuation is an end of text, which only responses have (`PairSet.free_length`).
    """

    document_id: str
    unit: str
    split: Literal["train", "test"]
    prefix: npt.NDArray[np.int32]
    continuation: npt.NDArray[np.int32]
    before: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    ended: bool = False

    @property
    def context(self) -> npt.NDArray[np.int32]:
        """All that stands before the continuation: exemplars, then the prefix."""
        return np.concatenate([self.before, self.prefix]) if self.before.size else self.prefix


@dataclass(frozen=True)
class LeftOut:
    """How many documents were left out for a reason."""

    why: str
    n: int


@dataclass(frozen=True, eq=False)
class PairSet:
    """The pairs of a corpus, train before test, and the counts of what was left out.

    `n_documents` and `n_units` count what the pairs come from. `n_too_short` documents of the corpus have no token
    after the window. Of the `n_at_risk` documents that go on after the cut, `n_ended_in_window` end with or before the
    window's last token: the real side of the ending hazard, which the pairs themselves cannot show.
    `document_tokens_median` and `_max` are over the whole corpus, extrapolated for documents that were not encoded to
    their end. `train_documents` are the ids of all documents, used or not, whose unit is not a test unit: what a
    reference may learn from.

    `free_length`: prefixes are prompts and continuations are responses, each of its own length; `prefix_tokens` is then the longest
    prompt, `cut_tokens` 0, and of the `n_at_risk` responses `n_ended_in_window` end within the window. `left_out` counts the
    conversations that were tried and could not be used.
    """

    pairs: tuple[Pair, ...]
    n_documents: int
    n_units: int
    n_too_short: int
    n_ended_in_window: int
    n_at_risk: int
    document_tokens_median: float
    document_tokens_max: int
    prefix_tokens: int
    continuation_tokens: int
    train_documents: tuple[str, ...]
    cut_tokens: int
    """Tokens of each document before the cut; the prefix is the last of them."""
    left_out: tuple[LeftOut, ...] = ()
    free_length: bool = False


def cut_pairs(
    corpus: Corpus,
    encode: Encode,
    *,
    n_documents: int,
    prefix_tokens: int,
    continuation_tokens: int | None,
    seed: int,
    cut_tokens: int | None = None,
    train_share: float = 0.5,
    minimum_units: int = MINIMUM_UNITS,
) -> PairSet:
    """Cut up to `n_documents` pairs from the documents that go on after `cut_tokens` + `continuation_tokens` tokens.

    The prefix is the last `prefix_tokens` tokens before the cut; `cut_tokens=None` cuts right after them. Which documents are
    used, their split and their continuations depend on the cut alone, not on the prefix.

    One document of each unit is used, a second only when the units run out, and so on. The first round(train_share ×
    units) of the chosen units are train, the others test; no unit is on both sides. `continuation_tokens=None` takes
    the longest of `CONTINUATION_GRID` at which the corpus still gives min(n_documents, max(minimum_units, three
    quarters of the units that are usable at the shortest)) units. `encode` adds no special tokens. A document's own
    `ids` go before its text.

    Raises:
        UsageError: a negative prefix, a cut inside it, no continuation, a share outside [0, 1], or too few documents asked for.
        DataError: no document is long enough; says how long they are and which lengths would fit.
        TooFewDocuments: fewer than `minimum_units` units are usable; says what would help.
    """
    cut = prefix_tokens if cut_tokens is None else cut_tokens
    if prefix_tokens < 0:
        raise UsageError(f"--prefix {prefix_tokens} is negative; give a number of tokens from 0")
    if cut < prefix_tokens:
        raise UsageError(
            f"--cut {cut} lies inside the prefix of {prefix_tokens} tokens; give at least {prefix_tokens}, or leave it out"
        )
    if continuation_tokens is not None and continuation_tokens < 1:
        raise UsageError(f"--tokens {continuation_tokens} is too small; give a number of tokens from 1")
    if n_documents < max(minimum_units, 1):
        raise UsageError(f"--documents {n_documents} is too small; give at least {max(minimum_units, 1)}")
    if not 0.0 <= train_share <= 1.0:
        raise UsageError(f"train_share {train_share} is not a share; give a number from 0 to 1")
    longest = CONTINUATION_GRID[0] if continuation_tokens is None else continuation_tokens
    leading = [leading_tokens(document, encode, cut + longest + 1) for document in corpus.documents]
    lengths = Lengths.of(corpus, leading)
    tokens = continuation_tokens
    if tokens is None:
        tokens = _what_fits(lengths, n_documents, cut, minimum_units)
    window = cut + tokens
    if lengths.units_longer_than(window) < max(minimum_units, 1):
        refuse(corpus, lengths, cut, tokens, minimum_units, CONTINUATION_GRID)

    chosen = _choose(corpus.documents, leading, window, n_documents, seed)
    units = sorted({document.unit for document, _ in chosen}, key=lambda unit: hash_of(seed, unit))
    train = set(units[: round(train_share * len(units))])
    test = set(units) - train
    pairs = [
        Pair(
            document_id=document.id,
            unit=document.unit,
            split="train" if document.unit in train else "test",
            prefix=first.ids[cut - prefix_tokens : cut],
            continuation=first.ids[cut:window],
        )
        for document, first in chosen
    ]
    pairs.sort(
        key=lambda pair: (pair.split == "test", hash_of(seed, pair.unit), hash_of(seed, pair.unit, pair.document_id))
    )
    at_risk = lengths.tokens > cut
    return PairSet(
        pairs=tuple(pairs),
        n_documents=len(pairs),
        n_units=len(units),
        n_too_short=int(np.sum(lengths.tokens <= window)),
        n_ended_in_window=int(np.sum(at_risk & (lengths.tokens <= window))),
        n_at_risk=int(np.sum(at_risk)),
        document_tokens_median=float(np.median(lengths.tokens)),
        document_tokens_max=int(lengths.tokens.max()),
        prefix_tokens=prefix_tokens,
        continuation_tokens=tokens,
        train_documents=tuple(document.id for document in corpus.documents if document.unit not in test),
        cut_tokens=cut,
    )


def usable_units(corpus: Corpus, encode: Encode, windows: Sequence[int]) -> list[int]:
    """Return for each window how many units of the corpus have a document of more tokens than that."""
    longest = max(windows, default=0) + 1
    lengths = Lengths.of(corpus, [leading_tokens(document, encode, longest) for document in corpus.documents])
    return [lengths.units_longer_than(window) for window in windows]


def numbered(pairs: PairSet) -> tuple[PairSet, dict[str, str]]:
    """Return the pairs with numbers for the names of documents and units, in their order, and unit -> number."""
    units = {unit: f"unit {n}" for n, unit in enumerate(dict.fromkeys(p.unit for p in pairs.pairs), start=1)}
    renamed = tuple(
        replace(pair, document_id=f"document {n}", unit=units[pair.unit]) for n, pair in enumerate(pairs.pairs, start=1)
    )
    return replace(pairs, pairs=renamed), units


def _what_fits(lengths: Lengths, n_documents: int, prefix_tokens: int, minimum_units: int) -> int:
    usable_at_all = lengths.units_longer_than(prefix_tokens + CONTINUATION_GRID[-1])
    needed = min(n_documents, max(minimum_units, math.ceil(ENOUGH_UNITS * usable_at_all)))
    fitting = [tokens for tokens in CONTINUATION_GRID if lengths.units_longer_than(prefix_tokens + tokens) >= needed]
    return max(fitting, default=CONTINUATION_GRID[-1])


def _choose(
    documents: Sequence[Document], leading: Sequence[Leading], window: int, n_documents: int, seed: int
) -> list[tuple[Document, Leading]]:
    """Return up to `n_documents` usable documents: one of each unit in hash order, then a second of each, and so on."""
    of_unit: defaultdict[str, list[tuple[Document, Leading]]] = defaultdict(list)
    for document, first in zip(documents, leading, strict=True):
        if first.n_tokens > window:
            of_unit[document.unit].append((document, first))
    for members in of_unit.values():
        members.sort(key=lambda member: hash_of(seed, member[0].unit, member[0].id))
    chosen: list[tuple[Document, Leading]] = []
    turn = 0
    while len(chosen) < n_documents and any(len(members) > turn for members in of_unit.values()):
        # Later turns go in another order than the split, or the second documents would all fall on the train side.
        again = (str(turn),) if turn else ()
        units = sorted((u for u in of_unit if len(of_unit[u]) > turn), key=lambda unit: hash_of(seed, unit, *again))
        chosen += [of_unit[unit][turn] for unit in units[: n_documents - len(chosen)]]
        turn += 1
    return chosen


def hash_of(seed: int, *names: str) -> str:
    """Return the SHA-256 (hex) that every choice goes by."""
    return hashlib.sha256("/".join((str(seed), *names)).encode()).hexdigest()
