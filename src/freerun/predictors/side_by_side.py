"""The same sequences scored by two predictors at once: their laws before every token are held side by side and let go again.

Both must be in step on (sequence, position). Two predictors that read whole texts often come in the same order; where they do not,
texts are read one by one, each in order of position. One that can only be walked token by token makes both walk.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int

from freerun.counted import counted
from freerun.errors import UsageError
from freerun.predictors.base import Ids, Laws
from freerun.predictors.divergence import Divergence
from freerun.predictors.law import Dense, Law
from freerun.predictors.markers import Markers
from freerun.predictors.observation import Block
from freerun.predictors.rules import Identity
from freerun.predictors.stepwise import Stepwise

Reader = Stepwise[Any]
_COMPANY = 4
"""Texts that are read together where a law is held beside itself and texts cannot be read in one order."""


class Vocabulary(Protocol):
    """What of a predictor says which ids it has."""

    @property
    def identity(self) -> Identity: ...
    @property
    def n_tokens(self) -> int: ...
    @property
    def markers(self) -> Markers: ...


@dataclass(frozen=True)
class Apart:
    """How far two predictors are apart: entry i is token `position[i]` of sequence `row[i]`."""

    row: Int[np.ndarray, " n"]
    position: Int[np.ndarray, " n"]
    divergence: Divergence
    padding_mass: Float[np.ndarray, " n"]
    """Mass on rows of padding that were left out of the one law that has more of them; 0 where both have the same size."""


class OutOfStep(Exception):
    """Two predictors read the same sequences in different orders."""


@dataclass(frozen=True)
class Kept:
    """How many ids of each law count: all but rows of an output layer that is padded further than the other's."""

    n_first: int
    n_second: int

    @staticmethod
    def of(first: Vocabulary, second: Vocabulary) -> Kept:
        """Where the sizes differ, padding at the end of the longer one is left out; ids that the second adds stay.

        Raises:
            UsageError: the first has ids that the second lacks.
        """
        n = [first.n_tokens, second.n_tokens]
        if n[0] != n[1]:
            longer = int(n[1] > n[0])
            n[longer] = max(n[1 - longer], n[longer] - padding(first if longer == 0 else second))
        if n[0] > n[1]:
            raise UsageError(
                f"{first.identity.name} has {counted(n[0] - n[1], 'id')} that {second.identity.name} lacks, from id {n[1]} on; "
                "only the second model may add ids: give them in the other order"
            )
        return Kept(*n)


def padding(predictor: Vocabulary) -> int:
    """Ids at the end of the vocabulary that the tokenizer has no token for: rows that round up the size of an output layer."""
    runs = predictor.markers.without_token
    if not runs or runs[-1][1] != predictor.n_tokens - 1:
        return 0
    return predictor.n_tokens - runs[-1][0]


class Shelf(ABC):
    """Laws of one predictor on given sequences that were made before and can be had in any order."""

    identity: Identity
    n_tokens: int
    markers: Markers

    @abstractmethod
    def at(self, row: Int[np.ndarray, " n"], position: Int[np.ndarray, " n"]) -> Law:
        """The laws before some tokens."""


Start = int | Int[np.ndarray, " sequences"]
"""From which token of each sequence on laws are held side by side."""


def starts_of(start: Start, sequences: Sequence[Ids]) -> Int[np.ndarray, " sequences"]:
    """One a sequence."""
    return np.array(np.broadcast_to(np.asarray(start, np.int64), (len(sequences),)))


def score_both(
    first: Reader | Shelf, second: Reader | Shelf, sequences: Sequence[Ids], *, start: Start
) -> Iterator[Apart]:
    """Hold both laws of every token from `start` on side by side. A token may be an id that the first lacks: the last of its
    sequence, since a predictor has no law after an id that it does not know.

    A sequence may come again in part where the two turn out to be out of step; what comes last holds.

    Raises:
        UsageError: `start = 0` where either has no law before the first token; see `Kept.of`.
    """
    kept = Kept.of(first, second)
    read = [np.asarray(s, np.int64) for s in sequences]
    safe = [_known_to(s, min(first.n_tokens, second.n_tokens)) for s in read]
    starts = starts_of(start, read)
    for left, right in _since(_in_step(first, second, safe, _least(starts)), starts):
        ids = np.array([read[i][t] for i, t in zip(left.row, left.position, strict=True)], np.int64)
        (p, p_mass), (q, q_mass) = _upto(left.law, kept.n_first), _upto(right.law, kept.n_second)
        seen = p.beside(q, np.where(ids < kept.n_second, ids, 0))
        yield Apart(left.row, left.position, _with_ids(seen, ids, kept), p_mass + q_mass)


def _least(starts: Int[np.ndarray, " sequences"]) -> int:
    return int(starts.min()) if starts.size else 1


def _since(pairs: Iterator[tuple[Laws, Laws]], starts: Int[np.ndarray, " sequences"]) -> Iterator[tuple[Laws, Laws]]:
    """The pieces without what comes before each sequence's own start."""
    for left, right in pairs:
        kept = np.flatnonzero(left.position >= starts[left.row])
        if kept.size == len(left):
            yield left, right
        elif kept.size:
            yield left.part(kept), right.part(kept)


def _with_ids(seen: Divergence, ids: Ids, kept: Kept) -> Divergence:
    """The same with the ids that were asked about: what a law does not have has no mass."""
    return replace(
        seen,
        token_id=ids.astype(np.int32),
        log_p_nats=np.where(ids < kept.n_first, seen.log_p_nats, -np.inf),
        log_q_nats=np.where(ids < kept.n_second, seen.log_q_nats, -np.inf),
    )


def _known_to(ids: Ids, n_tokens: int) -> Ids:
    """The ids with the last one replaced where it is none of the first so many: no law looks at it."""
    if ids.size and ids[-1] >= n_tokens:
        return np.append(ids[:-1], 0)
    return ids


class AmongFirst(Law):
    """A law over its first ids alone, renormalised."""

    def __init__(self, inner: Law, n_tokens: int) -> None:
        self.inner, self.n_rows, self.n_tokens = inner, inner.n_rows, n_tokens

    def block(self, start: int, stop: int) -> Block:
        return Dense(self.inner.block(start, stop).log_probs[:, : self.n_tokens]).block(0, stop - start)


def _upto(law: Law, n_tokens: int) -> tuple[Law, Float[np.ndarray, " rows"]]:
    """The law over its first so many ids, and the mass on the others."""
    if law.n_tokens == n_tokens:
        return law, np.zeros(law.n_rows)
    among = Dense(law.logits[:, :n_tokens]) if isinstance(law, Dense) else AmongFirst(law, n_tokens)
    return among, law.mass(range(n_tokens, law.n_tokens))


def _in_step(
    first: Reader | Shelf, second: Reader | Shelf, sequences: Sequence[Ids], start: int
) -> Iterator[tuple[Laws, Laws]]:
    if isinstance(first, Shelf) or isinstance(second, Shelf):
        yield from _beside_shelf(first, second, sequences, start)
        return
    walked = [type(p).laws is Stepwise.laws for p in (first, second)]
    if walked[0] != walked[1]:
        yield from merged(*(Stepwise.laws(p, sequences, first=start) for p in (first, second)))
        return
    try:
        yield from merged(*(p.laws(sequences, first=start) for p in (first, second)))
    except OutOfStep:
        for row, ids in enumerate(sequences):
            for left, right in merged(*(p.laws([ids], first=start) for p in (first, second))):
                yield _of_row(left, row), _of_row(right, row)


def _beside_shelf(
    first: Reader | Shelf, second: Reader | Shelf, sequences: Sequence[Ids], start: int
) -> Iterator[tuple[Laws, Laws]]:
    """Laws on a shelf are taken in the order in which the other predictor reads."""
    if isinstance(first, Shelf):
        assert not isinstance(second, Shelf)
        for part in second.laws(sequences, first=start):
            yield Laws(part.row, part.position, first.at(part.row, part.position)), part
        return
    assert isinstance(second, Shelf)
    for part in first.laws(sequences, first=start):
        yield part, Laws(part.row, part.position, second.at(part.row, part.position))


def _of_row(part: Laws, row: int) -> Laws:
    return Laws(np.full(len(part), row), part.position, part.law)


def merged(first: Iterator[Laws], second: Iterator[Laws]) -> Iterator[tuple[Laws, Laws]]:
    """Pieces of both that are of the same tokens, whatever pieces either comes in; at most one piece of each is kept.

    Raises:
        OutOfStep: the two come in different orders.
    """
    left, right = next(first, None), next(second, None)
    while left is not None and right is not None:
        n = min(len(left), len(right))
        if (left.row[:n] != right.row[:n]).any() or (left.position[:n] != right.position[:n]).any():
            raise OutOfStep
        yield _head(left, n), _head(right, n)
        left = next(first, None) if len(left) == n else left.part(slice(n, None))
        right = next(second, None) if len(right) == n else right.part(slice(n, None))
    if left is not None or right is not None:
        raise OutOfStep


def _head(part: Laws, n: int) -> Laws:
    return part if len(part) == n else part.part(slice(None, n))


# ---- the same law twice ------------------------------------------------------------------------------------------------


def score_again(predictor: Reader, sequences: Sequence[Ids], *, start: Start) -> Iterator[Apart]:
    """A predictor beside itself: its laws of texts that are read together, and of the same texts each read alone.

    Two right computations of one law, which differ by rounding alone.
    """
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    texts = [np.asarray(sequences[i], np.int64) for i in order]
    starts = starts_of(start, sequences)[order]
    least = _least(starts)
    alone = (_of_row(part, row) for row, ids in enumerate(texts) for part in predictor.laws([ids], first=least))
    try:
        pieces = list(_apart(_since(merged(predictor.laws(texts, first=least), alone), starts), texts))
    except OutOfStep:
        pieces = [
            piece
            for row in range(len(texts))
            for piece in _apart(_since(_among_others(predictor, texts, row, least), starts), texts)
        ]
    for piece in pieces:
        yield replace(piece, row=np.array([order[i] for i in piece.row], np.int64))


def _among_others(predictor: Reader, texts: Sequence[Ids], row: int, start: int) -> Iterator[tuple[Laws, Laws]]:
    """One text read beside some others, and alone."""
    company = [texts[row], *(texts[(row + k) % len(texts)] for k in range(1, min(_COMPANY, len(texts))))]
    among = ((part, np.flatnonzero(part.row == 0)) for part in predictor.laws(company, first=start))
    alone = (_of_row(part, row) for part in predictor.laws([texts[row]], first=start))
    return merged((_of_row(part.part(at), row) for part, at in among if at.size), alone)


def _apart(pairs: Iterator[tuple[Laws, Laws]], texts: Sequence[Ids]) -> Iterator[Apart]:
    for left, right in pairs:
        ids = np.array([texts[i][t] for i, t in zip(left.row, left.position, strict=True)], np.int64)
        yield Apart(left.row, left.position, left.law.beside(right.law, ids), np.zeros(len(ids)))
