"""A served model as a Predictor: whole texts only, and of every law the token's own log-probability."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import BackendError, UsageError
from freerun.predictors.base import Capabilities, Chunk, Continuations, Ids, OnTokens, Predictor, Sample
from freerun.predictors.observation import Observation
from freerun.predictors.rules import MODEL_LAW, ContextRule, Identity, Nature, SamplingRule
from freerun.predictors.servers.answers import Scores
from freerun.predictors.servers.client import Client
from freerun.predictors.servers.dialect import Dialect, Service
from freerun.predictors.servers.sampling import Settings
from freerun.predictors.servers.words import Words
from freerun.stats.loops.lag_runs import LoopRule


class ServedModel(Predictor):
    """A model behind a server. Ids are sent and ids come back; the server draws by itself, from a seed for every text."""

    raw_at_any_temperature: bool = False
    """Its log-probabilities of drawn tokens are the model's own whatever the temperature: seen by a trial, never assumed."""

    def __init__(self, dialect: Dialect, service: Service, words: Words, *, window: int | None) -> None:
        self.dialect, self.service, self.words, self._window = dialect, service, words, window
        self.client: Client = dialect.client
        self.n_tokens, self.end_ids, self.markers = words.n_tokens, words.end_ids, words.markers
        self.context = ContextRule(window=None if window is None else window - 2 - len(words.lead), lead=words.lead)
        self.capabilities = Capabilities(
            full_law=False, empty_context=False, counted_draws=False, rounded_arithmetic=True
        )
        self.identity = Identity(
            dialect.address.name,
            _fingerprint(dialect, service, words),
            nature=Nature(f"served by {service.software}, whole texts only"),
            facts={
                "server": service.software,
                "served model": service.model,
                "tokenizer": words.origin,
                "sent for a draw at temperature 1": self.sent_for(MODEL_LAW),
                **{f"server's {k}": v for k, v in service.facts.items()},
            },
        )

    # ---- text ------------------------------------------------------------------------------------------------------

    def encode(self, text: str) -> Sequence[int]:
        return self.words.encode(text)

    def token_bytes(self, token_id: int) -> bytes:
        return self.words.token_bytes(token_id)

    def token_ends(self, text: str) -> Sequence[int] | None:
        return self.words.token_ends(text)

    # ---- in bulk ---------------------------------------------------------------------------------------------------

    def score(self, sequences: Sequence[Ids], *, first: int = 0, loop_rule: LoopRule | None = None) -> Iterator[Chunk]:
        self._check_first(first)
        for row, seen in self._scored([_plain(s) for s in sequences], [first] * len(sequences)):
            positions = np.arange(first, len(sequences[row]))
            if len(positions):
                yield Chunk(np.full(len(positions), row), positions, seen)

    def _scored(self, texts: Sequence[list[int]], firsts: Sequence[int]) -> Iterator[tuple[int, Observation]]:
        """Each text's number and its tokens from its own first one on, as soon as they are known."""
        jobs = (partial(self._score, ids, first) for ids, first in zip(texts, firsts, strict=True))
        return self.client.each(jobs, at_once=self._at_once(None))

    def generate(self, continuations: Continuations, *, on_tokens: OnTokens = None) -> Iterator[Sample]:
        todo = continuations
        settings = self._settings(todo.sampling)
        prefixes = [_plain(p) for p in todo.prefixes]
        if not self.has_first_law and any(not p for p in prefixes):
            self._check_first(0)
        rows = [(p, int(key)) for p, keys in zip(prefixes, todo.keys, strict=True) for key in keys]
        jobs = (partial(self._draw, p, key, todo, settings) for p, key in rows)
        for row, (seen, ended) in self.client.each(jobs, at_once=self._at_once(todo.at_once)):
            if on_tokens is not None:
                on_tokens(len(seen.token_id))
            other = None if todo.sampling.is_model_law else np.full(len(seen.token_id), np.nan)
            yield Sample(row, "end_of_text" if ended else "length", seen, None, other)

    @property
    def sends_rule(self) -> bool:
        """Whether every sampling setting goes with every request; if not, own text is of a rule that the server chooses."""
        return self.dialect.address.sends_rule

    @property
    def own_defaults(self) -> dict[str, float]:
        """How it would sample if nothing were sent, as far as it or its generation config says; the names are theirs."""
        return {**self.words.sampling_defaults, **self.service.own_defaults}

    def by_itself(self) -> ServedModel:
        """The same with nothing sent for a draw: it samples as it does by itself."""
        dialect = copy.copy(self.dialect)
        dialect.address = replace(dialect.address, sends_rule=False)
        other = ServedModel(dialect, self.service, self.words, window=self._window)
        other.raw_at_any_temperature = self.raw_at_any_temperature
        return other

    def sent_for(self, rule: SamplingRule) -> str:
        """The sampling settings that go with a draw by a rule, as JSON; `{}` where the server samples as it does by itself.

        Raises:
            UsageError: it cannot be told this rule.
        """
        return json.dumps(dict(self.dialect.settings_sent(self._settings(rule))), sort_keys=True)

    def _settings(self, rule: SamplingRule) -> Settings:
        """What is sent: a rule that was asked for, or nothing where the server is to sample as it does by itself."""
        return self.dialect.settings(rule) if self.sends_rule or not rule.is_model_law else Settings(sent=False)

    def _at_once(self, most: int | None) -> int:
        limits = (self.client.at_once, self.dialect.most_at_once, most)
        return min(n for n in limits if n is not None)

    async def _score(self, ids: list[int], first: int) -> Observation:
        """Every token in the context that the context rule gives it: one request for each place where the window begins."""
        parts: list[Scores] = []
        at = first
        while at < len(ids):
            begin = self.context.first_seen(at)
            end = at
            while end < len(ids) and self.context.first_seen(end) == begin:
                end += 1
            context = [*self.context.lead, *ids[begin:end]]
            parts.append(await self.dialect.score(context, len(self.context.lead) + at - begin))
            at = end
        return Observation.concatenate([p.observed() for p in parts]) if parts else _NOTHING

    async def _draw(
        self, prefix: list[int], key: int, todo: Continuations, settings: Settings
    ) -> tuple[Observation, bool]:
        """One continuation, and whether it ended."""
        seen, ended = await self._drawn(prefix, key, todo, settings)
        if not (todo.sampling.is_model_law or self.raw_at_any_temperature):
            # what it says of its draws may be of the cooled law
            seen = await self._score([*prefix, *seen.token_id.tolist()], len(prefix))
        return seen, ended

    def reported(self, prefix: Ids, length: int, rule: SamplingRule, *, seed: int = 0) -> Observation:
        """One continuation with what the server says of it as it draws, be that of which law it may."""
        todo = Continuations([prefix], np.ones((1, 1), np.uint64), length, seed=seed, sampling=rule)
        return self.client.run(lambda: self._drawn(_plain(prefix), 1, todo, self._settings(rule)))[0]

    async def _drawn(
        self, prefix: list[int], key: int, todo: Continuations, settings: Settings
    ) -> tuple[Observation, bool]:
        """Where the window is full, its older half is let go and the rest is sent anew."""
        ids, parts, ended = list(prefix), list[Scores](), False
        while not ended and len(ids) < len(prefix) + todo.length:
            begin = self.context.first_seen(len(ids))
            most = len(prefix) + todo.length - len(ids)
            if self.context.window is not None:
                most = min(most, self.context.window - (len(ids) - begin) + 1)
            context = [*self.context.lead, *ids[begin:]]
            drawn = await self.dialect.draw(context, most, settings, seed_of(todo.seed, key, len(parts)))
            parts.append(drawn.scores)
            self._check_vocabulary(drawn.scores.token_id)
            ids += drawn.scores.token_id.tolist()
            ended = drawn.ended
        return Observation.concatenate([p.observed() for p in parts]), ended

    def _check_vocabulary(self, ids: Int[np.ndarray, " n"]) -> None:
        if len(ids) and int(ids.max()) >= self.n_tokens:
            raise BackendError(
                f"{self.identity.name} drew id {int(ids.max())}, and its tokenizer ({self.words.origin}) has ids 0 to "
                f"{self.n_tokens - 1} only: they are not of the same model"
            )

    def log_probs(self, sequences: Sequence[Ids], *, first: int = 0) -> list[Float[np.ndarray, " scored"]]:
        return self.log_probs_after(sequences, np.full(len(sequences), first))

    def log_probs_after(
        self, sequences: Sequence[Ids], starts: Int[np.ndarray, " sequences"]
    ) -> list[Float[np.ndarray, " scored"]]:
        if not self.dialect.scores_texts:
            raise UsageError(f"{self.identity.name} gives no log-probabilities of a text that is sent")
        self._check_first(min(starts.tolist(), default=1))
        found = dict(self._scored([_plain(s) for s in sequences], starts.tolist()))
        return [np.asarray(found[row].log_prob_nats, np.float64) for row in range(len(sequences))]


def seed_of(seed: int, key: int, part: int) -> int:
    """A seed below 2^63 for one request of one text: other texts have other seeds, and the same run has the same ones.

    >>> seed_of(0, 1, 0) == seed_of(0, 1, 0) != seed_of(0, 2, 0)
    True
    """
    digest = hashlib.sha256(f"{seed}\x1f{key}\x1f{part}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _fingerprint(dialect: Dialect, service: Service, words: Words) -> str:
    """Over what the server says of its model, never over where it is."""
    parts = [dialect.software, service.model, sorted(service.facts.items()), words.n_tokens, words.end_ids, words.lead]
    if not dialect.address.sends_rule:
        parts.append("sampling=server")
    said = json.dumps(parts)
    return f"{dialect.address.provider}-{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def _plain(ids: Ids) -> list[int]:
    return [int(i) for i in ids]


_NOTHING = Observation.partial(np.zeros(0, np.int32), np.zeros(0))
