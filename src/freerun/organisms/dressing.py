"""Documents that an organism needs dressed (a header before the body), and the view in which only bodies are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int

from freerun.errors import UsageError
from freerun.organisms.hashed import Hashed
from freerun.organisms.wrapper import MODEL_LAW
from freerun.predictors.base import Chunk, Predictor, Sample
from freerun.predictors.draws import sequence_key
from freerun.predictors.law import Law
from freerun.predictors.rules import SamplingRule
from freerun.stats.loops.lag_runs import LoopRule
from freerun.text.documents import Corpus, fingerprint

Ids = Int[np.ndarray, " tokens"]


class BodiesOnly(Predictor[Any]):
    """A headed organism as seen by someone who reads bodies: headers are written, checked and paid for, but never shown.

    Real bodies get a valid header, a function of (`seed`, the body's ids); free runs write their own. Observations, positions and
    uniforms count from the first token of the body. There is no law of a body by itself, so there are no steps.
    """

    def __init__(self, organism: Hashed, *, seed: int) -> None:
        self.organism, self.seed = organism, seed
        self.identity, self.n_tokens, self.end_ids = organism.identity, organism.n_tokens, organism.end_ids
        self.context, self.markers = organism.context, organism.markers
        self.capabilities = replace(organism.capabilities, stepwise=False, hidden_context=True)

    def encode(self, text: str) -> Sequence[int]:
        return self.organism.encode(text)

    def token_bytes(self, token_id: int) -> bytes:
        return self.organism.token_bytes(token_id)

    def token_ends(self, text: str) -> Sequence[int] | None:
        return self.organism.token_ends(text)

    def with_lead(self, lead: tuple[int, ...]) -> BodiesOnly:
        organism = self.organism.with_lead(lead)
        assert isinstance(organism, Hashed)
        return BodiesOnly(organism, seed=self.seed)

    def start(self, prefixes: Sequence[Ids]) -> Any:
        raise UsageError(f"{self.identity.name}, bodies only: the law of a body depends on a header that is not shown")

    def law(self, state: Any) -> Law:
        return self.organism.law(state)

    def advance(self, state: Any, ids: Int[np.ndarray, " rows"]) -> Any:
        return self.organism.advance(state, ids)

    def select(self, state: Any, rows: Int[np.ndarray, " taken"]) -> Any:
        return self.organism.select(state, rows)

    def nbytes(self, state: Any) -> int:
        return self.organism.nbytes(state)

    def score(self, sequences: Sequence[Ids], *, first: int = 0, loop_rule: LoopRule | None = None) -> Iterator[Chunk]:
        header = self.organism.header_tokens
        dressed = [self.organism.dress(s, seed=self.seed, key=self.organism.header_key(s)) for s in sequences]
        for chunk in self.organism.score(dressed, first=header + first, loop_rule=loop_rule):
            yield replace(chunk, position=chunk.position - header)

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
        if any(len(p) for p in prefixes):
            raise UsageError(f"{self.identity.name} writes whole documents, header first: it needs --prefix 0")
        header = self.organism.header_tokens
        steps = 0

        def tell(n: int) -> None:
            nonlocal steps
            steps += 1
            if on_tokens is not None and steps > header:
                on_tokens(n)

        for sample in self.organism.generate(
            prefixes,
            keys,
            length + header,
            seed=seed,
            sampling=sampling,
            loop_rule=loop_rule,
            at_once=at_once,
            on_tokens=tell,
        ):
            other = sample.sample_log_prob_nats
            yield replace(
                sample,
                observation=sample.observation.take(slice(header, None)),
                uniform=sample.uniform[header:],
                sample_log_prob_nats=None if other is None else other[header:],
            )


def measured_view(predictor: Predictor[Any], *, prefix_tokens: int, seed: int) -> Predictor[Any]:
    """What an audit measures: the predictor itself, or its bodies where documents must be headed.

    Raises:
        UsageError: a headed organism with a prefix.
    """
    if not isinstance(predictor, Hashed):
        return predictor
    if prefix_tokens:
        raise UsageError(
            f"{predictor.identity.name} writes documents that begin with a header: it needs --prefix 0, not {prefix_tokens}"
        )
    return BodiesOnly(predictor, seed=seed)


def dressed_corpus(corpus: Corpus, organism: Hashed, *, seed: int) -> Corpus:
    """The corpus with a valid header before every document, as ids (the text stays that of the body)."""
    documents = []
    for document in corpus.documents:
        ids = np.array(document.ids if document.ids is not None else organism.encode(document.text), np.int64)
        headed = organism.dress(ids, seed=seed, key=sequence_key("header", document.id))
        documents.append(replace(document, ids=tuple(headed.tolist())))
    note = f"every document headed by {organism.header_tokens} tokens, a hash and its preimage"
    return replace(corpus, documents=tuple(documents), fingerprint=fingerprint(documents), notes=(*corpus.notes, note))
