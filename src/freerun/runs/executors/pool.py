"""Several processes of this machine do the units."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from freerun.runs.executors.board import Board, Ticket
from freerun.runs.executors.job import Done, Job, Poisoned, R, Reason, Then, U, nothing_more, reason_of

_SPAWN = multiprocessing.get_context("spawn")
_GOODBYE_SECONDS = 2.0


@dataclass(frozen=True)
class Pool:
    """Several processes. Ctrl-C is heard by this one alone, and they end with it, even where it is killed.

    A worker that is killed costs the unit that it was doing, which is done again by another one.
    """

    workers: int
    threads: int = 1
    """Of each worker's libraries."""

    def map(
        self, job: Job[U, R], units: Iterable[U], then: Then[U, R] = nothing_more
    ) -> Iterator[Done[U, R] | Poisoned[U]]:
        """What becomes of every unit, as they are finished."""
        board: Board[U, R] = Board(job, units, then)
        crew: list[_Worker] = []
        try:
            while board.open:
                self._hand_out(board, job, crew)
                busy = {w.line: w for w in crew if w.ticket is not None}
                for line in wait([*busy, *(w.process.sentinel for w in busy.values())]):
                    worker = busy.get(line) if isinstance(line, Connection) else None
                    worker = worker or next((w for w in busy.values() if w.process.sentinel == line), None)
                    if worker is None or worker.ticket is None:
                        continue
                    outcome = _heard(worker, board, crew)
                    if outcome is not None:
                        yield outcome
        finally:
            _dismiss(crew)

    def _hand_out(self, board: Board[U, R], job: Job[U, R], crew: list[_Worker]) -> None:
        """Give every idle worker a unit; hire one where units wait and there is room."""
        for worker in [w for w in crew if w.ticket is None]:
            if not worker.process.is_alive():  # killed between two units
                crew.remove(worker)
                board.lost(worker.loaded)
            elif not worker.give(board, job):
                break
        while board.any_waiting and len(crew) < self.workers:
            with _without_interrupts(), _threads_each(self.threads):
                crew.append(_Worker.hired(job))
            crew[-1].give(board, job)


@dataclass
class _Worker:
    """A process, the line to it, what it is doing and what it has loaded."""

    process: SpawnProcess
    line: Connection
    ticket: Ticket[Any] | None = None
    loaded: str | None = None

    @classmethod
    def hired(cls, job: Job[Any, Any]) -> _Worker:
        mine, its = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_serve, args=(its, job), daemon=True)
        process.start()
        its.close()
        return cls(process, mine)

    def give(self, board: Board[Any, Any], job: Job[Any, Any]) -> bool:
        """Hand it a unit; False where none waits."""
        ticket = board.take(self.loaded)
        if ticket is None:
            return False
        self.ticket, self.loaded = ticket, job.needs(ticket.unit)
        with suppress(OSError):  # it is gone: that is noticed where it is waited for
            self.line.send(ticket.unit)
        return True


def _heard(worker: _Worker, board: Board[U, R], crew: list[_Worker]) -> Done[U, R] | Poisoned[U] | None:
    """What a worker says of its unit, or that it is gone; None where the unit is tried again."""
    ticket, worker.ticket = worker.ticket, None
    assert ticket is not None
    try:
        if not worker.line.poll():
            raise EOFError
        said, value = worker.line.recv()
    except (EOFError, OSError):
        crew.remove(worker)
        board.lost(worker.loaded)
        worker.process.join()
        worker.line.close()
        return board.failed(ticket, _how_it_ended(worker.process.exitcode))
    return board.done(ticket, value) if said == "done" else board.failed(ticket, value)


def _how_it_ended(code: int | None) -> Reason:
    if code is not None and code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            memory = " (often for want of memory)" if name == "SIGKILL" else ""
            return Reason(f"its worker was ended by {name}{memory}")
    return Reason(f"its worker ended with exit code {code}")


def _dismiss(crew: list[_Worker]) -> None:
    for worker in crew:
        worker.line.close()
        worker.process.terminate()
    for worker in crew:
        worker.process.join(_GOODBYE_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


# ---- in the worker -----------------------------------------------------------------------------------------------------


def _serve(line: Connection, job: Job[Any, Any]) -> None:
    """Do units until nobody wants any more."""
    end_with_parent()
    work: Callable[[Any], Any] | None = None
    while True:
        try:
            unit = line.recv()
        except (EOFError, OSError):
            return
        try:
            work = work or job.start()
            answer = ("done", work(unit))
        except Exception as error:
            answer = ("failed", reason_of(error))
        with suppress(OSError):
            line.send(answer)


def end_with_parent() -> None:
    """Ctrl-C is for the process that writes; it ends the workers, and where it is killed they end by themselves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that start inside have Ctrl-C blocked from their first instruction on; this one hears it when it leaves."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _threads_each(threads: int) -> Iterator[None]:
    """Processes that start inside have libraries of so many threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                with suppress(KeyError):
                    del os.environ[name]
            else:
                os.environ[name] = value
