"""Documents that an organism needs dressed (a header before the body), and the view in which only bodies are measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from freerun.errors import UsageError
from freerun.organisms.hashed import Hashed
from freerun.predictors.base import Chunk, Continuations, Ids, OnTokens, Predictor, Sample, SharesTokens
from freerun.stats.loops.lag_runs import LoopRule


class BodiesOnly(SharesTokens):
    """A headed organism as seen by someone who reads bodies: headers are written, checked and paid for, but never shown.

    Real bodies get a valid header, a function of (`seed`, the body's ids); free runs write their own. Observations, positions and
    uniforms count from the first token of the body. There is no law of a body by itself, so there are no steps.
    """

    def __init__(self, organism: Hashed, *, seed: int) -> None:
        self.organism, self.seed = organism, seed
        self._share_tokens(organism)
        self.identity, self.context = organism.identity, organism.context
        self.capabilities = replace(organism.capabilities, hidden_context=True)

    @property
    def inside(self) -> tuple[Predictor, ...]:
        return (self.organism,)

    def with_lead(self, lead: tuple[int, ...]) -> BodiesOnly:
        return BodiesOnly(self.organism.with_lead(lead), seed=self.seed)

    def score(self, sequences: Sequence[Ids], *, first: int = 0, loop_rule: LoopRule | None = None) -> Iterator[Chunk]:
        header = self.organism.header_tokens
        dressed = [self.organism.dress(s, seed=self.seed, key=self.organism.header_key(s)) for s in sequences]
        for chunk in self.organism.score(dressed, first=header + first, loop_rule=loop_rule):
            yield replace(chunk, position=chunk.position - header)

    def generate(self, continuations: Continuations, *, on_tokens: OnTokens = None) -> Iterator[Sample]:
        if any(len(p) for p in continuations.prefixes):
            raise UsageError(f"{self.identity.name} writes whole documents, header first: it needs --prefix 0")
        header = self.organism.header_tokens
        steps = 0

        def tell(n: int) -> None:
            nonlocal steps
            steps += 1
            if on_tokens is not None and steps > header:
                on_tokens(n)

        whole = replace(continuations, length=continuations.length + header)
        for sample in self.organism.generate(whole, on_tokens=tell):
            uniform, other = sample.uniform, sample.sample_log_prob_nats
            yield replace(
                sample,
                observation=sample.observation.take(slice(header, None)),
                uniform=None if uniform is None else uniform[header:],
                sample_log_prob_nats=None if other is None else other[header:],
            )


def measured_view(predictor: Predictor, *, prefix_tokens: int, seed: int) -> Predictor:
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
