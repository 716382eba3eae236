"""Reference predictors: fixed mixtures of predictors, and the cache of the document itself (Kuhn & De Mori 1990)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.predictors.base import Capabilities, Predictor
from freerun.predictors.law import Dense, Law
from freerun.predictors.rules import ContextRule, Identity


class Mixture(Predictor[list[Any]]):
    """`Σ w_i q_i` at every token, with weights that never change; all components share the first one's vocabulary."""

    def __init__(self, components: Sequence[Predictor[Any]], weights: Sequence[float], *, name: str) -> None:
        if len(components) != len(weights) or abs(sum(weights) - 1) > 1e-9 or min(weights) < 0:
            raise UsageError(
                f"a mixture needs one weight ≥ 0 a component and weights that sum to 1, not {list(weights)}"
            )
        if len({c.n_tokens for c in components}) != 1:
            raise UsageError(f"a mixture's components must share a vocabulary, not {[c.n_tokens for c in components]}")
        self.components, self.weights = list(components), [float(w) for w in weights]
        self.n_tokens = components[0].n_tokens
        self.context = components[0].context
        self.end_ids, self.markers = components[0].end_ids, components[0].markers
        self.capabilities = Capabilities(
            full_law=all(c.capabilities.full_law for c in components),
            empty_context=all(c.capabilities.empty_context for c in components),
        )
        parts = "+".join(f"{w:.6g}*{c.identity.fingerprint}" for w, c in zip(weights, components, strict=True))
        self.identity = Identity(name, f"mixture({parts})")

    def with_lead(self, lead: tuple[int, ...]) -> Mixture:
        other = copy.copy(self)
        other.components = [c.with_lead(lead) for c in self.components]
        other.context = other.components[0].context
        return other

    def encode(self, text: str) -> Sequence[int]:
        return self.components[0].encode(text)

    def token_bytes(self, token_id: int) -> bytes:
        return self.components[0].token_bytes(token_id)

    def token_ends(self, text: str) -> Sequence[int] | None:
        return self.components[0].token_ends(text)

    def start(self, prefixes: Sequence[Int[np.ndarray, " tokens"]]) -> list[Any]:
        return [c.start(prefixes) for c in self.components]

    def law(self, state: list[Any]) -> Law:
        law = self.components[0].law(state[0])
        held = self.weights[0]
        for component, inner, weight in zip(self.components[1:], state[1:], self.weights[1:], strict=True):
            held += weight
            law = law.mixed(weight / held if held else 0.0, component.law(inner))
        return law

    def advance(self, state: list[Any], ids: Int[np.ndarray, " rows"]) -> list[Any]:
        return [c.advance(s, ids) for c, s in zip(self.components, state, strict=True)]

    def select(self, state: list[Any], rows: Int[np.ndarray, " taken"]) -> list[Any]:
        return [c.select(s, rows) for c, s in zip(self.components, state, strict=True)]

    def join(self, states: Sequence[list[Any]]) -> list[Any]:
        return [c.join(parts) for c, parts in zip(self.components, zip(*states, strict=True), strict=True)]

    def nbytes(self, state: list[Any]) -> int:
        return sum(c.nbytes(s) for c, s in zip(self.components, state, strict=True))


class DocumentCache(Predictor[list[np.ndarray]]):
    """The share of each token among the document's tokens so far; uniform before the first. Unseen tokens have probability 0."""

    def __init__(self, like: Predictor[Any]) -> None:
        self._like = like
        self.n_tokens = like.n_tokens
        self.context = ContextRule()
        self.end_ids = like.end_ids
        self.capabilities = Capabilities()
        self.identity = Identity("document cache", f"cache-{like.n_tokens}")

    def encode(self, text: str) -> Sequence[int]:
        return self._like.encode(text)

    def token_bytes(self, token_id: int) -> bytes:
        return self._like.token_bytes(token_id)

    def start(self, prefixes: Sequence[Int[np.ndarray, " tokens"]]) -> list[np.ndarray]:
        return [np.asarray(p, np.int64) for p in prefixes]

    def law(self, state: list[np.ndarray]) -> Law:
        probs = np.full((len(state), self.n_tokens), 1.0 / self.n_tokens)
        for row, ids in enumerate(state):
            if len(ids):
                probs[row] = np.bincount(ids, minlength=self.n_tokens) / len(ids)
        with np.errstate(divide="ignore"):
            return Dense(np.log(probs))

    def advance(self, state: list[np.ndarray], ids: Int[np.ndarray, " rows"]) -> list[np.ndarray]:
        return [np.append(s, i) for s, i in zip(state, ids, strict=True)]

    def select(self, state: list[np.ndarray], rows: Int[np.ndarray, " taken"]) -> list[np.ndarray]:
        return [state[int(r)] for r in rows]

    def join(self, states: Sequence[list[np.ndarray]]) -> list[np.ndarray]:
        return [row for state in states for row in state]

    def nbytes(self, state: list[np.ndarray]) -> int:
        return sum(s.nbytes for s in state)

    def log_probs(
        self, sequences: Sequence[Int[np.ndarray, " tokens"]], *, first: int = 0
    ) -> list[Float[np.ndarray, " scored"]]:
        """−inf where a token has not occurred before."""
        out = []
        for s in sequences:
            seen = np.array([np.count_nonzero(s[:t] == s[t]) for t in range(first, len(s))], np.float64)
            length = np.arange(first, len(s), dtype=np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                share = np.where(length > 0, seen / length, 1.0 / self.n_tokens)
                out.append(np.log(share))
        return out
