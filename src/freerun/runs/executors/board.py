"""The units of a job that are still to be done, and how often each has failed. Every executor hands out from one."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic

from freerun.runs.executors.job import MOST_ATTEMPTS, Done, Job, Poisoned, R, Reason, Then, U, nothing_more


@dataclass
class _Entry(Generic[U]):
    unit: U
    reasons: list[Reason] = field(default_factory=list)


@dataclass(frozen=True)
class Ticket(Generic[U]):
    """A unit in somebody's hands."""

    entry: _Entry[U]

    @property
    def unit(self) -> U:
        return self.entry.unit


class Board(Generic[U, R]):
    """Where units wait, those that need the same things together."""

    def __init__(self, job: Job[U, R], units: Iterable[U], then: Then[U, R] = nothing_more) -> None:
        self.job, self.then = job, then
        self._waiting: dict[str, deque[_Entry[U]]] = {}
        self._out = 0
        self._holders: Counter[str] = Counter()
        for unit in units:
            self._queue(job.needs(unit)).append(_Entry(unit))

    @property
    def open(self) -> bool:
        """Whether something is still to be done, or being done."""
        return self._out > 0 or self.any_waiting

    @property
    def any_waiting(self) -> bool:
        return any(self._waiting.values())

    def take(self, loaded: str | None) -> Ticket[U] | None:
        """A unit for a worker that has `loaded` something; None where none waits.

        What it has loaded goes first, then what fewest others have.
        """
        if loaded is not None and self._waiting.get(loaded):
            return self._hand_out(loaded)
        needs = [n for n, queue in self._waiting.items() if queue]
        if not needs:
            return None
        chosen = min(needs, key=lambda n: self._holders[n])
        if loaded is not None:
            self._holders[loaded] -= 1
        self._holders[chosen] += 1
        return self._hand_out(chosen)

    def lost(self, loaded: str | None) -> None:
        """A worker is gone, with what it had loaded."""
        if loaded is not None:
            self._holders[loaded] -= 1

    def done(self, ticket: Ticket[U], value: R) -> Done[U, R]:
        """A unit is finished; what it brings about comes next."""
        self._out -= 1
        for unit in reversed(self.then(ticket.unit, value)):
            self._queue(self.job.needs(unit)).appendleft(_Entry(unit))
        return Done(ticket.unit, value)

    def failed(self, ticket: Ticket[U], reason: Reason) -> Poisoned[U] | None:
        """A unit has failed: None where it is tried again, after the others."""
        self._out -= 1
        entry = ticket.entry
        entry.reasons.append(reason)
        if len(entry.reasons) >= MOST_ATTEMPTS:
            return Poisoned(entry.unit, self.job.name(entry.unit), tuple(entry.reasons))
        self._queue(self.job.needs(entry.unit)).append(entry)
        return None

    def _hand_out(self, need: str) -> Ticket[U]:
        self._out += 1
        return Ticket(self._waiting[need].popleft())

    def _queue(self, need: str) -> deque[_Entry[U]]:
        return self._waiting.setdefault(need, deque())
