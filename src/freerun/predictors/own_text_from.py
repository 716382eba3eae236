"""A model that reads what another one writes: own text comes from the writer (a server), every law from the reader."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
from jaxtyping import Float

from freerun.errors import BackendError, UsageError
from freerun.predictors.base import Chunk, Continuations, Ids, Laws, OnTokens, Pool, Predictor, Sample, SharesTokens
from freerun.predictors.observation import Observation
from freerun.stats.loops.lag_runs import LoopRule

READ_AT_ONCE = 64
"""Texts of the writer that are read together."""


class OwnTextFrom(SharesTokens):
    """The reader's laws, on text that the writer drew by itself.

    A sample's observations are the reader's; its `sample_log_prob_nats` are what the writer said of its own tokens. Nobody knows
    the
    uniforms. A text ends at the first id that either of the two ends a text with.
    """

    def __init__(self, reader: Predictor, writer: Predictor) -> None:
        check_same_tokens(reader, writer)
        if reader.capabilities.hidden_context:
            raise UsageError(
                f"{reader.identity.name} writes after tokens that are not shown: it cannot read another's text"
            )
        self.reader, self.writer = reader, writer.with_lead(reader.context.lead)
        self._share_tokens(reader)
        ends = {end.token_id: end for end in (*writer.markers.ends, *reader.markers.ends)}
        self.end_ids = tuple(dict.fromkeys((*reader.end_ids, *writer.end_ids)))
        self.markers = replace(reader.markers, ends=tuple(ends[i] for i in self.end_ids if i in ends))
        self.context = reader.context
        self.capabilities = replace(reader.capabilities, counted_draws=False)
        own, other = reader.identity, writer.identity
        both = hashlib.sha256(f"{own.fingerprint}\x1f{other.fingerprint}".encode()).hexdigest()[:16]
        facts = {f"writer: {k}": v for k, v in other.facts.items()}
        self.identity = replace(
            own, fingerprint=f"read-{both}", facts={**own.facts, "own text from": other.name, **facts}
        )

    @property
    def inside(self) -> tuple[Predictor, ...]:
        return (self.reader,)

    def with_lead(self, lead: tuple[int, ...]) -> Self:
        other = copy.copy(self)
        other.reader, other.writer = self.reader.with_lead(lead), self.writer.with_lead(lead)
        other.context = other.reader.context
        return other

    # ---- what the reader says --------------------------------------------------------------------------------------

    def score(self, sequences: Sequence[Ids], *, first: int = 0, loop_rule: LoopRule | None = None) -> Iterator[Chunk]:
        return self.reader.score(sequences, first=first, loop_rule=loop_rule)

    def log_probs(self, sequences: Sequence[Ids], *, first: int = 0) -> list[Float[np.ndarray, " scored"]]:
        return self.reader.log_probs(sequences, first=first)

    def laws(self, sequences: Sequence[Ids], *, first: int = 0) -> Iterator[Laws]:
        return self.reader.laws(sequences, first=first)

    # ---- what the writer writes ------------------------------------------------------------------------------------

    def generate(self, continuations: Continuations, *, on_tokens: OnTokens = None) -> Iterator[Sample]:
        """Texts by the writer, read by the reader as soon as there are some.

        Raises:
            UsageError: a text would not fit the writer's context. BackendError: the writer drew an id that the reader lacks.
        """
        todo = continuations
        waiting: list[Sample] = []
        for sample in self.written(todo, on_tokens=on_tokens):
            waiting.append(sample)
            if len(waiting) >= min(READ_AT_ONCE, todo.at_once or READ_AT_ONCE):
                yield from self._read(waiting, todo)
                waiting = []
        if waiting:
            yield from self._read(waiting, todo)

    def written(self, continuations: Continuations, *, on_tokens: OnTokens = None) -> Iterator[Sample]:
        """Texts by the writer with what it says of them itself, not read."""
        self._check_fits(continuations)
        todo = replace(continuations, loop_rule=None)
        return map(self._ended, self.writer.generate(todo, on_tokens=on_tokens))

    def _check_fits(self, todo: Continuations) -> None:
        longest = max(len(p) for p in todo.prefixes) + todo.length
        for who, predictor in (("the writer", self.writer), ("the model that reads", self.reader)):
            if (window := predictor.context.window) is not None and longest > window:
                raise UsageError(
                    f"texts have up to {longest} tokens, and {who} ({predictor.identity.name}) sees {window}: the two "
                    f"would not read the "
                    "same context; take fewer --tokens or a shorter --prefix"
                )

    def _ended(self, sample: Sample) -> Sample:
        """A sample up to its first end of text."""
        ids = sample.observation.token_id
        if len(ids) and int(ids.max()) >= self.reader.n_tokens:
            raise BackendError(
                f"{self.writer.identity.name} drew id {int(ids.max())}, and {self.reader.identity.name} has ids 0 to "
                f"{self.reader.n_tokens - 1} only: they are not of the same model"
            )
        return up_to_end(sample, self.end_ids)

    def _read(self, written: Sequence[Sample], todo: Continuations) -> Iterator[Sample]:
        """What the reader says of every token."""
        prefixes = [np.asarray(todo.prefixes[s.row // todo.n_each], np.int64) for s in written]
        texts = [np.concatenate([p, s.observation.token_id]) for p, s in zip(prefixes, written, strict=True)]
        firsts = np.array([len(p) for p in prefixes])
        parts: list[list[Chunk]] = [[] for _ in written]
        pool = Pool(len(written))
        for scored in self.reader.score(texts, first=int(firsts.min()), loop_rule=todo.loop_rule):
            chunk = scored.since(firsts)
            pool.add(chunk.row, chunk.hidden)
            for row in np.unique(chunk.row):
                at = np.flatnonzero(chunk.row == row)
                parts[row].append(Chunk(chunk.row[at], chunk.position[at], chunk.observation.take(at)))
        for row, sample in enumerate(written):
            order = np.argsort(np.concatenate([c.position for c in parts[row]]), kind="stable")
            seen = Observation.concatenate([c.observation for c in parts[row]]).take(order)
            told = sample.observation.log_prob_nats
            yield Sample(sample.row, sample.end_reason, seen, None, told, pool.mean(row))


def up_to_end(sample: Sample, end_ids: tuple[int, ...]) -> Sample:
    """A sample up to its first id that ends a text, that one included; as it is where there is none."""
    ends = np.flatnonzero(np.isin(sample.observation.token_id, end_ids))
    if not ends.size:
        return sample
    return replace(sample, end_reason="end_of_text", observation=sample.observation.take(slice(None, int(ends[0]) + 1)))


def check_same_tokens(reader: Predictor, writer: Predictor) -> None:
    """Refuse two models that do not mean the same by the same ids; rows of padding at the end may differ in number.

    Raises:
        UsageError: names the first id that differs.
    """
    names = f"{writer.identity.name} writes and {reader.identity.name} reads, and they"
    for i in range(min(reader.n_tokens, writer.n_tokens)):
        one, two = writer.token_bytes(i), reader.token_bytes(i)
        if one != two:
            raise UsageError(f"{names} do not share a tokenizer: id {i} is {one!r} to the one and {two!r} to the other")
    longer = max((reader, writer), key=lambda p: p.n_tokens)
    for i in range(min(reader.n_tokens, writer.n_tokens), longer.n_tokens):
        if longer.token_bytes(i):
            raise UsageError(
                f"{names} do not share a tokenizer: only {longer.identity.name} has id {i}, {longer.token_bytes(i)!r}"
            )
