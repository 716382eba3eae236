"""Requests to an engine: as many at once as are allowed, each with what the workers saw of it when it is finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float

from freerun.errors import BackendError, BrokenLaw
from freerun.predictors.base import OnTokens
from freerun.predictors.kernels.fused import BROKEN
from freerun.predictors.observation import Observation
from freerun.predictors.vllm_engine.ledger import Harvest
from freerun.predictors.vllm_engine.order import Order


@dataclass(frozen=True, eq=False)
class Ask:
    """One request, and whom it is for."""

    order: Order
    first: int
    """The first token whose observation is wanted."""
    ends: tuple[int, ...] = ()
    """Ids after which nothing more is written."""
    row: int = 0
    part: int = 0
    """Which of the row's requests it is."""


@dataclass(frozen=True, eq=False)
class Written:
    """What an engine wrote for one request since it last told."""

    serial: int
    token_ids: Sequence[int]
    finished: bool


class Engine(Protocol):
    """As much of vLLM as is used: what it is asked, and what it answers."""

    def add(self, order: Order, ends: tuple[int, ...]) -> None:
        """Queue a request."""

    def step(self) -> list[Written]:
        """Go one step further with all requests that run."""

    def abort(self, serials: Sequence[int]) -> None:
        """Let requests go."""

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Call a method of every worker's extension."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A finished request: observations from `ask.first` on, in order of place."""

    ask: Ask
    observation: Observation
    sampled_log_prob_nats: Float[np.ndarray, " tokens"]
    logits: Float[np.ndarray, "kept vocabulary"]


class Runs:
    """The requests of one engine. `name`: the model's, for errors."""

    def __init__(self, engine: Engine, *, name: str) -> None:
        self.engine, self.name = engine, name
        self._serials = count(1)

    def serial(self) -> int:
        """A number that no other request of this engine has."""
        return next(self._serials)

    def each(self, queue: deque[Ask], *, at_once: int, on_tokens: OnTokens = None) -> Iterator[Answer]:
        """Every answer as soon as it is there; whoever reads may put more into the queue while it is read.

        Raises:
            BrokenLaw: logits that are NaN. BackendError: vLLM fails, or wrote other tokens than were drawn.
        """
        running: dict[int, tuple[Ask, list[int]]] = {}
        try:
            while queue or running:
                while queue and len(running) < at_once:
                    ask = queue.popleft()
                    self._safely(partial(self.engine.add, ask.order, ask.ends))
                    running[ask.order.serial] = (ask, [])
                finished = []
                n_new = 0
                for told in self._safely(self.engine.step):
                    running[told.serial][1].extend(told.token_ids)
                    n_new += len(told.token_ids)
                    if told.finished:
                        finished.append(running.pop(told.serial))
                if on_tokens is not None and n_new:
                    on_tokens(n_new)
                yield from self._answers(finished)
        finally:
            if running:
                self.engine.abort(list(running))
                self.engine.call("freerun_forget", list(running))

    def _answers(self, finished: Sequence[tuple[Ask, list[int]]]) -> Iterator[Answer]:
        if not finished:
            return
        spans = [(a.order.serial, a.first, a.order.n_prompt + len(written)) for a, written in finished]
        packed = next((x for x in self._safely(lambda: self.engine.call("freerun_take", spans)) if x), None)
        harvest = Harvest.of(packed) if packed else Harvest({}, None, np.zeros(0), np.zeros((0, 0), np.float32))
        for reason in harvest.failures.values():
            raise BrokenLaw(reason) if reason == BROKEN else BackendError(f"{self.name}: {reason}")
        at = kept = 0
        for (ask, written), (_, first, stop) in zip(finished, spans, strict=True):
            assert harvest.observation is not None
            rows = slice(at, at + stop - first)
            seen = harvest.observation.take(rows)
            self._check_tokens(ask, written, seen)
            keep = ask.order.keep_from
            n_kept = 0 if keep is None else stop - max(keep, first)
            yield Answer(ask, seen, harvest.sampled_log_prob_nats[rows], harvest.logits[kept : kept + n_kept])
            at, kept = at + stop - first, kept + n_kept

    def _check_tokens(self, ask: Ask, written: Sequence[int], seen: Observation) -> None:
        """What vLLM returned must be what was drawn or given."""
        tail = seen.token_id[len(seen.token_id) - len(written) :].tolist() if written else []
        if tail != list(written):
            wrong = next(i for i, (a, b) in enumerate(zip(tail, written, strict=True)) if a != b)
            raise BackendError(
                f"{self.name}: vLLM wrote id {written[wrong]} where id {tail[wrong]} was drawn, so something acts on its logits "
                "after freerun does; nothing of this can be used"
            )

    def _safely(self, work: Callable[[], Any]) -> Any:
        """vLLM's own errors, in one line."""
        try:
            return work()
        except (BackendError, KeyboardInterrupt, MemoryError):
            raise
        except Exception as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise BackendError(f"{self.name}: vLLM failed: {said[0]}") from error
