"""The same sequences scored by two predictors at once: their laws before every token are held side by side and let go again.

Both must be in step on (sequence, position). Two predictors that read whole texts often come in the same order; where they do not,
texts are read one by one, each in order of position. One that can only be walked token by token makes both walk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.predictors.base import Ids
from freerun.predictors.divergence import Divergence
from freerun.predictors.law import Dense, Law
from freerun.predictors.observation import Block
from freerun.predictors.stepwise import Laws, Stepwise

Reader = Stepwise[Any]


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
    def of(first: Reader, second: Reader) -> Kept:
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
                f"{first.identity.name} has {n[0] - n[1]} ids that {second.identity.name} lacks, from id {n[1]} on; only the "
                "second model may add ids: give them in the other order"
            )
        return Kept(*n)


def padding(predictor: Reader) -> int:
    """Ids at the end of the vocabulary that the tokenizer has no token for: rows that round up the size of an output layer."""
    runs = predictor.markers.without_token
    if not runs or runs[-1][1] != predictor.n_tokens - 1:
        return 0
    return predictor.n_tokens - runs[-1][0]


def score_both(first: Reader, second: Reader, sequences: Sequence[Ids], *, start: int) -> Iterator[Apart]:
    """Hold both laws of every token from `start` on side by side. A token may be an id that the first lacks: the last of its
    sequence, since a predictor has no law after an id that it does not know.

    A sequence may come again in part where the two turn out to be out of step; what comes last holds.

    Raises:
        UsageError: `start = 0` where either has no law before the first token; see `Kept.of`.
    """
    kept = Kept.of(first, second)
    read = [np.asarray(s, np.int64) for s in sequences]
    safe = [_known_to(s, min(first.n_tokens, second.n_tokens)) for s in read]
    for left, right in _in_step(first, second, safe, start):
        ids = np.array([read[i][t] for i, t in zip(left.row, left.position, strict=True)], np.int64)
        (p, p_mass), (q, q_mass) = _upto(left.law, kept.n_first), _upto(right.law, kept.n_second)
        seen = p.beside(q, np.where(ids < kept.n_second, ids, 0))
        yield Apart(left.row, left.position, _with_ids(seen, ids, kept), p_mass + q_mass)


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


def _in_step(first: Reader, second: Reader, sequences: Sequence[Ids], start: int) -> Iterator[tuple[Laws, Laws]]:
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
