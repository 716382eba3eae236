"""A world as a server would show it: whole texts only, and of every law the token's own probability and the few most probable ids.

For trying out what freerun makes of a backend that lacks most of what a model on this machine can tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from freerun.errors import UsageError
from freerun.predictors.base import Capabilities, Chunk, Continuations, Ids, OnTokens, Predictor, Sample, SharesTokens
from freerun.predictors.observation import Observation
from freerun.predictors.rules import Nature
from freerun.specs.backends.world import check_world
from freerun.specs.provider import LoadOptions, Provider, Tell
from freerun.stats.loops.lag_runs import LoopRule
from freerun.worlds.base import World
from freerun.worlds.catalogue import load_world


class Mock(SharesTokens):
    """Scores and writes as `world` does, and tells the `n_top` most probable ids at most: no steps, no whole laws, no uniforms."""

    def __init__(self, world: World[Any], *, n_top: int, name: str) -> None:
        self.world, self.n_top = world, n_top
        self._share_tokens(world)
        self.context = world.context
        self.capabilities = Capabilities(full_law=False, counted_draws=False)
        own = world.identity
        self.identity = replace(
            own,
            name=name,
            fingerprint=f"mock-{n_top}-{own.fingerprint}",
            nature=Nature("mock of a server, whole texts only"),
        )

    def score(self, sequences: Sequence[Ids], *, first: int = 0, loop_rule: LoopRule | None = None) -> Iterator[Chunk]:
        for chunk in self.world.score(sequences, first=first):
            yield replace(chunk, observation=self._shown(chunk.observation))

    def generate(self, continuations: Continuations, *, on_tokens: OnTokens = None) -> Iterator[Sample]:
        for sample in self.world.generate(continuations, on_tokens=on_tokens):
            yield replace(sample, observation=self._shown(sample.observation), uniform=None)

    def _shown(self, seen: Observation) -> Observation:
        if not self.n_top:
            return Observation.partial(seen.token_id, seen.log_prob_nats)
        return Observation.partial(
            seen.token_id,
            seen.log_prob_nats,
            rank=np.where(seen.rank <= self.n_top, seen.rank, -1).astype(np.int32),
            top_id=seen.top_id,
            top_log_prob_nats=seen.top_log_prob_nats,
        )


def _parsed(name: str) -> tuple[int, str]:
    match = re.fullmatch(r"(\d+)@(.+)", name)
    if not match:
        raise UsageError(f"mock/{name}: give mock/TOP@WORLD, for example mock/5@markov,seed=1")
    return int(match[1]), match[2]


def _load(name: str, options: LoadOptions, tell: Tell) -> Predictor:
    n_top, world = _parsed(name)
    return Mock(load_world(world), n_top=n_top, name=f"mock/{name}")


MOCK = Provider(
    "mock",
    (
        (
            "mock/TOP@WORLD[,param=value…]",
            "a world as a server would show it: whole texts, and the TOP most probable ids",
        ),
    ),
    _load,
    own_settings=True,
    exact=True,
    check=lambda name: check_world(_parsed(name)[1]),
)
