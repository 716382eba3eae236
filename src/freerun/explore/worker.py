"""One thread for everything that needs a model, with a short queue in front of it.

A job is a function that calls its `Turn` between steps: there it ends if nobody waits for it any more, and there a long job lets a
short one go first. Whatever a predictor changes in itself is therefore changed by one thread, between whole steps.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from freerun.errors import FreerunError

MOST_WAITING = 8
"""Jobs that may wait; one more is refused."""
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Progress:
    """How far a job is, in tokens."""

    done: int
    total: int


@dataclass(frozen=True)
class Answer:
    """What a job came to."""

    value: Any


@dataclass(frozen=True)
class Failure:
    """Why a job came to nothing."""

    message: str


Event = Progress | Answer | Failure
Tell = Callable[[Event], None]


class Busy(Exception):
    """Too many jobs wait already."""


class Cancelled(Exception):
    """Nobody waits for the job any more."""


class Ticket:
    """A job in the queue; `cancel` takes it out, or ends it at its next step."""

    def __init__(self, job: Callable[[Turn], Any], tell: Tell, *, short: bool) -> None:
        self.job, self.tell, self.short = job, tell, short
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()


class Turn:
    """What a job calls between its steps."""

    def __init__(self, worker: Worker, ticket: Ticket, *, nested: bool) -> None:
        self._worker, self._ticket, self._nested = worker, ticket, nested
        self.done = self.total = 0

    def __call__(self) -> None:
        """Let short jobs go first.

        Raises:
            Cancelled: nobody waits for this job any more.
        """
        if self._ticket.cancelled or self._worker.closed:
            raise Cancelled
        if not self._nested and not self._ticket.short:
            self._worker.run_short_jobs()

    def expect(self, total: int) -> None:
        """Say how many tokens the job will take."""
        self.done, self.total = 0, total

    def advance(self, n_tokens: int) -> None:
        """Say that so many tokens more are done."""
        self.done += n_tokens
        if self.total:
            self._ticket.tell(Progress(min(self.done, self.total), self.total))
        self()


class Worker:
    """The thread and its queue. Short jobs stand before long ones."""

    def __init__(self, *, most_waiting: int = MOST_WAITING) -> None:
        self.most_waiting, self.closed = most_waiting, False
        self._changed = threading.Condition()
        self._short: deque[Ticket] = deque()
        self._long: deque[Ticket] = deque()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[Turn], Any], tell: Tell, *, short: bool) -> Ticket:
        """Put a job into the queue; `tell` hears its events in the worker's thread.

        Raises:
            Busy: the queue is full.
        """
        ticket = Ticket(job, tell, short=short)
        with self._changed:
            for queue in (self._short, self._long):
                for gone in [t for t in queue if t.cancelled]:
                    queue.remove(gone)
            if len(self._short) + len(self._long) >= self.most_waiting:
                raise Busy
            (self._short if short else self._long).append(ticket)
            self._changed.notify()
        return ticket

    def close(self) -> None:
        """End the job that runs at its next step, and the thread."""
        with self._changed:
            self.closed = True
            self._changed.notify()
        self._thread.join(_PATIENCE_SECONDS)

    def run_short_jobs(self) -> None:
        """Run the short jobs that wait; called by a long one, in the worker's thread."""
        while True:
            with self._changed:
                if not self._short:
                    return
                ticket = self._short.popleft()
            self._run(ticket, nested=True)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._short or self._long or self.closed):
                    self._changed.wait()
                if self.closed:
                    return
                ticket = (self._short or self._long).popleft()
            self._run(ticket, nested=False)

    def _run(self, ticket: Ticket, *, nested: bool) -> None:
        if ticket.cancelled:
            return
        try:
            ticket.tell(Answer(ticket.job(Turn(self, ticket, nested=nested))))
        except Cancelled:
            return
        except FreerunError as error:
            ticket.tell(Failure(str(error)))
        except MemoryError:
            ticket.tell(Failure("out of memory: take a shorter text, fewer branches or a smaller model"))
        except Exception as error:  # a page that waits for ever says less
            ticket.tell(Failure(f"internal error: {type(error).__name__}: {error} (please report it)"))
