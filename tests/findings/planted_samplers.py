"""Small predictors whose sampler and scorer are not of one law, each in another way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from freerun.predictors.base import Continuations, Sample
from freerun.predictors.ngram import NGramPredictor, byte_ngram
from freerun.predictors.observation import Observation
from freerun.predictors.stepwise import Stepwise
from freerun.text.documents import Corpus
from freerun.worlds.markov import random_chain

Ids = np.ndarray[Any, Any]


class Planted(Stepwise[Any]):
    """Scores by one predictor and samples by another: all rows, or every so many, and their law from a position on."""

    def __init__(
        self,
        scorer: Stepwise[Any],
        sampler: Stepwise[Any],
        *,
        every: int = 1,
        after: int = 0,
        name: str = "world/planted",
    ) -> None:
        self.scorer, self.sampler, self.every, self.after = scorer, sampler, every, after
        self.identity = replace(scorer.identity, name=name, fingerprint=f"{name}-{every}-{after}")
        for shared in ("n_tokens", "context", "end_ids", "capabilities"):
            setattr(self, shared, getattr(scorer, shared))

    def encode(self, text: str) -> Sequence[int]:
        return self.scorer.encode(text)

    def token_bytes(self, token_id: int) -> bytes:
        return self.scorer.token_bytes(token_id)

    def start(self, prefixes: Any) -> Any:
        return self.scorer.start(prefixes)

    def law(self, state: Any) -> Any:
        return self.scorer.law(state)

    def advance(self, state: Any, ids: Ids) -> Any:
        return self.scorer.advance(state, ids)

    def select(self, state: Any, rows: Ids) -> Any:
        return self.scorer.select(state, rows)

    def nbytes(self, state: Any) -> int:
        return self.scorer.nbytes(state)

    def generate(self, continuations: Continuations, **named: Any) -> Iterator[Sample]:
        """Every text and its record come from the sampler; those of right rows, and right positions, from the scorer."""
        n_each = continuations.n_each
        right = {s.row: s for s in self.scorer.generate(continuations, **named)}
        wrong = {s.row: s for s in self.sampler.generate(continuations, **named)}
        for row, sample in sorted(right.items()):
            if row % self.every:
                yield sample
            elif not self.after:
                yield wrong[row]
            else:
                yield self._turned(sample, np.asarray(continuations.prefixes[row // n_each]))

    def _turned(self, sample: Sample, prefix: Ids) -> Sample:
        """A right text up to a position; from there on drawn from the sampler's law, with the same uniforms."""
        k, ids = self.after, sample.observation.token_id[: self.after].astype(np.int64)
        parts = [sample.observation.take(slice(0, k))]
        state = self.sampler.start([np.concatenate([prefix, ids])])
        for u in sample.uniform[k:]:
            seen = self.sampler.law(state).observe(uniforms=np.array([u]))
            parts.append(seen)
            state = self.sampler.advance(state, seen.token_id.astype(np.int64))
        return replace(sample, observation=Observation.concatenate(parts))


class StaleSelect(NGramPredictor):
    """Where rows are taken out, the first ones stay instead: what a cache does that is not moved with its rows."""

    def select(self, state: Ids, rows: Ids) -> Ids:
        if len(rows) < len(state):
            return np.array(state[: len(rows)])
        return np.asarray(state[rows])


class StaleJoin(NGramPredictor):
    """Rows that come in beside others get the state of those."""

    def join(self, states: Sequence[Ids]) -> Ids:
        if len(states) < 2 or len(states[0]) < len(states[1]):
            return np.concatenate(states)
        return np.concatenate([states[0], states[0][: len(states[1])]])


def chain(seed: int = 0) -> Predictor:
    """A chain of 8 symbols; another one for each seed."""
    return random_chain(8, seed=seed)


def letters(n: int = 64, length: int = 90) -> Corpus:
    """Texts of a chain, as text."""
    corpus = random_chain(8, seed=0).corpus(n, length, seed=3)
    return replace(corpus, documents=tuple(replace(d, ids=None) for d in corpus.documents))


def counted(kind: type[NGramPredictor] = NGramPredictor) -> NGramPredictor:
    """A byte trigram of texts of 4 to 40 letters: its own texts end at all lengths."""
    texts = [d.text[: 4 + 3 * (i % 13)] for i, d in enumerate(letters().documents)]
    right = byte_ngram(texts, order=3, name="ngram/3@letters")
    return kind(
        right.counts,
        name=f"{kind.__name__.lower()}/3@letters",
        encode=right.encode,
        token_bytes=right.token_bytes,
        end_ids=right.end_ids,
    )
