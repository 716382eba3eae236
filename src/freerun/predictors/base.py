"""What every model, world, organism and server is to the rest of the house: a Predictor.

A predictor takes text apart into tokens, scores sequences (teacher-forced) and writes continuations (free-running), both in bulk.
That is all that a server can do. What can be walked token by token besides is a `Stepwise` (predictors/stepwise.py).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.predictors.markers import NO_MARKERS, Markers
from freerun.predictors.observation import Observation
from freerun.predictors.rules import MODEL_LAW, ContextRule, Identity, SamplingRule
from freerun.predictors.templates import ChatTemplate
from freerun.stats.loops.lag_runs import LoopRule

if TYPE_CHECKING:
    from freerun.predictors.law import Law

Ids = Int[np.ndarray, " tokens"]
OnTokens = Callable[[int], None] | None
"""Who hears how many tokens a step has written."""


@dataclass(frozen=True)
class Capabilities:
    """What a backend can do beside scoring and writing; callers ask this instead of trying."""

    full_law: bool = True
    """Whole distributions. Without it observations have nulls: NaN, or −1 for ids and ranks."""
    empty_context: bool = True
    """There is a law before the first token even when nothing is put first."""
    embed: bool = False
    """Hidden states are handed on with scores and samples."""
    hidden_context: bool = False
    """Own text is written after tokens that are not shown, so a pass over its ids alone cannot give its laws again."""
    counted_draws: bool = True
    """Tokens are drawn from the uniforms of (seed, key, position); without it samples have none and cannot be drawn again."""
    rounded_arithmetic: bool = False
    """The same law computed twice may differ visibly, and no weights are here that would tell."""


@dataclass(frozen=True)
class Chunk:
    """Teacher-forced observations: entry i is token `position[i]` of sequence `row[i]`."""

    row: Int[np.ndarray, " n"]
    position: Int[np.ndarray, " n"]
    observation: Observation
    hidden: Float[np.ndarray, "n width"] | None = None
    """The hidden state that each token was predicted from, float32; None where the backend has none."""

    def since(self, firsts: Int[np.ndarray, " sequences"]) -> Chunk:
        """The entries from position `firsts[row]` of every sequence on."""
        kept = self.position >= firsts[self.row]
        if kept.all():
            return self
        hidden = None if self.hidden is None else self.hidden[kept]
        return Chunk(self.row[kept], self.position[kept], self.observation.take(np.flatnonzero(kept)), hidden)


@dataclass(frozen=True)
class Laws:
    """Laws on real or given text: row i of `law` is the law before token `position[i]` of sequence `row[i]`."""

    row: Int[np.ndarray, " n"]
    position: Int[np.ndarray, " n"]
    law: Law
    hidden: Float[np.ndarray, "n width"] | None = None
    """The hidden state that each law was made from, float32; None where the backend has none."""

    def __len__(self) -> int:
        return len(self.row)

    def part(self, rows: slice | Int[np.ndarray, " taken"]) -> Laws:
        """Some of them."""
        return Laws(
            self.row[rows], self.position[rows], self.law.take(rows), None if self.hidden is None else self.hidden[rows]
        )

    def ids(self, sequences: Sequence[Ids]) -> Int[np.ndarray, " n"]:
        """The tokens that the laws are before, in the sequences that were read."""
        return np.array([sequences[i][t] for i, t in zip(self.row, self.position, strict=True)], np.int64)


@dataclass(frozen=True)
class Continuations:
    """What is to be written: `keys.shape[1]` continuations of every prefix, up to `length` tokens or the first end of text.

    Row r·c + j of the samples is continuation j of prefix r. The draw of position t of a sequence comes from (`seed`, its key, t)
    alone.
    """

    prefixes: Sequence[Ids]
    keys: Int[np.ndarray, "prefixes continuations"]
    length: int
    seed: int = 0
    sampling: SamplingRule = MODEL_LAW
    loop_rule: LoopRule | None = None
    """Watch the mass on tokens that would complete a loop."""
    at_once: int | None = None
    """Most rows that run together; None: all."""

    @property
    def n_each(self) -> int:
        """Continuations of each prefix."""
        return int(self.keys.shape[1])

    @property
    def n_rows(self) -> int:
        return len(self.prefixes) * self.n_each


@dataclass(frozen=True)
class Sample:
    """One finished free-running sequence; its observations are in order of position."""

    row: int
    end_reason: str
    """`length` or `end_of_text`; the end token itself is the last token of the sequence."""
    observation: Observation
    uniform: Float[np.ndarray, " tokens"] | None
    """What each token was drawn from; None where the backend draws by itself."""
    sample_log_prob_nats: Float[np.ndarray, " tokens"] | None = None
    """Under the sampled law, where that is not the model's own."""
    embedding: Float[np.ndarray, " width"] | None = None
    """Mean of the hidden states that its tokens were predicted from, float32; None where the backend has none."""


class Predictor(ABC):
    """A law of the next token over ids `0 … n_tokens − 1`, given the tokens so far, asked in bulk."""

    identity: Identity
    n_tokens: int
    context: ContextRule = ContextRule()
    end_ids: tuple[int, ...]
    """What ends a text. The first one ends documents: it is put between them, and before one that nothing stands before."""
    markers: Markers = NO_MARKERS
    capabilities: Capabilities = Capabilities()
    template: ChatTemplate | None = None
    """The model's own chat template; None where it has none."""

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

    # ---- in bulk ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def score(self, sequences: Sequence[Ids], *, first: int = 0, loop_rule: LoopRule | None = None) -> Iterator[Chunk]:
        """Observe every token from position `first` on, given all before it; each sequence in order of position.

        Raises:
            UsageError: `first = 0` where the backend has no law before the first token.
        """

    @abstractmethod
    def generate(self, continuations: Continuations, *, on_tokens: OnTokens = None) -> Iterator[Sample]:
        """Run free: every sample as soon as it is finished. `on_tokens` hears how many tokens each step has written.

        Raises:
            UsageError: a prefix without tokens where the backend has no law before the first one.
        """

    def log_probs(self, sequences: Sequence[Ids], *, first: int = 0) -> list[Float[np.ndarray, " scored"]]:
        """Log-probabilities alone, nats, of the tokens from `first` on; backends that need no whole law for it override this."""
        out = [np.zeros(max(0, len(s) - first)) for s in sequences]
        for chunk in self.score(sequences, first=first):
            for row, position, value in zip(chunk.row, chunk.position, chunk.observation.log_prob_nats, strict=True):
                out[row][position - first] = value
        return out

    def log_probs_after(
        self, sequences: Sequence[Ids], starts: Int[np.ndarray, " sequences"]
    ) -> list[Float[np.ndarray, " scored"]]:
        """The same of the tokens from each sequence's own `starts` on; backends that pay for every token override this."""
        least = min(starts.tolist(), default=0)
        found = self.log_probs(sequences, first=least)
        return [values[start - least :] for values, start in zip(found, starts.tolist(), strict=True)]

    def laws(self, sequences: Sequence[Ids], *, first: int = 0) -> Iterator[Laws]:
        """The law before every token from position `first` on, given all before it, in pieces of bounded size.

        Each sequence comes in order of position. What a law says of the token that follows is asked of the law, which is good
        until the next piece is asked for.

        Raises:
            UsageError: a backend without whole laws, or `first = 0` where there is no law before the first token.
        """
        raise self.without_whole_laws()

    def without_whole_laws(self) -> UsageError:
        """The refusal of what needs whole laws, where the backend has none."""
        return UsageError(
            f"{self.identity.name} gives no whole laws, which this needs; `freerun models` lists models that do"
        )

    # ---- what it is made of ------------------------------------------------------------------------------------------

    @property
    def inside(self) -> tuple[Predictor, ...]:
        """The predictors that it is made of."""
        return ()

    def parts(self) -> Iterator[Predictor]:
        """Itself and all that is inside it, from the outside in."""
        yield self
        for other in self.inside:
            yield from other.parts()

    def own_weights(self) -> Sequence[Any]:
        """Its torch parameters, those of the predictors inside it apart."""
        return ()

    @property
    def has_first_law(self) -> bool:
        """Whether there is a law before the first token."""
        return bool(self.context.lead) or self.capabilities.empty_context

    def with_lead(self, lead: tuple[int, ...]) -> Self:
        """The same predictor with other tokens put before every document."""
        other = copy.copy(self)
        window = self.context.window
        spare = len(self.context.lead) - len(lead)
        other.context = ContextRule(window=None if window is None else window + spare, lead=lead)
        return other

    def _check_first(self, first: int) -> None:
        if first == 0 and not self.has_first_law:
            raise UsageError(
                f"{self.identity.name} has no law before the first token: put a lead token first or use a prefix"
            )


class SharesTokens(Predictor):
    """A predictor with the tokens of another one (`_like`); ids that the other one lacks stand for no bytes."""

    _like: Predictor

    def _share_tokens(self, like: Predictor, *, n_tokens: int | None = None) -> None:
        self._like, self.n_tokens = like, like.n_tokens if n_tokens is None else n_tokens
        self.end_ids, self.markers, self.template = like.end_ids, like.markers, like.template

    def encode(self, text: str) -> Sequence[int]:
        return self._like.encode(text)

    def token_bytes(self, token_id: int) -> bytes:
        return self._like.token_bytes(token_id) if token_id < self._like.n_tokens else b""

    def token_ends(self, text: str) -> Sequence[int] | None:
        return self._like.token_ends(text)


def last_ids(ids: Sequence[int] | Ids, n: int) -> Ids:
    """The last n ids, −1 at the left where there are fewer.

    >>> last_ids([4, 5, 6], 2).tolist(), last_ids([4], 3).tolist(), last_ids([], 2).tolist(), last_ids([4], 0).tolist()
    ([5, 6], [-1, -1, 4], [-1, -1], [])
    """
    out = np.full(n, -1, np.int64)
    if kept := min(n, len(ids)):
        out[n - kept :] = ids[-kept:]
    return out


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
