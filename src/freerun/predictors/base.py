"""What every model, world and organism is to the rest of the house: a Predictor.

A predictor gives the law of the next token (`start`, `law`, `advance`), and from these three the two bulk paths that measuring
uses: `score` (teacher-forced) and `generate` (free-running). Both go through `Law.observe`, so the sampler's law is the scorer's.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.predictors.draws import uniforms
from freerun.predictors.law import Law, Observation, Trace
from freerun.predictors.markers import NO_MARKERS, Markers
from freerun.predictors.rules import MODEL_LAW, ContextRule, Identity, SamplingRule
from freerun.stats.loops.lag_runs import LoopRule, LoopTracker, completing_ids

StateT = TypeVar("StateT")


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do; callers ask this instead of trying."""

    full_law: bool = True
    """Whole distributions: entropy, calibration and the power sums are known."""
    stepwise: bool = True
    """`start`, `law` and `advance` exist (organisms and mixtures need them)."""
    empty_context: bool = True
    """There is a law before the first token even when nothing is put first."""
    embed: bool = False
    """`embed` gives the hidden state of every row, and the bulk paths hand hidden states on."""
    hidden_context: bool = False
    """Own text is written after tokens that are not shown, so a pass over its ids alone cannot give its laws again."""


@dataclass(frozen=True)
class Chunk:
    """Teacher-forced observations: entry i is token `position[i]` of sequence `row[i]`."""

    row: Int[np.ndarray, " n"]
    position: Int[np.ndarray, " n"]
    observation: Observation
    hidden: Float[np.ndarray, "n width"] | None = None
    """The hidden state that each token was predicted from, float32; None where the backend has none."""


@dataclass(frozen=True)
class Sample:
    """One finished free-running sequence; its observations are in order of position."""

    row: int
    end_reason: str
    """`length` or `end_of_text`; the end token itself is the last token of the sequence."""
    observation: Observation
    uniform: Float[np.ndarray, " tokens"]
    sample_log_prob_nats: Float[np.ndarray, " tokens"] | None = None
    """Under the sampled law, where that is not the model's own."""
    embedding: Float[np.ndarray, " width"] | None = None
    """Mean of the hidden states that its tokens were predicted from, float32; None where the backend has none."""


class Predictor(ABC, Generic[StateT]):
    """A law of the next token over ids `0 … n_tokens − 1`, given the tokens so far.

    States are values: `advance` returns a new one and the old one stays usable. A state also answers to the module's
    `select`, `repeat`, `fork` and `nbytes` below.
    """

    identity: Identity
    n_tokens: int
    context: ContextRule
    end_ids: tuple[int, ...]
    """What ends a text. The first one ends documents: it is put between them, and before one that nothing stands before."""
    markers: Markers = NO_MARKERS
    capabilities: Capabilities

    # ---- text ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, text: str) -> Sequence[int]:
        """Ids of a text, nothing added."""

    @abstractmethod
    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that an id stands for; empty for end-of-text and other markers."""

    def token_ends(self, text: str) -> Sequence[int] | None:
        """How many characters of `text` have been read after each of its tokens; None where the backend cannot say."""
        return None

    # ---- one step --------------------------------------------------------------------------------------------------

    @abstractmethod
    def start(self, prefixes: Sequence[Int[np.ndarray, " tokens"]]) -> StateT:
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
        return type(self).join is not Predictor.join

    def fork(self, state: StateT) -> StateT:
        """A copy that may be advanced by itself."""
        return copy.deepcopy(state)

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

    def score(
        self,
        sequences: Sequence[Int[np.ndarray, " tokens"]],
        *,
        first: int = 0,
        loop_rule: LoopRule | None = None,
    ) -> Iterator[Chunk]:
        """Observe every token from position `first` on, given all before it; each sequence in order of position.

        Raises:
            UsageError: `first = 0` where the backend has no law before the first token.
        """
        self._check_first(first)
        watched = watch_lists(sequences, first, loop_rule)
        rows = np.array([i for i, s in enumerate(sequences) if len(s) > first], np.int64)
        if not len(rows):
            return
        state = self.start([sequences[i][:first] for i in rows])
        for position in range(first, max(len(s) for s in sequences)):
            alive = np.array([len(sequences[i]) > position for i in rows])
            if not alive.all():
                state, rows = self.select(state, np.flatnonzero(alive)), rows[alive]
            ids = np.array([sequences[i][position] for i in rows], np.int64)
            seen = self.law(state).observe(ids, watched=pad_watched([watched[i][position - first] for i in rows]))
            hidden = self.embed(state) if self.capabilities.embed else None
            yield Chunk(rows, np.full(len(rows), position), seen, hidden)
            state = self.advance(state, ids)

    def generate(
        self,
        prefixes: Sequence[Int[np.ndarray, " tokens"]],
        keys: Int[np.ndarray, "prefixes continuations"],
        length: int,
        *,
        seed: int,
        sampling: SamplingRule = MODEL_LAW,
        loop_rule: LoopRule | None = None,
        at_once: int | None = None,
        on_tokens: Callable[[int], None] | None = None,
    ) -> Iterator[Sample]:
        """Run free: `keys.shape[1]` continuations of every prefix, up to `length` tokens or the first end-of-text.

        Row r·c + j of the samples is continuation j of prefix r. A prefix is read once for all its continuations. The draw of
        position t of a sequence comes from (`seed`, its key, t) alone. At most `at_once` rows run together (None: all); the next
        prefixes of the queue, in their order, take the place of rows that have ended, as soon as a sixteenth of them has (where
        states cannot be joined: when all have).
        """
        self._check_first(min((len(p) for p in prefixes), default=1))
        n_each = keys.shape[1]
        n_rows = len(prefixes) * n_each
        if not n_rows or not length:
            return
        flat = keys.ravel()
        room = n_rows if at_once is None else max(at_once, n_each)
        trace, pool = Trace(n_rows, length), Pool(n_rows)
        draws, sample_log_prob = np.zeros((n_rows, length)), np.zeros((n_rows, length))
        tracker = None if loop_rule is None else LoopTracker([], loop_rule)
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
                draws[entered] = [uniforms(seed, int(flat[r]), length) for r in entered]
                if tracker is not None:
                    tracker = tracker.join(LoopTracker([prefixes[r // n_each] for r in entered], tracker.rule))
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

    def log_probs(
        self, sequences: Sequence[Int[np.ndarray, " tokens"]], *, first: int = 0
    ) -> list[Float[np.ndarray, " scored"]]:
        """Log-probabilities alone, nats, of the tokens from `first` on; backends that need no whole law for it override this."""
        out = [np.zeros(max(0, len(s) - first)) for s in sequences]
        for chunk in self.score(sequences, first=first):
            for row, position, value in zip(chunk.row, chunk.position, chunk.observation.log_prob_nats, strict=True):
                out[row][position - first] = value
        return out

    def with_lead(self, lead: tuple[int, ...]) -> Predictor[StateT]:
        """The same predictor with other tokens put before every document."""
        other = copy.copy(self)
        window = self.context.window
        spare = len(self.context.lead) - len(lead)
        other.context = ContextRule(window=None if window is None else window + spare, lead=lead)
        return other

    def _check_first(self, first: int) -> None:
        if first == 0 and not self.context.lead and not self.capabilities.empty_context:
            raise UsageError(
                f"{self.identity.name} has no law before the first token: put a lead token first or use a prefix"
            )


class Pool:
    """Running means of hidden states, one a row, summed in float64 token by token: chunks of any width give the same bits."""

    def __init__(self, n_rows: int) -> None:
        self._counts = np.zeros(n_rows, np.int64)
        self._sums: Float[np.ndarray, "rows width"] | None = None

    def add(self, rows: Int[np.ndarray, " n"], hidden: Float[np.ndarray, "n width"] | None) -> None:
        """Enter one state for each of the rows (a row may come more than once)."""
        if hidden is None:
            return
        if self._sums is None:
            self._sums = np.zeros((len(self._counts), hidden.shape[1]))
        if len(np.unique(rows)) == len(rows):
            self._sums[rows] += hidden
            self._counts[rows] += 1
            return
        np.add.at(self._sums, rows, hidden)  # one after another, so the bits are those of single adds
        np.add.at(self._counts, rows, 1)

    def mean(self, row: int) -> Float[np.ndarray, " width"] | None:
        """The mean of a row's states, float32; None where it has none."""
        if self._sums is None or not self._counts[row]:
            return None
        return np.asarray(self._sums[row] / self._counts[row], np.float32)


def watch_lists(
    sequences: Sequence[Int[np.ndarray, " tokens"]], first: int, loop_rule: LoopRule | None
) -> list[list[Int[np.ndarray, " k"]]]:
    """Per sequence and position ≥ first: the ids that would complete a loop there."""
    if loop_rule is None:
        none = np.zeros(0, np.int64)
        return [[none] * max(0, len(s) - first) for s in sequences]
    return [completing_ids(np.asarray(s), start=first, rule=loop_rule) for s in sequences]


def pad_watched(lists: Sequence[Int[np.ndarray, " k"]]) -> Int[np.ndarray, "rows k"] | None:
    """A rectangle of ids with −1 where a list is shorter; None when all are empty."""
    width = max((len(w) for w in lists), default=0)
    if not width:
        return None
    out = np.full((len(lists), width), -1, np.int64)
    for i, ids in enumerate(lists):
        out[i, : len(ids)] = ids
    return out
