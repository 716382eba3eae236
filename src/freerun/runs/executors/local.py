"""This process does the units, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from freerun.runs.executors.board import Board
from freerun.runs.executors.job import Done, Job, Poisoned, R, Then, U, nothing_more, reason_of


@dataclass(frozen=True)
class Local:
    """This process, one unit after the other."""

    def map(
        self, job: Job[U, R], units: Iterable[U], then: Then[U, R] = nothing_more
    ) -> Iterator[Done[U, R] | Poisoned[U]]:
        board: Board[U, R] = Board(job, units, then)
        work, loaded = job.start(), None
        while (ticket := board.take(loaded)) is not None:
            loaded = job.needs(ticket.unit)
            try:
                value = work(ticket.unit)
            except Exception as error:
                if (poisoned := board.failed(ticket, reason_of(error))) is not None:
                    yield poisoned
                continue
            yield board.done(ticket, value)
