"""What every exact world is: a predictor whose law is the truth, and the corpus that it writes.

After a prefix of probability zero no law follows from the process. Every world then says what it does instead (start anew, at that
token where it may come first); log-probabilities stay −inf, and posteriors refuse.
"""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np
from jaxtyping import Float

from freerun.errors import DataError, UsageError
from freerun.predictors.base import Ids
from freerun.predictors.draws import sequence_key, uniforms
from freerun.predictors.entries import Entry
from freerun.predictors.law import Dense, Law
from freerun.predictors.observation import log
from freerun.predictors.rowwise import Rowwise
from freerun.predictors.rules import Identity, Nature
from freerun.predictors.stepwise import StateT, Stepwise
from freerun.text.documents import Corpus, Document, assemble


@dataclass(frozen=True)
class WorldEntry(Entry):
    """One kind of world; `build` takes the values of the parameters by their names."""

    prefix: ClassVar[str] = "world/"


class World(Rowwise[StateT]):
    """A process over a few symbols, one letter each, whose next-symbol law is known exactly."""

    symbols: str
    sources: tuple[str, ...] = ()
    """What the columns of `posterior` stand for; empty where nothing is hidden."""

    def __init__(self, *, name: str, fingerprint: str, symbols: str, end_ids: tuple[int, ...] = ()) -> None:
        self.symbols = symbols
        self.n_tokens = len(symbols)
        self.end_ids = end_ids
        self.identity = Identity(name, fingerprint, nature=Nature("exact world"), licence="none needed")

    # ---- text ------------------------------------------------------------------------------------------------------

    def encode(self, text: str) -> Sequence[int]:
        unknown = sorted(set(text) - set(self.symbols))
        if unknown:
            raise UsageError(
                f"{self.identity.name} knows only the symbols {self.symbols!r}, not {unknown[0]!r}; for text that it can "
                f"read, name the world itself as the corpus: {self.identity.name.split(',')[0]}"
            )
        return [self.symbols.index(c) for c in text]

    def token_bytes(self, token_id: int) -> bytes:
        return self.symbols[token_id].encode()

    # ---- one step --------------------------------------------------------------------------------------------------

    @abstractmethod
    def read(self, prefixes: Sequence[Ids]) -> StateT:
        """The state after each of the prefixes, whose ids are known to be in range."""

    @abstractmethod
    def probabilities(self, state: StateT) -> Float[np.ndarray, "rows symbols"]:
        """The law of the next symbol."""

    def start(self, prefixes: Sequence[Ids]) -> StateT:
        lead = np.asarray(self.context.lead, np.int64)
        return self.read([np.concatenate([lead, self._checked(p)]) for p in prefixes])

    def law(self, state: StateT) -> Law:
        return Dense(log(np, self.probabilities(state)))

    # ---- what is exact ---------------------------------------------------------------------------------------------

    def entropy_rate(self) -> float | None:
        """Nats per symbol; None where there is no closed form."""
        return None

    def log_probability(self, ids: Ids) -> float:
        """ln P(a document begins with `ids`), nats; −inf if it cannot."""
        return float(self.log_probs([np.asarray(ids, np.int64)])[0].sum())

    def posterior(self, ids: Ids) -> Float[np.ndarray, "tokens_1 sources"]:
        """What is hidden, given the first t of the ids: row t, column as in `sources`.

        Raises:
            UsageError: nothing is hidden in this world. DataError: `ids` have probability zero.
        """
        raise UsageError(f"{self.identity.name} has nothing hidden, so no posterior")

    def log_probs(self, sequences: Sequence[Ids], *, first: int = 0) -> list[Float[np.ndarray, " scored"]]:
        """Log-probabilities alone, position by position over all sequences at once."""
        self._check_first(first)
        sequences = [self._checked(s) for s in sequences]
        lengths = np.array([len(s) for s in sequences], np.int64)
        longest = int(lengths.max(initial=first))
        ids = np.zeros((len(sequences), longest), np.int64)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
        out = np.zeros((len(sequences), max(0, longest - first)))
        rows = np.flatnonzero(lengths > first)
        state = self.start([sequences[int(i)][:first] for i in rows]) if len(rows) else None
        for position in range(first, longest):
            assert state is not None
            if position > first:
                state = self.advance(state, ids[rows, position - 1])
                alive = lengths[rows] > position
                if not alive.all():
                    state, rows = self.select(state, np.flatnonzero(alive)), rows[alive]
            now = self.probabilities(state)[np.arange(len(rows)), ids[rows, position]]
            out[rows, position - first] = log(np, now)
        return [row[: max(0, n - first)] for row, n in zip(out, lengths, strict=True)]

    # ---- the corpus that it writes ---------------------------------------------------------------------------------

    def corpus(self, n_documents: int, n_tokens: int, *, seed: int) -> Corpus:
        """Sampled documents of `n_tokens` symbols (fewer where the process ends), each an independent unit; ids and text."""
        draws = self.document_draws("corpus", n_documents, n_tokens, seed=seed)
        return self.as_corpus(run(self, draws), seed=seed)

    def document_draws(self, what: str, n_documents: int, n_tokens: int, *, seed: int) -> Float[np.ndarray, "n t"]:
        """Uniforms of each document; more documents or more tokens begin with the same ones."""
        keys = [sequence_key(self.identity.fingerprint, what, i) for i in range(n_documents)]
        return np.array([uniforms(seed, k, n_tokens) for k in keys]).reshape(n_documents, n_tokens)

    def as_corpus(
        self, documents: Sequence[Ids], *, seed: int, meta: Sequence[Mapping[str, str]] | None = None
    ) -> Corpus:
        """Sequences as a corpus of this world."""
        name = self.identity.name
        made = []
        for i, ids in enumerate(documents):
            text = b"".join(self.token_bytes(int(j)) for j in ids).decode("utf-8", "replace")
            key = f"{name}/{seed}/{i}"
            made.append(Document(key, text, key, meta[i] if meta else {}, tuple(int(j) for j in ids)))
        return assemble(made, name=name, spec=name)

    # ---- refusals --------------------------------------------------------------------------------------------------

    def _checked(self, ids: Any) -> Ids:
        given: Ids = np.asarray(ids, np.int64)
        wrong = given[(given < 0) | (given >= self.n_tokens)]
        if wrong.size:
            raise UsageError(
                f"token id {wrong[0]} lies outside {self.identity.name}, which has ids 0 to {self.n_tokens - 1}"
            )
        return given

    def _refuse_impossible(self, ids: Ids, position: int) -> NoReturn:
        what = self.token_bytes(int(ids[position])).decode("utf-8", "replace")
        raise DataError(
            f"{self.identity.name} cannot write {what!r} (id {int(ids[position])}) as token {position + 1} of this text: "
            "its probability is zero, so no posterior follows"
        )


def run(predictor: Stepwise[Any], draws: Float[np.ndarray, "n t"]) -> list[Ids]:
    """Sequences from the start by inverse CDF, one a row of uniforms; an end-of-text id ends one and is left out."""
    n, length = draws.shape
    ids = np.zeros((n, length), np.int64)
    lengths = np.full(n, length)
    rows = np.arange(n)
    state = predictor.start([np.zeros(0, np.int64)] * n) if n else None
    for t in range(length if n else 0):
        drawn = predictor.law(state).sample(draws[rows, t])
        ids[rows, t] = drawn
        going = np.flatnonzero(~np.isin(drawn, predictor.end_ids))
        if len(going) < len(rows):
            ended = np.setdiff1d(np.arange(len(rows)), going)
            lengths[rows[ended]] = t
            if not len(going):
                break
            state, rows, drawn = predictor.select(state, going), rows[going], drawn[going]
        if t < length - 1:
            state = predictor.advance(state, drawn)
    return [row[:m] for row, m in zip(ids, lengths, strict=True)]


def digest(kind: str, *tables: np.ndarray) -> str:
    """A fingerprint from what defines a process, to twelve decimals: documents are drawn by it, and the last bits of a
    stationary law depend on the processor.

    >>> digest("x", np.array([1 / 3])) == digest("x", np.array([1 / 3 + 2**-54]))
    True
    """
    found = hashlib.sha256()
    for table in tables:
        found.update((np.round(np.asarray(table, np.float64), 12) + 0.0).tobytes())
    return f"{kind}-{found.hexdigest()[:16]}"


def spec_name(kind: str, **parameters: object) -> str:
    """The spec that builds a world again.

    >>> spec_name("even", p=0.5)
    'world/even,p=0.5'
    """
    return ",".join([f"world/{kind}", *(f"{k}={v}" for k, v in parameters.items())])


def check_probability(name: str, value: float, *, closed: bool = False) -> None:
    """Refuse what is not a probability.

    Raises:
        UsageError: outside (0, 1), or [0, 1] where `closed`.
    """
    if not (0 <= value <= 1 if closed else 0 < value < 1) or math.isnan(value):
        between = "from 0 to 1" if closed else "strictly between 0 and 1"
        raise UsageError(f"{name}={value} is not a probability {between}")
