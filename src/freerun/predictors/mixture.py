"""Reference predictors: fixed mixtures of predictors, and the cache of the document itself (Kuhn & De Mori 1990)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.predictors.base import Capabilities, Ids, Predictor, SharesTokens
from freerun.predictors.law import Dense, Law
from freerun.predictors.observation import log
from freerun.predictors.rowwise import Inside, Rowwise
from freerun.predictors.rules import Identity
from freerun.predictors.stepwise import Stepwise


class Mixture(SharesTokens, Rowwise[tuple[Inside, ...]]):
    """`Σ w_i q_i` at every token, with weights that never change; all components share the first one's vocabulary."""

    def __init__(self, components: Sequence[Stepwise[Any]], weights: Sequence[float], *, name: str) -> None:
        if len(components) != len(weights) or abs(sum(weights) - 1) > 1e-9 or min(weights) < 0:
            raise UsageError(
                f"a mixture needs one weight ≥ 0 a component and weights that sum to 1, not {list(weights)}"
            )
        if len({c.n_tokens for c in components}) != 1:
            raise UsageError(f"a mixture's components must share a vocabulary, not {[c.n_tokens for c in components]}")
        self.components, self.weights = tuple(components), [float(w) for w in weights]
        self._share_tokens(components[0])
        self.context = components[0].context
        self.capabilities = Capabilities(
            full_law=all(c.capabilities.full_law for c in components),
            empty_context=all(c.capabilities.empty_context for c in components),
        )
        parts = "+".join(f"{w:.6g}*{c.identity.fingerprint}" for w, c in zip(weights, components, strict=True))
        self.identity = Identity(name, f"mixture({parts})")

    @property
    def inside(self) -> tuple[Predictor, ...]:
        return self.components

    def with_lead(self, lead: tuple[int, ...]) -> Mixture:
        other = copy.copy(self)
        other.components = tuple(c.with_lead(lead) for c in self.components)
        other.context = other.components[0].context
        return other

    def start(self, prefixes: Sequence[Ids]) -> tuple[Inside, ...]:
        return tuple(Inside.start(c, prefixes) for c in self.components)

    def law(self, state: tuple[Inside, ...]) -> Law:
        law, total = state[0].law(), self.weights[0]
        for inner, weight in zip(state[1:], self.weights[1:], strict=True):
            total += weight
            law = law.mixed(weight / total if total else 0.0, inner.law())
        return law

    def advance(self, state: tuple[Inside, ...], ids: Int[np.ndarray, " rows"]) -> tuple[Inside, ...]:
        return tuple(s.advance(ids) for s in state)


class DocumentCache(SharesTokens, Rowwise[list[np.ndarray]]):
    """The share of each token among the document's tokens so far; uniform before the first. Unseen tokens have probability 0."""

    def __init__(self, like: Predictor) -> None:
        self._share_tokens(like)
        self.identity = Identity("document cache", f"cache-{like.n_tokens}")

    def start(self, prefixes: Sequence[Ids]) -> list[np.ndarray]:
        return [np.asarray(p, np.int64) for p in prefixes]

    def law(self, state: list[np.ndarray]) -> Law:
        probs = np.full((len(state), self.n_tokens), 1.0 / self.n_tokens)
        for row, ids in enumerate(state):
            if len(ids):
                probs[row] = np.bincount(ids, minlength=self.n_tokens) / len(ids)
        return Dense(log(np, probs))

    def advance(self, state: list[np.ndarray], ids: Int[np.ndarray, " rows"]) -> list[np.ndarray]:
        return [np.append(s, i) for s, i in zip(state, ids, strict=True)]

    def log_probs(self, sequences: Sequence[Ids], *, first: int = 0) -> list[Float[np.ndarray, " scored"]]:
        """−inf where a token has not occurred before."""
        out = []
        for s in sequences:
            seen = np.array([np.count_nonzero(s[:t] == s[t]) for t in range(first, len(s))], np.float64)
            length = np.arange(first, len(s), dtype=np.float64)
            out.append(log(np, np.where(length > 0, seen / np.maximum(length, 1), 1.0 / self.n_tokens)))
        return out
