"""Finite-order Markov chains whose law is known exactly: a predictor and a corpus at once.

Entropy rate of an irreducible chain: h = Σ_s π(s) H(p(·|s)), π its stationary law (Cover & Thomas 2006, theorem 4.2.4).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.predictors.base import Capabilities, ContextRule, Identity, Predictor
from freerun.predictors.draws import sequence_key, uniforms
from freerun.predictors.law import Dense, Law
from freerun.text.documents import Corpus, Document


class MarkovWorld(Predictor[np.ndarray]):
    """A first-order chain over `n` symbols: `transitions[i, j]` is the probability of j after i, `initial[j]` of j first."""

    def __init__(
        self,
        transitions: Float[np.ndarray, "n n"],
        *,
        initial: Float[np.ndarray, " n"] | None = None,
        name: str = "world/markov",
        symbols: str = "abcdefghijklmnopqrstuvwxyz",
    ) -> None:
        transitions = np.asarray(transitions, np.float64)
        n = len(transitions)
        if transitions.shape != (n, n) or n > len(symbols) or (transitions < 0).any():
            raise UsageError(f"transitions must be a square table of probabilities of at most {len(symbols)} symbols")
        if not np.allclose(transitions.sum(1), 1, atol=1e-12):
            raise UsageError("every row of the transitions must sum to 1")
        self.transitions = transitions
        self.initial = stationary_law(transitions) if initial is None else np.asarray(initial, np.float64)
        self.symbols = symbols[:n]
        self.n_tokens = n
        self.context = ContextRule()
        self.end_ids = ()
        self.capabilities = Capabilities()
        table = np.vstack([self.transitions, self.initial])
        digest = hashlib.sha256(table.tobytes()).hexdigest()[:16]
        self.identity = Identity(name, f"markov-{digest}", nature="exact world", licence="none needed")

    def encode(self, text: str) -> list[int]:
        unknown = sorted(set(text) - set(self.symbols))
        if unknown:
            raise UsageError(f"{self.identity.name} knows only the symbols {self.symbols!r}, not {unknown[0]!r}")
        return [self.symbols.index(c) for c in text]

    def token_bytes(self, token_id: int) -> bytes:
        return self.symbols[token_id].encode()

    def start(self, prefixes: Sequence[Int[np.ndarray, " tokens"]]) -> Int[np.ndarray, " rows"]:
        return np.array([p[-1] if len(p) else -1 for p in prefixes], np.int64)

    def law(self, state: Int[np.ndarray, " rows"]) -> Law:
        table = np.vstack([self.transitions, self.initial])  # row −1 is the start
        with np.errstate(divide="ignore"):
            return Dense(np.log(table[state]))

    def advance(self, state: Int[np.ndarray, " rows"], ids: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
        return np.asarray(ids, np.int64)

    def select(self, state: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " taken"]) -> Int[np.ndarray, " taken"]:
        return np.asarray(state[rows])

    def nbytes(self, state: Int[np.ndarray, " rows"]) -> int:
        return state.nbytes

    def entropy_rate(self) -> float:
        """Nats per token."""
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(self.transitions > 0, self.transitions * np.log(self.transitions), 0.0)
        return float(-stationary_law(self.transitions) @ terms.sum(1))

    def corpus(self, n_documents: int, n_tokens: int, *, seed: int) -> Corpus:
        """Sampled documents, each an independent unit; ids and text."""
        keys = np.array([[sequence_key(self.identity.fingerprint, "corpus", i)] for i in range(n_documents)], np.uint64)
        draws = np.stack([uniforms(seed, int(k[0]), n_tokens) for k in keys])
        ids = np.zeros((n_documents, n_tokens), np.int64)
        state = self.start([np.zeros(0, np.int64)] * n_documents)
        for t in range(n_tokens):
            ids[:, t] = self.law(state).sample(draws[:, t])
            state = self.advance(state, ids[:, t])
        documents = []
        for i, row in enumerate(ids):
            name = f"{self.identity.name}/{seed}/{i}"
            text = "".join(self.symbols[j] for j in row)
            documents.append(Document(id=name, text=text, unit=name, ids=tuple(int(j) for j in row)))
        digest = hashlib.sha256(ids.tobytes()).hexdigest()
        return Corpus(self.identity.name, self.identity.name, tuple(documents), digest, True, 0, ())


def stationary_law(transitions: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " n"]:
    """The stationary law of an irreducible chain, by solving πP = π, Σπ = 1."""
    n = len(transitions)
    system = np.vstack([transitions.T - np.eye(n), np.ones(n)])
    return np.asarray(np.linalg.lstsq(system, np.append(np.zeros(n), 1.0), rcond=None)[0])


def random_chain(n_symbols: int = 8, *, seed: int = 0, concentration: float = 0.3) -> MarkovWorld:
    """A chain with Dirichlet rows."""
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.full(n_symbols, concentration) + 1e-3, size=n_symbols)
    return MarkovWorld(table / table.sum(1, keepdims=True), name=f"world/markov,symbols={n_symbols},seed={seed}")
