"""Ray does the units: actors on any number of machines, each of which loads what it needs once.

Ray starts the actors, puts them where the resources are, and starts them again elsewhere where a process or a machine is lost; here
they are only given units.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from freerun.errors import BackendError, UsageError, first_line
from freerun.runs.executors.board import Board, Ticket
from freerun.runs.executors.job import Done, Job, Poisoned, R, Reason, Then, U, nothing_more, reason_of

NOTICE_SECONDS = 60.0
"""After so long without a worker it is said that there is none."""


@dataclass(frozen=True)
class OnRay:
    """Actors of a Ray cluster: the one at `address`, or one of this machine's own.

    `workers`: 0 takes as many as the cluster has room for. `cpus`, `gpus` and `resources` are asked for by each.
    """

    address: str = ""
    workers: int = 0
    cpus: float = 1.0
    gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)

    def map(
        self, job: Job[U, R], units: Iterable[U], then: Then[U, R] = nothing_more
    ) -> Iterator[Done[U, R] | Poisoned[U]]:
        """What becomes of every unit, as they are finished.

        Raises:
            UsageError: Ray is not installed. BackendError: no cluster there, or one that has no room for a worker.
        """
        ray = _ray()
        board: Board[U, R] = Board(job, units, then)
        begun = _connect(ray, self.address)
        crew: list[_Actor] = []
        try:
            crew = self._hire(ray, job)
            yield from _served(ray, board, job, crew)
        finally:
            for actor in crew:
                with suppress(Exception):
                    ray.kill(actor.handle)
            if begun:
                ray.shutdown()

    def _hire(self, ray: Any, job: Job[Any, Any]) -> list[_Actor]:
        n = self.workers or self._room(ray.cluster_resources())
        if n < 1:
            raise BackendError(
                f"the Ray cluster has no room for a worker of {self._wants()}; it has {_in_words(ray.cluster_resources())}"
            )
        kind = ray.remote(
            num_cpus=self.cpus,
            num_gpus=self.gpus,
            resources=dict(self.resources) or None,
            max_restarts=-1,
            max_task_retries=0,
        )(_Workshop)
        return [_Actor(kind.remote(job)) for _ in range(n)]

    def _room(self, has: Mapping[str, float]) -> int:
        wants = {"CPU": self.cpus, "GPU": self.gpus, **self.resources}
        return int(min((has.get(name, 0.0) / n for name, n in wants.items() if n > 0), default=1.0))

    def _wants(self) -> str:
        return _in_words({"CPU": self.cpus, "GPU": self.gpus, **self.resources})


@dataclass
class _Actor:
    """A worker somewhere, what it is doing and what it has loaded; `up` once it has answered since it was last lost."""

    handle: Any
    ticket: Ticket[Any] | None = None
    loaded: str | None = None
    up: bool = False


class _Workshop:
    """What runs in an actor."""

    def __init__(self, job: Job[Any, Any]) -> None:
        self.job = job
        self.work: Callable[[Any], Any] | None = None

    def is_up(self) -> bool:
        return True

    def do(self, unit: Any) -> tuple[str, Any]:
        try:
            self.work = self.work or self.job.start()
            return "done", self.work(unit)
        except Exception as error:
            return "failed", reason_of(error)


def _served(ray: Any, board: Board[U, R], job: Job[U, R], crew: list[_Actor]) -> Iterator[Done[U, R] | Poisoned[U]]:
    waiting = {actor.handle.is_up.remote(): actor for actor in crew}
    silent = 0.0
    while board.open:
        for actor in crew:
            if actor.up and actor.ticket is None and (ticket := board.take(actor.loaded)) is not None:
                actor.ticket, actor.loaded = ticket, job.needs(ticket.unit)
                waiting[actor.handle.do.remote(ticket.unit)] = actor
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=1.0)
        silent = 0.0 if ready or any(actor.up for actor in crew) else silent + 1.0
        if silent == NOTICE_SECONDS:
            print(
                f"Ray has started no worker for {NOTICE_SECONDS:.0f} s: `ray status` says what it waits for",
                file=sys.stderr,
            )
        for reference in ready:
            actor = waiting.pop(reference)
            outcome = _heard(ray, reference, actor, board)
            if not actor.up:
                waiting[actor.handle.is_up.remote()] = actor
            if outcome is not None:
                yield outcome


def _heard(ray: Any, reference: Any, actor: _Actor, board: Board[U, R]) -> Done[U, R] | Poisoned[U] | None:
    """What an actor says of its unit, or that it is lost; None where the unit is tried again, or there was none."""
    ticket, actor.ticket = actor.ticket, None
    try:
        answer = ray.get(reference)
    except ray.exceptions.RayError as error:
        board.lost(actor.loaded)
        actor.up, actor.loaded = False, None
        lost = Reason(f"its worker was lost: {first_line(error)[:200]}")
        return None if ticket is None else board.failed(ticket, lost)
    actor.up = True
    if ticket is None:
        return None
    said, value = answer
    return board.done(ticket, value) if said == "done" else board.failed(ticket, value)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
    except ImportError:
        raise UsageError("--executor ray needs Ray, which is not installed: pip install 'freerun[ray]'") from None
    return ray


def _connect(ray: Any, address: str) -> bool:
    """Join a cluster, or begin one on this machine; whether this process did so, and has to leave it."""
    if ray.is_initialized():
        return False
    own = {} if address else {"include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", configure_logging=True, **own)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        where = address or "on this machine"
        raise BackendError(
            f"no Ray cluster {where}: {first_line(error)[:200]}; `ray status` says whether one is up"
        ) from error
    return True


def _in_words(resources: Mapping[str, float]) -> str:
    return ", ".join(
        f"{n:g} {name}" for name, n in resources.items() if n > 0 and ":" not in name and "memory" not in name
    )
