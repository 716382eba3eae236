"""Predictors that can be walked token by token: what organisms, worlds and mixtures need, and what they are.

A `Stepwise` gives the law of the next token (`start`, `law`, `advance`), and from these three the two bulk paths. Both go through
`Law.observe`, so the sampler's law is the scorer's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.predictors.base import Chunk, Continuations, Ids, Laws, OnTokens, Pool, Predictor, Sample
from freerun.predictors.draws import uniforms
from freerun.predictors.law import Law
from freerun.predictors.observation import Trace
from freerun.stats.loops.lag_runs import LoopRule
from freerun.stats.loops.tracker import LoopTracker

StateT = TypeVar("StateT")


class Stepwise(Predictor, Generic[StateT]):
    """A predictor with states. States are values: `advance` returns a new one and the old one stays usable."""

    # ---- one step --------------------------------------------------------------------------------------------------

    @abstractmethod
    def start(self, prefixes: Sequence[Ids]) -> StateT:
        """The state after each of the prefixes (which may differ in length); the context rule's lead is put first."""

    @abstractmethod
    def law(self, state: StateT) -> Law:
        """The law of the next token, one row a prefix."""

    @abstractmethod
    def advance(self, state: StateT, ids: Int[np.ndarray, " rows"]) -> StateT:
        """The state after one more token a row."""

    @abstractmethod
    def select(self, state: StateT, rows: Int[np.ndarray, " taken"]) -> StateT:
        """Some rows of a state; repeated indices repeat a row."""

    def repeat(self, state: StateT, n: int, n_rows: int) -> StateT:
        """Every row n times, copies side by side."""
        return self.select(state, np.repeat(np.arange(n_rows), n))

    def join(self, states: Sequence[StateT]) -> StateT:
        """The rows of several states, one after another; organisms need it when rows change hands."""
        raise UsageError(f"{self.identity.name} cannot join states, which an organism over it needs")

    @property
    def joins(self) -> bool:
        """Whether rows that have ended are worth replacing before all have."""
        return type(self).join is not Stepwise.join

    @abstractmethod
    def nbytes(self, state: StateT) -> int:
        """Memory that a state holds, bytes."""

    def embed(self, state: StateT) -> Float[np.ndarray, "rows width"]:
        """The model's last hidden state of every row, which the next token is predicted from, float32.

        Raises:
            UsageError: the backend has none (`capabilities.embed` says so).
        """
        raise UsageError(f"{self.identity.name} has no hidden states to show")

    # ---- in bulk ---------------------------------------------------------------------------------------------------

    def laws(self, sequences: Sequence[Ids], *, first: int = 0) -> Iterator[Laws]:
        self._check_first(first)
        rows = np.array([i for i, s in enumerate(sequences) if len(s) > first], np.int64)
        if not len(rows):
            return
        state = self.start([sequences[i][:first] for i in rows])
        for position in range(first, max(len(s) for s in sequences)):
            alive = np.array([len(sequences[i]) > position for i in rows])
            if not alive.all():
                state, rows = self.select(state, np.flatnonzero(alive)), rows[alive]
            hidden = self.embed(state) if self.capabilities.embed else None
            yield Laws(rows, np.full(len(rows), position), self.law(state), hidden)
            if position + 1 < max(len(sequences[i]) for i in rows):
                state = self.advance(state, np.array([sequences[i][position] for i in rows], np.int64))

    def score(self, sequences: Sequence[Ids], *, first: int = 0, loop_rule: LoopRule | None = None) -> Iterator[Chunk]:
        self._check_first(first)
        watched = watch_lists(sequences, first, loop_rule)
        for part in self.laws(sequences, first=first):
            lists = pad_watched([watched[i][t - first] for i, t in zip(part.row, part.position, strict=True)])
            seen = part.law.observe(part.ids(sequences), watched=lists)
            yield Chunk(part.row, part.position, seen, part.hidden)

    def generate(self, continuations: Continuations, *, on_tokens: OnTokens = None) -> Iterator[Sample]:
        """Run free. A prefix is read once for all its continuations; the next prefixes of the queue, in their order, take the place
        of rows that have ended, as soon as a sixteenth of them has (where states cannot be joined: when all have).
        """
        self._check_first(min((len(p) for p in continuations.prefixes), default=1))
        prefixes, length, sampling = continuations.prefixes, continuations.length, continuations.sampling
        n_each, n_rows = continuations.n_each, continuations.n_rows
        if not n_rows or not length:
            return
        flat = continuations.keys.ravel()
        room = n_rows if continuations.at_once is None else max(continuations.at_once, n_each)
        trace, pool = Trace(n_rows, length), Pool(n_rows)
        draws, sample_log_prob = np.zeros((n_rows, length)), np.zeros((n_rows, length))
        tracker = None if continuations.loop_rule is None else LoopTracker([], continuations.loop_rule)
        state: StateT | None = None
        rows, at = np.zeros(0, np.int64), np.zeros(0, np.int64)  # which sequences run, and how far each is
        waiting = 0
        while True:
            free = (room - len(rows)) // n_each if self.joins or not len(rows) else 0
            fresh = range(waiting, min(len(prefixes), waiting + free))
            if fresh:
                new = self.repeat(self.start([prefixes[i] for i in fresh]), n_each, len(fresh))
                state = new if state is None or not len(rows) else self.join([state, new])
                entered = np.arange(fresh.start * n_each, fresh.stop * n_each)
                draws[entered] = [uniforms(continuations.seed, int(flat[r]), length) for r in entered]
                if tracker is not None:
                    tracker = tracker.join(LoopTracker([prefixes[int(r) // n_each] for r in entered], tracker.rule))
                rows, at = np.concatenate([rows, entered]), np.concatenate([at, np.zeros(len(entered), np.int64)])
                waiting = fresh.stop
            if not len(rows) or state is None:
                return
            alive = np.ones(len(rows), bool)
            few = max(1, len(rows) // 16)  # so many ended rows are carried along: moving the others costs a step
            while alive.sum() > len(rows) - few:
                law = self.law(state)
                if self.capabilities.embed:
                    pool.add(rows[alive], self.embed(state)[alive])
                u = draws[rows, at]
                watched = pad_watched(tracker.completing()) if tracker is not None else None
                if sampling.is_model_law:
                    now = law.observe(uniforms=u, watched=watched)
                else:
                    ids, drawn_log_prob = sampling.apply(law).draw(u)
                    sample_log_prob[rows[alive], at[alive]] = drawn_log_prob[alive]
                    now = law.observe(ids, watched=watched)
                trace.put(rows[alive], at[alive], now.take(alive))
                ids = now.token_id.astype(np.int64)
                if on_tokens is not None:
                    on_tokens(int(alive.sum()))
                if tracker is not None:
                    tracker.push(ids)
                ended = np.isin(ids, self.end_ids)
                for i in np.flatnonzero(alive & (ended | (at == length - 1))):
                    row, n = int(rows[i]), int(at[i]) + 1
                    yield Sample(
                        row,
                        "end_of_text" if ended[i] else "length",
                        trace.row(row, n),
                        draws[row, :n],
                        None if sampling.is_model_law else sample_log_prob[row, :n],
                        pool.mean(row),
                    )
                    alive[i] = False
                if not alive.any():
                    break
                at = np.minimum(at + 1, length - 1)
                state = self.advance(state, ids)
            going = np.flatnonzero(alive)
            if len(going) < len(rows):
                state = self.select(state, going) if len(going) else None
                tracker = tracker.select(going) if tracker is not None else None
                rows, at = rows[going], at[going]


def as_stepwise(predictor: Predictor, what: str, *, whole_law: bool = False) -> Stepwise[Any]:
    """The predictor, which `what` walks token by token.

    Raises:
        UsageError: it can only score and write whole texts, or (`whole_law`) its laws are not fully known.
    """
    if not isinstance(predictor, Stepwise) or (whole_law and not predictor.capabilities.full_law):
        raise UsageError(
            f"{predictor.identity.name} gives no {'whole ' if whole_law else ''}law token by token, which {what} needs; "
            "`freerun models` lists models that do"
        )
    return predictor


# ---- ids that would complete a loop ----------------------------------------------------------------------------------------


def watch_lists(sequences: Sequence[Ids], first: int, loop_rule: LoopRule | None) -> list[list[Int[np.ndarray, " k"]]]:
    """Per sequence and position ≥ first: the ids that the rule watches there."""
    if loop_rule is None:
        none = np.zeros(0, np.int64)
        return [[none] * max(0, len(s) - first) for s in sequences]
    return [loop_rule.watched(np.asarray(s), start=first) for s in sequences]


def pad_watched(lists: Sequence[Int[np.ndarray, " k"]]) -> Int[np.ndarray, "rows k"] | None:
    """A rectangle of ids with −1 where a list is shorter; None when all are empty."""
    width = max((len(w) for w in lists), default=0)
    if not width:
        return None
    out = np.full((len(lists), width), -1, np.int64)
    for i, ids in enumerate(lists):
        out[i, : len(ids)] = ids
    return out
