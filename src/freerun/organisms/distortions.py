"""Distortions of METHODS 6.5, and the null: predictors that are worse than the one inside by a known amount, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.organisms.constant import Points
from freerun.organisms.wrapper import MODEL_LAW, Organism, Reshaped
from freerun.predictors.base import Chunk, Predictor, Sample
from freerun.predictors.law import Law
from freerun.predictors.ngram import NGramCounts, NGramPredictor
from freerun.predictors.rules import SamplingRule
from freerun.stats.loops.lag_runs import LoopRule

Ids = Int[np.ndarray, " tokens"]


class Null(Reshaped):
    """Changes nothing: every record is, bit for bit, the inner predictor's own."""

    def __init__(self, inner: Predictor[Any], *, name: str) -> None:
        super().__init__(inner, name=name, kind="null")

    def score(self, sequences: Sequence[Ids], *, first: int = 0, loop_rule: LoopRule | None = None) -> Iterator[Chunk]:
        return self.inner.score(sequences, first=first, loop_rule=loop_rule)

    def generate(
        self,
        prefixes: Sequence[Ids],
        keys: Int[np.ndarray, "prefixes continuations"],
        length: int,
        *,
        seed: int,
        sampling: SamplingRule = MODEL_LAW,
        loop_rule: LoopRule | None = None,
        at_once: int | None = None,
        on_tokens: Callable[[int], None] | None = None,
    ) -> Iterator[Sample]:
        return self.inner.generate(
            prefixes,
            keys,
            length,
            seed=seed,
            sampling=sampling,
            loop_rule=loop_rule,
            at_once=at_once,
            on_tokens=on_tokens,
        )

    def log_probs(self, sequences: Sequence[Ids], *, first: int = 0) -> list[Float[np.ndarray, " scored"]]:
        return self.inner.log_probs(sequences, first=first)


class Resampled(Reshaped):
    """The model's law is a tempered or truncated one: what a sampler's setting would be is now the prediction itself."""

    def __init__(self, inner: Predictor[Any], rule: SamplingRule, *, name: str) -> None:
        super().__init__(inner, name=name, kind=f"resampled({rule!r})")
        self.rule = rule

    def _reshape(self, law: Law) -> Law:
        return self.rule.apply(law)


class Ending(Reshaped):
    """Mass `hazard` moved onto the first end id at every token; where there is none, onto one id more, which ends a text."""

    def __init__(self, inner: Predictor[Any], *, hazard: float, name: str) -> None:
        if not 0 < hazard < 1:
            raise UsageError(f"hazard must lie strictly between 0 and 1, not {hazard}")
        super().__init__(inner, name=name, kind=f"end(hazard={hazard!r})")
        self.hazard = hazard
        self._own_id = not inner.end_ids
        if self._own_id:
            self.n_tokens = inner.n_tokens + 1
            self.end_ids = (inner.n_tokens,)

    def start(self, prefixes: Sequence[Ids]) -> Any:
        return self.inner.start([self._readable(np.asarray(p, np.int64)) for p in prefixes])

    def advance(self, state: Any, ids: Int[np.ndarray, " rows"]) -> Any:
        return self.inner.advance(state, self._readable(np.asarray(ids, np.int64)))

    def _readable(self, ids: Ids) -> Ids:
        """Nothing comes after the organism's own end; a row that is pushed beyond it goes on as if id 0 had been read."""
        return np.where(ids < self.inner.n_tokens, ids, 0)

    def _reshape(self, law: Law) -> Law:
        if self._own_id:
            return law.with_atom(self.hazard)
        return law.mixed(self.hazard, Points(np.full(law.n_rows, self.end_ids[0]), law.n_tokens))


@dataclass(frozen=True)
class Tailed:
    """The inner state beside the last ids of every row (−1 where there are fewer)."""

    inner: Any
    tail: Int[np.ndarray, "rows width"]


class TailReader(Organism[Tailed]):
    """Base of organisms that look at each row's last `width` ids."""

    width: int

    def start(self, prefixes: Sequence[Ids]) -> Tailed:
        tail = np.full((len(prefixes), self.width), -1, np.int64)
        for row, p in enumerate(prefixes):
            kept = np.asarray(p, np.int64)[-self.width :]
            tail[row, self.width - len(kept) :] = kept
        return Tailed(self.inner.start(prefixes), tail)

    def _pushed(self, state: Tailed, ids: Int[np.ndarray, " rows"]) -> Int[np.ndarray, "rows width"]:
        return np.concatenate([state.tail, np.asarray(ids, np.int64)[:, None]], axis=1)[:, 1:]

    def advance(self, state: Tailed, ids: Int[np.ndarray, " rows"]) -> Tailed:
        return Tailed(self.inner.advance(state.inner, ids), self._pushed(state, ids))

    def select(self, state: Tailed, rows: Int[np.ndarray, " taken"]) -> Tailed:
        return Tailed(self.inner.select(state.inner, rows), state.tail[rows])

    def join(self, states: Sequence[Tailed]) -> Tailed:
        return Tailed(self.inner.join([s.inner for s in states]), np.concatenate([s.tail for s in states]))

    def fork(self, state: Tailed) -> Tailed:
        return Tailed(self.inner.fork(state.inner), state.tail.copy())

    def nbytes(self, state: Tailed) -> int:
        return self.inner.nbytes(state.inner) + state.tail.nbytes


class ShortWindow(TailReader):
    """The inner predictor sees the last `window` tokens of the document and nothing else; it reads them afresh at every token."""

    def __init__(self, inner: Predictor[Any], *, window: int, name: str) -> None:
        if window < 1:
            raise UsageError(f"window must be at least 1 token, not {window}")
        super().__init__(inner, name=name, kind=f"short_window({window})")
        self.width = window

    def start(self, prefixes: Sequence[Ids]) -> Tailed:
        return super().start([np.asarray(p, np.int64)[-self.width :] for p in prefixes])

    def law(self, state: Tailed) -> Law:
        return self.inner.law(state.inner)

    def advance(self, state: Tailed, ids: Int[np.ndarray, " rows"]) -> Tailed:
        tail = self._pushed(state, ids)
        if (state.tail[:, 0] < 0).all():  # nothing falls out yet
            return Tailed(self.inner.advance(state.inner, ids), tail)
        return Tailed(self.inner.start([row[row >= 0] for row in tail]), tail)


class LoopBoost(TailReader):
    """Mass `weight` moved onto the token that goes on with the text's current repetition.

    The repetition is the period p ≤ `max_period` with the longest run of x_s = x_{s−p} up to now, the shortest of equals; the
    token is x_{t−p}. Where the run is shorter than `min_run` the law is the inner one.
    """

    def __init__(self, inner: Predictor[Any], *, weight: float, min_run: int, max_period: int, name: str) -> None:
        if not 0 < weight < 1:
            raise UsageError(f"weight must lie strictly between 0 and 1, not {weight}")
        if min_run < 1 or max_period < 1:
            raise UsageError(f"min_run and max_period must be at least 1, not {min_run} and {max_period}")
        super().__init__(inner, name=name, kind=f"loop(weight={weight!r},{min_run},{max_period})")
        self.weight, self.min_run, self.max_period = weight, min_run, max_period
        self.width = 2 * max_period
        """Runs are counted up to `max_period` tokens."""

    def law(self, state: Tailed) -> Law:
        run, next_id = self.repetition(state.tail)
        weight = np.where(run >= self.min_run, self.weight, 0.0)
        return self.inner.law(state.inner).mixed(weight, Points(np.maximum(next_id, 0), self.n_tokens))

    def repetition(
        self, tail: Int[np.ndarray, "rows width"]
    ) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
        """The longest run of each row and the token that would go on with it."""
        run = np.zeros(len(tail), np.int64)
        next_id = np.full(len(tail), -1, np.int64)
        for period in range(1, self.max_period + 1):
            recent = tail[:, self.width - self.max_period :]
            earlier = tail[:, self.width - self.max_period - period : self.width - period]
            same = (recent == earlier) & (recent >= 0)
            here = np.where(same.all(1), self.max_period, np.argmin(same[:, ::-1], axis=1))
            better = here > run
            run = np.where(better, here, run)
            next_id = np.where(better, tail[:, self.width - period], next_id)
        return run, next_id


def counted(inner: Predictor[Any], documents: Sequence[Ids], *, order: int, name: str) -> NGramPredictor:
    """n-gram counts of some documents in the inner predictor's tokens: its vocabulary, and nothing else of it."""
    ended = [np.append(d, inner.end_ids[:1]).astype(np.int64) for d in documents]
    return NGramPredictor(
        NGramCounts(ended, order=order, n_tokens=inner.n_tokens),
        name=name,
        encode=inner.encode,
        token_bytes=inner.token_bytes,
        end_ids=inner.end_ids,
    )
