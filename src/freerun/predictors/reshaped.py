"""Laws that samplers make beside temperature, top-k and top-p: cut below a share of the top, or with penalties on what was said.

A penalty acts on the model's logits, before they are normalised, and depends on the context's ids (Keskar et al. 2019 for the
repetition penalty; presence and frequency as OpenAI's and vLLM's servers have them).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, device
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.predictors.law import Dense, Law
from freerun.predictors.observation import Block, host, log


class AboveShare(Law):
    """A law cut to the ids that have at least `share` of the most probable id's mass, and renormalised (min-p)."""

    def __init__(self, inner: Law, share: float) -> None:
        if inner.missing is not None and bool((inner.missing > 0).any()):
            raise UsageError("a law with missing mass cannot be restricted: what is missing is not known")
        self.inner, self.share = inner, share
        self.n_rows, self.n_tokens = inner.n_rows, inner.n_tokens

    def block(self, start: int, stop: int) -> Block:
        probs = self.inner.block(start, stop).probs
        xp = array_namespace(probs)
        kept = xp.where(probs >= self.share * xp.max(probs, axis=1, keepdims=True), probs, xp.zeros_like(probs))
        kept = kept / xp.sum(kept, axis=1, keepdims=True)
        return Block(log(xp, kept), kept)


@dataclass(frozen=True, eq=False)
class Said:
    """The ids of one context: those of the prompt, and those written after it."""

    prompt: Int[np.ndarray, " prompt"]
    written: Int[np.ndarray, " written"]

    @property
    def seen(self) -> Int[np.ndarray, " distinct"]:
        """Every id of the context once."""
        return np.unique(np.concatenate([self.prompt, self.written]))

    @property
    def counts(self) -> tuple[Int[np.ndarray, " distinct"], Int[np.ndarray, " distinct"]]:
        """Every id written, and how often."""
        ids, times = np.unique(self.written, return_counts=True)
        return ids, times


@dataclass(frozen=True)
class Penalties:
    """`repetition` divides a positive logit of an id of the context and multiplies a negative one; `presence` is taken off the
    logit of an id that was written, `frequency` once for each time."""

    repetition: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0

    def apply(self, logits: Float[np.ndarray, " vocabulary"], said: Said) -> None:
        """Change one row of logits in place."""
        if self.repetition != 1.0:
            seen = said.seen
            values = logits[seen]
            logits[seen] = np.where(values > 0, values / self.repetition, values * self.repetition)
        if self.presence or self.frequency:
            ids, times = said.counts
            logits[ids] -= self.presence + self.frequency * times


class Penalised(Law):
    """A law with penalties on ids of each row's context. Where it is not made of logits, its log-probabilities stand for them."""

    def __init__(self, inner: Law, penalties: Penalties, contexts: Sequence[Said]) -> None:
        if len(contexts) != inner.n_rows:
            raise UsageError(f"a law of {inner.n_rows} rows needs one context each, not {len(contexts)}")
        self.inner, self.penalties, self.contexts = inner, penalties, contexts
        self.n_rows, self.n_tokens, self.missing = inner.n_rows, inner.n_tokens, inner.missing

    def block(self, start: int, stop: int) -> Block:
        table = logits_of(self.inner, start, stop)
        for row, said in zip(table, self.contexts[start:stop], strict=True):
            self.penalties.apply(row, said)
        like = self.inner.logits if isinstance(self.inner, Dense) else table
        xp = array_namespace(like)
        return Dense(xp.asarray(table, device=device(like))).block(0, stop - start)


def logits_of(law: Law, start: int, stop: int) -> Float[np.ndarray, "rows vocabulary"]:
    """The model's own logits of some rows in float64, as a copy; log-probabilities of a law that is not made of any."""
    if isinstance(law, Dense) and law.missing is None:
        xp = array_namespace(law.logits)
        return np.array(host(xp.astype(law.logits[start:stop], xp.float64)))
    return np.array(host(law.block(start, stop).log_probs))
